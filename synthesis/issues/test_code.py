"""Read one test's source: its function, its parameters, its failing statement. Never runs it."""

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from synthesis.issues.names import parse, unparse
from synthesis.issues.parametrize import Function, values_of_case

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_Node = TypeVar("_Node", bound=ast.AST)


class ParsedTest(NamedTuple):
    """One test function and the values of its parameters in one case."""

    function: Function
    values: Mapping[str, ast.expr]
    """Parametrised names whose values are known; other parameters are fixtures."""


class Located(NamedTuple):
    """Where a statement stands in a test: the chain of statements from the function's body down to it."""

    chain: tuple[ast.stmt, ...]

    @property
    def statement(self) -> ast.stmt:
        return self.chain[-1]

    @property
    def in_loop(self) -> bool:
        return any(isinstance(node, ast.For | ast.AsyncFor | ast.While) for node in self.chain[:-1])


def read_test(source: str, test_id: str) -> ParsedTest | None:
    """The test function in a piece of source, with the parameters of the case that the id names."""
    module = parse(source)
    if module is None:
        return None
    function = next((node for node in ast.walk(module) if isinstance(node, _FUNCTION)), None)
    if function is None:
        return None
    _, bracket, case = test_id.partition("[")
    values = values_of_case(function, case[:-1]) if bracket and case.endswith("]") else {}
    return ParsedTest(function, values)


def locate(code: ParsedTest, statement: str, trace: str) -> Located | None:
    """The failing statement in the test; `None` where it is not there, or it is not clear which one it is."""
    wanted = _header(_parse_statement(statement))
    if not wanted:
        return None
    found = [Located(chain) for chain in _chains(code.function.body) if wanted in _headers(chain[-1])]
    if len(found) <= 1:
        return found[0] if found else None
    first_line = statement.strip().split("\n", 1)[0].strip()
    before = _earlier_occurrences(trace, first_line, code.function.name)
    return found[before] if before is not None and before < len(found) else None


def substitute(code: ParsedTest, node: _Node) -> _Node:
    """A copy with parametrised values in place of their names, `self.` and output fixtures made plain."""
    return Plain(code.values).visit(copy.deepcopy(node))  # type: ignore[no-any-return]


class Plain(ast.NodeTransformer):
    """Takes the test machinery out of an expression."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = dict(values)
        self.drops_self = True

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if isinstance(node.ctx, ast.Load) and node.id in self.values:
            return copy.deepcopy(self.values[node.id])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.generic_visit(node)
        if self.drops_self and isinstance(node.value, ast.Name) and node.value.id == "self":
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        if node.attr in {"out", "err"} and _is_read_of_output(node.value):
            return ast.copy_location(ast.Name("stdout" if node.attr == "out" else "stderr", node.ctx), node)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        """An f-string whose parts are all known becomes the string that it makes."""
        self.generic_visit(node)
        parts = [_formatted(part) for part in node.values]
        known = [part for part in parts if part is not None]
        return ast.copy_location(ast.Constant("".join(known)), node) if len(known) == len(parts) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._visit_inner(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._visit_inner(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._visit_inner(node)

    def _visit_inner(self, node: Function | ast.Lambda) -> ast.AST:
        """Inside a function of the test's own, its parameters hide the test's, `self` too."""
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        own = {argument.arg for argument in (*named, arguments.vararg, arguments.kwarg) if argument is not None}
        inner = Plain({name: value for name, value in self.values.items() if name not in own})
        inner.drops_self = self.drops_self and "self" not in own
        return inner.generic_visit(node)


def _formatted(part: ast.expr) -> str | None:
    """What one part of an f-string contributes, where that is known."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    if isinstance(part, ast.FormattedValue) and part.conversion == -1 and part.format_spec is None:
        value = part.value
        return str(value.value) if isinstance(value, ast.Constant) else None
    return None


def raises_call(node: ast.stmt) -> ast.Call | None:
    """The call in `with pytest.raises(...)` or `with self.assertRaises(...)`; `None` for any other statement."""
    if not isinstance(node, ast.With | ast.AsyncWith):
        return None
    call = node.items[0].context_expr
    if isinstance(call, ast.Call):
        name = unparse(call.func).rpartition(".")[2]
        if name in {"raises", "warns", "deprecated_call"} or name.startswith(("assertRaises", "assertWarns")):
            return call
    return None


def is_raises_block(node: ast.stmt) -> bool:
    """Whether a block expects an error or a warning."""
    return raises_call(node) is not None


def literal(node: ast.expr) -> bool:
    """Whether an expression is made of constants and containers alone."""
    allowed = (ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.UnaryOp, ast.USub, ast.UAdd, ast.Load)
    return all(isinstance(inner, allowed) for inner in ast.walk(node))


def _is_read_of_output(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "readouterr"
        and isinstance(node.func.value, ast.Name)
    )


def _parse_statement(statement: str) -> ast.stmt | None:
    text = statement.strip()
    for attempt in (text, f"{text}\n    pass", f"{text} pass", f"{text}\nclass _: pass"):
        module = parse(attempt)
        if module is not None and len(module.body) == 1:
            return module.body[0]
    return None


def _headers(node: ast.stmt) -> tuple[str, ...]:
    """What the runner may show of a statement: its header, or one of its decorators."""
    decorators = getattr(node, "decorator_list", [])
    return (_header(node), *(f"@{unparse(decorator)}" for decorator in decorators))


def _header(node: ast.stmt | None) -> str:
    """A statement's text; of a compound statement the part before its body, of a decorated one the decorator."""
    if node is None or not hasattr(node, "body"):
        return unparse(node) if node is not None else ""
    if decorators := getattr(node, "decorator_list", []):
        return f"@{unparse(decorators[0])}"
    bare = copy.copy(node)
    for field in ("body", "orelse", "finalbody", "handlers"):
        if hasattr(bare, field):
            setattr(bare, field, [ast.Pass()] if field == "body" else [])
    return unparse(bare)


def _chains(block: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, ...]]:
    for node in block:
        yield (node,)
        if not isinstance(node, (*_FUNCTION, ast.ClassDef)):
            for inner in blocks_of(node):
                for chain in _chains(inner):
                    yield (node, *chain)


def blocks_of(node: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of statements inside a compound statement."""
    blocks = [getattr(node, field) for field in ("body", "orelse", "finalbody") if getattr(node, field, None)]
    return blocks + [handler.body for handler in getattr(node, "handlers", [])]


def _earlier_occurrences(trace: str, first_line: str, function: str) -> int | None:
    """How often a line stands in the runner's listing of the function before the line marked as failing."""
    listing: list[str] | None = None
    for line in trace.split("\n"):
        stripped = line.removeprefix(">").strip()
        if stripped.startswith((f"def {function}(", f"async def {function}(")):
            listing = []
        elif listing is not None:
            if line.startswith(">") and stripped == first_line:
                return listing.count(first_line)
            listing.append(stripped)
    return None
