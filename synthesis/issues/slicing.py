"""Cut a test down to the lines that its failing statement depends on."""

import ast
import copy
import itertools
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from synthesis.issues.names import bindings, unparse, used_names
from synthesis.issues.test_code import Located, ParsedTest, blocks_of, substitute

OUTPUT_FIXTURES = frozenset({"capsys", "capfd", "capsysbinary", "capfdbinary", "caplog", "recwarn"})
"""Fixtures through which a test sees what earlier calls printed, logged or warned."""


def setup_lines(code: ParsedTest, located: Located, final: ast.AST | None) -> str:
    """The statements before the failing one that it depends on, parameters put in, ending with `final`.

    Only statements that bind, change or print what is used are kept; assertions are reduced to their calls. Blocks
    around the failing statement are kept as blocks.
    """
    local = frozenset(name for node in ast.walk(code.function) for name in bindings(node))
    needed = set(used_names(final if final is not None else located.statement))
    body = _final_statements(final)
    holder: Sequence[ast.stmt] = code.function.body
    levels: list[tuple[Sequence[ast.stmt], ast.stmt]] = []
    for node in located.chain:
        levels.append((holder, node))
        holder = _block_with(node, located.chain[len(levels)]) if len(levels) < len(located.chain) else ()
    for block, node in reversed(levels):
        if node is not located.statement:
            wrapped = _wrap(node, body)
            needed |= used_names(wrapped)
            body = [wrapped]
        body = [*_slice(block, node, needed, local), *body]
    return unparse(
        ast.fix_missing_locations(ast.Module(body=[substitute(code, node) for node in body], type_ignores=[]))
    )


def _block_with(node: ast.stmt, child: ast.stmt) -> list[ast.stmt]:
    return next((block for block in blocks_of(node) if child in block), [])


def _final_statements(final: ast.AST | None) -> list[ast.stmt]:
    if final is None:
        return []
    return [final] if isinstance(final, ast.stmt) else [ast.Expr(final)] if isinstance(final, ast.expr) else []


def _wrap(node: ast.stmt, body: list[ast.stmt]) -> ast.stmt:
    """The block around the failing statement, holding nothing but `body`; a `try` or `if` gives way to its header."""
    wrapped = copy.copy(node)
    for field in ("orelse", "finalbody", "handlers"):
        if hasattr(wrapped, field) and not isinstance(node, ast.Try):
            setattr(wrapped, field, [])
    wrapped.body = body or [ast.Pass()]  # type: ignore[attr-defined]
    return wrapped


def _slice(block: Sequence[ast.stmt], end: ast.stmt, needed: set[str], local: AbstractSet[str]) -> list[ast.stmt]:
    """Statements of a block before `end` that what is needed depends on; adds to `needed` what they need."""
    kept: list[ast.stmt] = []
    for node in reversed(list(itertools.takewhile(lambda other: other is not end, block))):
        asserted = _asserted_calls(node)
        for statement in reversed([node] if asserted is None else asserted):
            if _matters(statement, needed, local, is_asserted=asserted is not None):
                needed |= used_names(statement)
                kept.append(statement)
    return kept[::-1]


def _asserted_calls(node: ast.stmt) -> list[ast.stmt] | None:
    """The calls that an assertion makes, as statements; `None` for any other statement."""
    if isinstance(node, ast.Assert):
        return [ast.Expr(call) for call in _outer_calls(node.test)]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_self_assertion(node.value):
        return [ast.Expr(call) for argument in node.value.args for call in _outer_calls(argument)]
    return None


def _is_self_assertion(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "self"
        and function.attr.startswith("assert")
    )


def _outer_calls(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Call | ast.Await):
        return [node]
    return [call for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr) for call in _outer_calls(child)]


def _matters(node: ast.stmt, needed: AbstractSet[str], local: AbstractSet[str], *, is_asserted: bool) -> bool:
    """Whether a statement binds, changes or prints something that is needed."""
    if any(bindings(inner) & needed for inner in ast.walk(node)) or _imported(node) & needed:
        return True
    if needed & OUTPUT_FIXTURES and any(isinstance(inner, ast.Call) for inner in ast.walk(node)):
        return not any(isinstance(inner, ast.Attribute) and inner.attr == "readouterr" for inner in ast.walk(node))
    own = needed & local
    if isinstance(node, ast.Expr) and not is_asserted:  # its value is thrown away: it is there for what it does
        return bool(used_names(node) & own)
    return any(_changes(inner, own) for inner in ast.walk(node))


def _imported(node: ast.stmt) -> set[str]:
    return {
        (alias.asname or alias.name).split(".")[0]
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
        for alias in inner.names
    }


def _changes(node: ast.AST, names: AbstractSet[str]) -> bool:
    """Whether a node may change a named object: a method called on it, a part of it assigned or deleted."""
    target: ast.AST | None = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        target = node.func
    elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        target = node
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id in names
