"""Find the source of a test function in its module, by the test's id; the module is parsed, never imported."""

import ast
import warnings
from collections.abc import Sequence

MAX_MODULE_CHARS = 2_000_000


class TestModule:
    """One test file, parsed once for all its tests."""

    __test__ = False

    def __init__(self, source: str) -> None:
        self._lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._tree = _parse(source)

    def source_of(self, test_id: str) -> str | None:
        """Source of the test function, from its first decorator on; `None` where the module does not hold it.

        The parameters in the id are left aside. A method that a class inherits from another class of the module is
        found there.
        """
        _, *names = test_id.split("[", 1)[0].split("::")
        if self._tree is None or not names:
            return None
        block: Sequence[ast.stmt] = self._tree.body
        for name in names[:-1]:
            inner = _class(block, name)
            if inner is None:
                return None
            block = self._with_bases(inner)
        function = next(
            (
                node
                for node in block
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == names[-1]
            ),
            None,
        )
        if function is None or function.end_lineno is None:
            return None
        first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
        return "\n".join(self._lines[first - 1 : function.end_lineno])

    def _with_bases(self, node: ast.ClassDef, depth: int = 0) -> list[ast.stmt]:
        """A class's body, then the bodies of those of its bases that the module holds."""
        body = list(node.body)
        module: Sequence[ast.stmt] = self._tree.body if self._tree is not None else ()
        for base in node.bases:
            inner = _class(module, base.id) if isinstance(base, ast.Name) and depth < 10 else None
            if inner is not None and inner is not node:
                body += self._with_bases(inner, depth + 1)
        return body


def _class(block: Sequence[ast.stmt], name: str) -> ast.ClassDef | None:
    return next((node for node in block if isinstance(node, ast.ClassDef) and node.name == name), None)


def _parse(source: str) -> ast.Module | None:
    if len(source) > MAX_MODULE_CHARS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in somebody's test is not ours to report
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
