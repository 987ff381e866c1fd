"""Run a libcst transformer without the steps that cannot do anything.

libcst looks handlers up by name for every node, and for every attribute of it, twice; nearly all of them are missing.
"""

from functools import cache
from typing import Any, cast

import libcst

_Transformer = type[libcst.CSTTransformer]

_BLOCKS = frozenset(
    {
        *(libcst.Module, libcst.IndentedBlock, libcst.SimpleStatementSuite, libcst.SimpleStatementLine),
        *(libcst.FunctionDef, libcst.ClassDef, libcst.If, libcst.Else, libcst.For, libcst.While, libcst.With),
        *(libcst.Try, libcst.TryStar, libcst.ExceptHandler, libcst.ExceptStarHandler, libcst.Finally),
        *(libcst.Match, libcst.MatchCase),
    }
)
"""Nodes that hold statements."""
_STATEMENTS = frozenset({*_BLOCKS, libcst.Assign, libcst.AugAssign})
_LEAVES = frozenset(
    {
        *(libcst.SimpleWhitespace, libcst.ParenthesizedWhitespace, libcst.TrailingWhitespace, libcst.EmptyLine),
        *(libcst.Name, libcst.Integer, libcst.Float, libcst.Imaginary, libcst.SimpleString, libcst.Ellipsis),
        *(libcst.Comma, libcst.Dot, libcst.Semicolon, libcst.Colon, libcst.AssignEqual, libcst.LeftParen),
        *(libcst.RightParen, libcst.LeftSquareBracket, libcst.RightSquareBracket, libcst.Pass, libcst.Break),
    }
)
"""Nodes that hold nothing but white space, for they may stand in parentheses."""


@cache
def sparse(transformer: _Transformer) -> _Transformer:
    """A subclass that gives the same trees, and goes only where a handler of the class could be called."""
    changed = {name for name in dir(transformer) if _differs(transformer, name)}
    handled = frozenset(getattr(libcst, name.removeprefix("leave_"), None) for name in changed if name[:6] == "leave_")
    if any(name.startswith(("visit_", "on_")) for name in changed) or handled & (_LEAVES | {None}):
        return transformer
    entered, passed = (_BLOCKS, frozenset()) if handled <= _STATEMENTS else (None, _LEAVES)

    class Sparse(transformer):  # type: ignore[misc, valid-type]
        def on_visit(self, node: libcst.CSTNode) -> bool:
            return type(node) not in passed if entered is None else type(node) in entered

        def on_leave(self, original_node: libcst.CSTNode, updated_node: libcst.CSTNode) -> Any:
            return super().on_leave(original_node, updated_node) if type(original_node) in handled else updated_node

        def on_visit_attribute(self, node: libcst.CSTNode, attribute: str) -> None:
            """No handler is called for attributes."""

        def on_leave_attribute(self, original_node: libcst.CSTNode, attribute: str) -> None:
            """No handler is called for attributes."""

    return cast("_Transformer", Sparse)


def _differs(transformer: _Transformer, name: str) -> bool:
    return getattr(transformer, name) is not getattr(libcst.CSTTransformer, name, None)
