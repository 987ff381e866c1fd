"""Prove a spliced entity without reading the rest of its file again.

The rows around an entity are copied, so the file's new tree is known once the entity's is. Where the entity starts, the
tokenizer stands in the same state as in the clean file: at the beginning of a line, inside of the same blocks. If the
new rows alone, in a block of their indentation, are one whole definition, they end in that state too. So all tokens
around them are as before, and the grammar has one definition in place of another. The compiler then sees the same
scopes around it, as long as what its header does in these, where it is evaluated, is the same.

Every answer is either certain or none: whoever gets none reads the whole file.
"""

import __future__

import ast
import re
import warnings
from functools import cached_property
from typing import Any, TypeVar

from synthesis.entities import Definition, SourceEntity, parse
from synthesis.proof import same_tree
from synthesis.source import SourceText

_ANNOTATIONS = __future__.annotations.compiler_flag
_OTHER_GRAMMAR = __future__.barry_as_FLUFL.compiler_flag

_TABS = re.compile(r"[\t\f]")
_DECLARATION = re.compile(r"\b(global|nonlocal)\b")

_Node = TypeVar("_Node", bound=ast.AST)


class CleanFile:
    """A file of the clean tree, read once for all of its entities."""

    def __init__(self, path: str, source: SourceText, tree: ast.Module) -> None:
        self.path = path
        self.source = source
        self.tree = tree

    @cached_property
    def _flags(self) -> int | None:
        """The compiler's flags that the file sets for itself; `None` where its parts tell nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                flags = compile(self.tree, self.path, "exec", dont_inherit=True).co_flags
            except (SyntaxError, ValueError, RecursionError):
                return None
        return None if flags & _OTHER_GRAMMAR else flags & _ANNOTATIONS

    def parse_alone(self, entity: SourceEntity, body: str) -> Definition | None:
        """The definition that `body`, in place of the entity's rows, is; without decorators."""
        lines = SourceText(body).normalised
        if not self._is_whole(entity, lines):
            return None
        try:
            module = parse(f"if 1:\n{lines}" if lines[0].isspace() else lines)
        except SyntaxError:
            return None
        node = _only(module.body)
        if lines[0].isspace():
            node = _only(node.body) if isinstance(node, ast.If) and not node.orelse else None
        return node if isinstance(node, Definition) and not node.decorator_list else None

    def is_moved(self, entity: SourceEntity, body: str, rewritten: SourceText) -> bool:
        """Whether `body` is the rewrite moved to the right, which then has the same tokens, and so the same tree."""
        indent = self.source.indent_of(entity.first)
        if not self._is_whole(entity, body) or "\r" in body or _TABS.search(rewritten.text + indent):
            return False
        fixed = {row for one in rewritten.statements for token in one.tokens for row in token.inner_rows}
        rows = [row if not row or at in fixed else indent + row for at, row in enumerate(rewritten.rows)]
        return "\n".join(rows) + "\n" == body

    def _is_whole(self, entity: SourceEntity, body: str) -> bool:
        """Whether no line runs over the ends of the entity's rows, as far as backslashes and line ends tell."""
        continued = bool(entity.first) and self.source.rows[entity.first - 1].endswith("\\")
        return self._flags is not None and not continued and body.endswith("\n") and not body.endswith("\\\n")

    def compiles_alone(self, entity: SourceEntity, node: Definition) -> bool:
        """Whether the file is sure to compile with `node` in place of the entity."""
        if not _same_header(entity.node, node) and (_reaches_out(node) or _DECLARATION.search(self.source.text)):
            return False
        inner: Definition = node
        for outer in reversed(entity.around):
            inner = _emptied(outer, inner)
        module = ast.Module(body=[inner], type_ignores=[])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                compile(module, self.path, "exec", flags=self._flags or 0, dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError):
                return False
        return True

    def with_replaced(self, entity: SourceEntity, node: Definition) -> ast.Module:
        """The file's tree with `node` in place of the entity, decorators kept; what is not changed is shared."""
        return _replaced(self.tree, entity.node, _copy(node, decorator_list=entity.node.decorator_list))


def _only(body: list[ast.stmt]) -> ast.stmt | None:
    return body[0] if len(body) == 1 else None


def _copy(node: _Node, **changes: Any) -> _Node:
    fields = {name: getattr(node, name, None) for name in node._fields}
    return ast.copy_location(type(node)(**(fields | changes)), node)


def _same_header(old: Definition, new: Definition) -> bool:
    """Whether all that is evaluated in the scopes around the definition is the same, decorators apart."""
    bodiless: dict[str, Any] = {"body": [], "decorator_list": []}
    return same_tree(_copy(old, **bodiless), _copy(new, **bodiless))


def _reaches_out(node: Definition) -> bool:
    """Whether the header may make another kind of scope of what is around it, or bind a name there."""
    header = ast.walk(_copy(node, body=[], decorator_list=[]))
    return any(isinstance(one, ast.NamedExpr | ast.Yield | ast.YieldFrom | ast.Await) for one in header)


def _emptied(outer: Definition, inner: Definition) -> Definition:
    """The scope that `outer` is, with nothing in it but `inner`."""
    if isinstance(outer, ast.ClassDef):
        return _copy(outer, bases=[], keywords=[], decorator_list=[], body=[inner])
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return _copy(outer, args=nothing, returns=None, decorator_list=[], body=[inner])


def _replaced(node: _Node, old: Definition, new: Definition) -> _Node:
    """A copy of the tree with one definition replaced; whatever does not hold it is the same object."""
    for name in node._fields:
        value = getattr(node, name, None)
        if not isinstance(value, list):
            continue
        for index, child in enumerate(value):
            if child is old:
                return _copy(node, **{name: [*value[:index], new, *value[index + 1 :]]})
            if _may_hold(child, old):
                held = _replaced(child, old, new)
                if held is not child:
                    return _copy(node, **{name: [*value[:index], held, *value[index + 1 :]]})
    return node


def _may_hold(node: object, entity: Definition) -> bool:
    if isinstance(node, ast.stmt | ast.excepthandler):
        return node.lineno <= entity.lineno and (node.end_lineno or 0) >= (entity.end_lineno or 0)
    return isinstance(node, ast.match_case)
