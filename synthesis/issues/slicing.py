"""Cut a test down to the lines that its failing statement depends on."""

import ast
import copy
import itertools
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from synthesis.issues.names import bindings, unparse, used_names
from synthesis.issues.test_code import Located, ParsedTest, blocks_of, is_raises_block, substitute

OUTPUT_FIXTURES = frozenset({"capsys", "capfd", "capsysbinary", "capfdbinary", "caplog", "recwarn"})
"""Fixtures through which a test sees what earlier calls printed, logged or warned."""

MAX_JOINED_CHARS = 100
_QUERIES = ("is", "has", "assert")
"""Methods whose names begin so only ask."""


class Reproduction(NamedTuple):
    """Code that shows the failure."""

    code: str
    """What goes wrong, parameters put in."""
    snippet: str
    """Everything that leads to it, ending with it; empty where `code` needs nothing before it."""
    names: frozenset[str]
    """Names that the whole uses and does not bind."""


def reproduce(test: ParsedTest, located: Located, final: ast.AST) -> Reproduction:
    """The statements before the failing one that `final` depends on, and `final`.

    Only statements that bind, change or print what is used are kept; assertions are reduced to their calls. Loops
    around the failing statement are kept; what only handles or expects an error is taken off.
    """
    # What a name is made from may be changed later on through another name: the second pass looks for these too.
    made_from = _lines(test, located, final, needed=used_names(final)).needed
    lines = _lines(test, located, final, needed=made_from)
    body = [substitute(test, node) for node in lines.body]
    shown = substitute(test, final)
    bound = {name for node in lines.body for inner in ast.walk(node) for name in bindings(inner)}
    names = frozenset(name for node in body for name in used_names(node)) - bound
    if len(body) == 2 and isinstance(shown, ast.expr):
        joined = _joined(body[0], shown)
        if joined is not None:
            return Reproduction(unparse(joined), "", names)
    if len(body) > 2 and isinstance(shown, ast.Name) and isinstance(body[-1], ast.Expr):
        joined = _joined(body[-2], shown)
        if joined is not None:
            shown, body = joined, [*body[:-2], ast.Expr(joined)]
    code = unparse(shown)
    snippet = unparse(ast.fix_missing_locations(ast.Module(body=body, type_ignores=[])))
    return Reproduction(code, "" if snippet == code and "\n" not in code else snippet, names)


class _Lines(NamedTuple):
    body: list[ast.stmt]
    needed: frozenset[str]


def _lines(test: ParsedTest, located: Located, final: ast.AST, *, needed: AbstractSet[str]) -> _Lines:
    local = frozenset(name for node in ast.walk(test.function) for name in bindings(node))
    wanted = set(needed)
    everything = set(needed)
    body = _statements(final)
    holder: Sequence[ast.stmt] = test.function.body
    levels: list[tuple[Sequence[ast.stmt], ast.stmt]] = []
    for depth, node in enumerate(located.chain):
        levels.append((holder, node))
        if depth + 1 < len(located.chain):
            holder = _block_with(node, located.chain[depth + 1])
    for depth, (block, node) in reversed(list(enumerate(levels))):
        if node is not located.statement:
            body = _wrapped(node, body, in_body=_in_body(node, located))
            wanted |= {name for statement in body for name in used_names(statement)}
        sliced = _slice(block, node, wanted, local, forgets=depth == 0)
        everything |= wanted | {name for statement in sliced for name in used_names(statement)}
        body = [*sliced, *body]
    return _Lines(body, frozenset(everything))


def _joined(assignment: ast.stmt, final: ast.expr) -> ast.expr | None:
    """`final` with the only use of a variable replaced by its value; `None` where that would not read well."""
    if not isinstance(assignment, ast.Assign) or len(assignment.targets) != 1:
        return None
    target = assignment.targets[0]
    if not isinstance(target, ast.Name):
        return None
    uses = [node for node in ast.walk(final) if isinstance(node, ast.Name) and node.id == target.id]
    scopes = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    if len(uses) != 1 or any(isinstance(node, scopes) for node in ast.walk(final)):
        return None
    joined = _PutIn(target.id, assignment.value).visit(copy.deepcopy(final))
    return joined if len(unparse(joined)) <= MAX_JOINED_CHARS else None


class _PutIn(ast.NodeTransformer):
    def __init__(self, name: str, value: ast.expr) -> None:
        self.name = name
        self.value = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.value) if node.id == self.name else node


def _statements(final: ast.AST) -> list[ast.stmt]:
    if isinstance(final, ast.Module):
        return list(final.body)
    if isinstance(final, ast.stmt):
        return [final]
    return [ast.Expr(final)] if isinstance(final, ast.expr) else []


def _block_with(node: ast.stmt, child: ast.stmt) -> list[ast.stmt]:
    return next((block for block in blocks_of(node) if child in block), [])


def _in_body(node: ast.stmt, located: Located) -> bool:
    return any(child in located.chain for child in getattr(node, "body", []))


def _wrapped(node: ast.stmt, body: list[ast.stmt], *, in_body: bool) -> list[ast.stmt]:
    """The block around the failing statement, holding `body` alone; a `try` and a `pytest.raises` come off."""
    if in_body and (isinstance(node, ast.Try) or is_raises_block(node)):
        return body
    wrapped = copy.copy(node)
    if isinstance(wrapped, ast.Try):  # the failing statement handles an error: what raises it must stay
        wrapped.orelse, wrapped.finalbody = [], []
        handlers = [handler for handler in wrapped.handlers if any(child in handler.body for child in body)]
        wrapped.handlers = handlers or wrapped.handlers
        return [wrapped]
    if isinstance(wrapped, ast.If) and not in_body:
        wrapped.test, wrapped.body, wrapped.orelse = ast.UnaryOp(ast.Not(), wrapped.test), body, []
        return [wrapped]
    if isinstance(wrapped, ast.For | ast.AsyncFor | ast.While) and not in_body:
        return [wrapped, *body]
    for field in ("orelse", "finalbody", "handlers"):
        if hasattr(wrapped, field):
            setattr(wrapped, field, [])
    wrapped.body = body or [ast.Pass()]  # type: ignore[attr-defined]
    return [wrapped]


def _slice(
    block: Sequence[ast.stmt], end: ast.stmt, needed: set[str], local: AbstractSet[str], *, forgets: bool
) -> list[ast.stmt]:
    """Statements of a block before `end` that what is needed depends on; adds to `needed` what they need.

    `forgets`: what was in a variable before it is assigned does not matter; true outside of loops.
    """
    kept: list[ast.stmt] = []
    for node in reversed(list(itertools.takewhile(lambda other: other is not end, block))):
        asserted = _asserted_calls(node)
        for statement in reversed([node] if asserted is None else asserted):
            if _matters(statement, needed, local, is_asserted=asserted is not None):
                plain = _WithoutAssertions().visit(copy.deepcopy(statement))
                if forgets and isinstance(plain, ast.Assign):
                    needed -= {target.id for target in plain.targets if isinstance(target, ast.Name)}
                needed |= used_names(plain)
                kept.append(plain)
    return kept[::-1]


class _WithoutAssertions(ast.NodeTransformer):
    """Reduces assertions inside blocks to their calls; a block that held nothing else holds `pass`."""

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        return _asserted_calls(node) or []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


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
        target = None if node.func.attr.startswith(_QUERIES) else node.func
    elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
        target = node
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id in names
