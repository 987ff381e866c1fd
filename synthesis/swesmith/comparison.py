"""SWE-smith's operator flip, made to reach comparisons.

`OperationFlipOperatorModifier` is not registered, its table holds comparisons, and its transformer visits only
arithmetic and boolean operations; here it visits comparisons too, and asks for any of the three kinds.
"""

import ast

import libcst
from swesmith.bug_gen.procedural.python.operations import OperationFlipOperatorModifier
from swesmith.constants import CodeEntity, CodeProperty

_OPERATIONS = (ast.BinOp, ast.BoolOp, ast.Compare)


class ComparisonFlipModifier(OperationFlipOperatorModifier):  # type: ignore[misc]
    """Flips arithmetic, boolean and comparison operators to their opposites."""

    conditions: list[CodeProperty] = [CodeProperty.IS_FUNCTION]  # noqa: RUF012 - as the base class declares it

    def can_change(self, code_entity: CodeEntity) -> bool:
        """Whether the entity is a function, complex enough, with an operator to flip."""
        has_operator = any(isinstance(node, _OPERATIONS) for node in ast.walk(code_entity.node))
        return has_operator and bool(super().can_change(code_entity))

    class Transformer(OperationFlipOperatorModifier.Transformer):  # type: ignore[misc]
        def leave_ComparisonTarget(  # noqa: N802 - libcst's name
            self,
            original_node: libcst.ComparisonTarget,  # noqa: ARG002
            updated_node: libcst.ComparisonTarget,
        ) -> libcst.ComparisonTarget:
            """Flip `<` to `>`, `==` to `!=`, `in` to `not in`, and so on."""
            if not self.flip():
                return updated_node
            flipped: libcst.ComparisonTarget = self._flip_operator(updated_node)
            return flipped
