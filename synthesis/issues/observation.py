"""Turn one test's failure into what a user would have seen: a call, what it gave, what it should give."""

import ast
from enum import StrEnum
from typing import NamedTuple

from schemas.reports import TestFailure
from synthesis.issues import explanation
from synthesis.issues.names import parse, parse_expression, unparse, used_names
from synthesis.issues.slicing import OUTPUT_FIXTURES, setup_lines
from synthesis.issues.test_code import Located, ParsedTest, literal, locate, read_test, substitute

MAX_VALUE_CHARS = 300
MAX_ERROR_CHARS = 400
MAX_SNIPPET_LINES = 16
MAX_SNIPPET_CHARS = 1000

_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
_UNITTEST_EQUAL = frozenset(
    {
        "assertEqual",
        "assertEquals",
        "assertListEqual",
        "assertTupleEqual",
        "assertDictEqual",
        "assertSetEqual",
        "assertSequenceEqual",
        "assertMultiLineEqual",
        "assertAlmostEqual",
        "assertCountEqual",
        "assertIs",
    }
)
_CONSTRUCTORS = frozenset({"set", "frozenset", "tuple", "list", "dict", "bytes", "bytearray", "range", "float", "int"})


class Sort(StrEnum):
    """What went wrong; the value orders nothing, `Observation.rank` does."""

    WRONG_VALUE = "wrong_value"
    """One side of a comparison is what should come out."""
    UNEQUAL = "unequal"
    """Two computed sides should agree."""
    FALSE = "false"
    """Something should hold and does not."""
    RAISES = "raises"
    """An error that should not come."""
    NOT_RAISED = "not_raised"
    """An error that should come and does not."""
    WRONG_MESSAGE = "wrong_message"
    """The right error with another message."""
    IMPORT = "import"
    """The package cannot be imported."""
    DIES = "dies"
    """The process ends or hangs."""


class Observation(NamedTuple):
    """What one failing test does and sees, as source and printed values."""

    sort: Sort
    rank: int
    """How much it says, from 0 (most) on."""
    code: str = ""
    """The expression or statements that go wrong; last line of `snippet` where there is one."""
    snippet: str = ""
    """Code with everything that leads to `code`; empty where `code` stands for itself."""
    actual: str = ""
    expected: str = ""
    other: str = ""
    """The second expression of two that should agree."""
    where: str = ""
    """Place inside long values that `actual` and `expected` speak of; empty for whole values."""
    error: str = ""
    """Class name of the exception."""
    message: str = ""
    in_loop: bool = False


def observe(test: str, failure: TestFailure, source: str | None) -> Observation | None:
    """What the failure shows; `None` where it shows nothing that can be told without the test's name."""
    if failure.phase == "process":
        return _died(failure, read_test(source, test) if source else None)
    if failure.phase == "collect":
        return _import_failed(failure)
    code = read_test(source, test) if source else None
    if code is None:
        return None
    located = locate(code, failure.statement, failure.trace)
    if located is None:
        return _whole_body(failure, code)
    return _at_statement(failure, code, located)


def _at_statement(failure: TestFailure, code: ParsedTest, located: Located) -> Observation | None:
    statement = located.statement
    if failure.exception == "Failed" and (wanted := explanation.not_raised(failure.message)):
        return _raises_block(code, located, Observation(Sort.NOT_RAISED, 0, error=wanted))
    sides = explanation.mismatched_message(failure.message)
    if sides is not None and isinstance(statement, ast.With | ast.AsyncWith):
        seen = Observation(Sort.WRONG_MESSAGE, 1, actual=cut(sides.left), expected=cut(sides.right))
        return _raises_block(code, located, seen._replace(error=_raised_class(statement)))
    if failure.exception == "AssertionError" and isinstance(statement, ast.Assert):
        return _assertion(failure, code, located, statement.test)
    if failure.exception == "AssertionError" and (call := _self_assertion(statement)) is not None:
        return _unittest_assertion(failure, code, located, call)
    if failure.exception in {"AssertionError", "Failed"} and not _calls(statement):
        return None
    return _error(failure, code, located)


def _assertion(failure: TestFailure, code: ParsedTest, located: Located, condition: ast.expr) -> Observation | None:
    if isinstance(condition, ast.Compare) and len(condition.ops) == 1:
        operator = _OPERATORS[type(condition.ops[0])]
        left, right = condition.left, condition.comparators[0]
        if operator in {"==", "is"}:
            values = explanation.compared(failure.message, operator)
            return _equality(failure, code, located, left=left, right=right, values=values)
    return _false(failure, code, located, condition)


def _unittest_assertion(failure: TestFailure, code: ParsedTest, located: Located, call: ast.Call) -> Observation | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name in _UNITTEST_EQUAL and len(call.args) >= 2:
        values = explanation.unittest_compared(failure.message, "!=" if name != "assertIs" else "is not")
        return _equality(failure, code, located, left=call.args[0], right=call.args[1], values=values)
    if name.startswith("assertRaises") and len(call.args) >= 2:
        wanted = unparse(call.args[0]).rpartition(".")[2]
        called = ast.Call(func=call.args[1], args=call.args[2:], keywords=call.keywords)
        return _with_code(Observation(Sort.NOT_RAISED, 0, error=wanted), code, located, called)
    conditions: dict[str, str] = {"assertIn": "in", "assertNotIn": "not in", "assertNotEqual": "!="}
    if name in conditions and len(call.args) >= 2:
        text = f"{unparse(call.args[0])} {conditions[name]} {unparse(call.args[1])}"
        condition = parse_expression(text)
        return None if condition is None else _false(failure, code, located, condition)
    if name in {"assertTrue", "assertFalse"} and call.args:
        condition = call.args[0] if name == "assertTrue" else ast.UnaryOp(ast.Not(), call.args[0])
        return _false(failure, code, located, condition)
    return None


def _equality(
    failure: TestFailure,
    code: ParsedTest,
    located: Located,
    *,
    left: ast.expr,
    right: ast.expr,
    values: explanation.Compared | None,
) -> Observation | None:
    plain_left, plain_right = substitute(code, left), substitute(code, right)
    swapped = _fixed(plain_left) and not _fixed(plain_right)
    if swapped:
        left, right, plain_right = right, left, plain_left
        values = explanation.Compared(values.right, values.left) if values else None
    actual = values.left if values else ""
    expected = unparse(_without_approx(plain_right)) if _fixed(plain_right) else (values.right if values else "")
    seen = Observation(Sort.WRONG_VALUE if _fixed(plain_right) else Sort.UNEQUAL, 0, actual=actual, expected=expected)
    if seen.sort is Sort.UNEQUAL:
        seen = seen._replace(other=unparse(plain_right), rank=1)
    if not actual or explanation.shortened(actual) or len(actual) > MAX_VALUE_CHARS or len(expected) > MAX_VALUE_CHARS:
        seen = _by_difference(seen, failure, swapped=swapped)
    final: ast.AST = left if seen.sort is Sort.WRONG_VALUE else ast.Compare(left, [ast.Eq()], [right])
    evaluated = _evaluated(failure, code, left, actual) if seen.sort is Sort.WRONG_VALUE else None
    return _with_code(seen, code, located, final, evaluated=evaluated)


def _by_difference(seen: Observation, failure: TestFailure, *, swapped: bool) -> Observation:
    """Speak of the place where long values differ; of what was expected alone where no place is known."""
    place = explanation.difference(failure.message)
    if place is not None:
        left, right = (place.right, place.left) if swapped else (place.left, place.right)
        return seen._replace(where=place.where or "extra", actual=cut(left), expected=cut(right))
    return seen._replace(rank=seen.rank + 1, actual=cut(seen.actual), expected=cut(seen.expected))


def _false(failure: TestFailure, code: ParsedTest, located: Located, condition: ast.expr) -> Observation | None:
    headline = explanation.headline(failure.message) or ""
    value = headline.removeprefix("not ").strip()
    negated = isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not)
    inner = condition.operand if isinstance(condition, ast.UnaryOp) and negated else condition
    if isinstance(inner, ast.Call | ast.Attribute | ast.Await | ast.Name | ast.Subscript) and value:
        evaluated = _evaluated(failure, code, inner, value)
        seen = Observation(Sort.FALSE, 1, actual=cut(value), expected="a false value" if negated else "a true value")
        if value in {"True", "False"}:
            seen = Observation(Sort.WRONG_VALUE, 0, actual=value, expected=str(not negated))
        return _with_code(seen, code, located, inner, evaluated=evaluated)
    shown = headline if headline and len(headline) <= MAX_VALUE_CHARS and not explanation.shortened(headline) else ""
    if shown.startswith("(") or shown in {"False", "True"}:
        shown = ""
    return _with_code(Observation(Sort.FALSE, 2, actual=shown), code, located, condition)


def _error(failure: TestFailure, code: ParsedTest, located: Located) -> Observation | None:
    statement = located.statement
    final: ast.AST = statement
    if isinstance(statement, ast.Assert):
        calls = [side for side in _sides(statement.test) if _calls(side)]
        final = calls[0] if len(calls) == 1 else statement.test
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr | ast.Return) and statement.value is not None:
        call = _self_assertion(statement)
        arguments = [argument for argument in call.args if _calls(argument)] if call else []
        final = arguments[0] if len(arguments) == 1 else statement.value
    elif hasattr(statement, "body"):
        return _raises_block(code, located, _raised(failure))
    return _with_code(_raised(failure), code, located, final)


def _raised(failure: TestFailure) -> Observation:
    return Observation(Sort.RAISES, 1, error=failure.exception or "an exception", message=error_message(failure))


def error_message(failure: TestFailure) -> str:
    """The first line of an exception's message, bounded."""
    first = failure.message.strip().split("\n", 1)[0]
    return first if len(first) <= MAX_ERROR_CHARS else first[:MAX_ERROR_CHARS] + "…"


def _raises_block(code: ParsedTest, located: Located, seen: Observation) -> Observation | None:
    """For a `with pytest.raises(...)`: what is inside it is what goes wrong."""
    statement = located.statement
    if not isinstance(statement, ast.With | ast.AsyncWith):
        return _with_code(seen, code, located, statement)
    inside: list[ast.stmt] = statement.body
    if len(inside) == 1 and isinstance(inside[0], ast.Expr):
        return _with_code(seen, code, located, inside[0].value)
    if len(inside) == 1 and isinstance(inside[0], ast.Assign):
        return _with_code(seen, code, located, inside[0].value)
    return _with_code(seen, code, located, ast.Module(body=inside, type_ignores=[]))


def _whole_body(failure: TestFailure, code: ParsedTest) -> Observation | None:
    """The failing line is not in the test itself: show all that the test does."""
    body = [node for node in code.function.body if not _is_docstring(node)]
    snippet = unparse(substitute(code, ast.Module(body=body, type_ignores=[])))
    if not _fits(snippet) or not snippet:
        return None
    seen = Observation(Sort.RAISES, 3, code=snippet, snippet=snippet, error=failure.exception)
    if failure.exception == "AssertionError":
        return seen._replace(sort=Sort.FALSE, error="")
    return seen._replace(message=error_message(failure))


def _import_failed(failure: TestFailure) -> Observation | None:
    module = parse(failure.statement.strip())
    package = ""
    if module is not None and len(module.body) == 1:
        node = module.body[0]
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            package = node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            package = node.names[0].name.split(".")[0]
    name = failure.exception or "an exception"
    return Observation(Sort.IMPORT, 2, code=package, error=name, message=error_message(failure))


def _died(failure: TestFailure, code: ParsedTest | None) -> Observation | None:
    if code is None:
        return None
    body = [node for node in code.function.body if not _is_docstring(node)]
    snippet = unparse(substitute(code, ast.Module(body=body, type_ignores=[])))
    if not snippet or not _fits(snippet):
        return None
    return Observation(Sort.DIES, 2, code=snippet, snippet=snippet, message=failure.message.replace("test ", "", 1))


def _with_code(
    seen: Observation, code: ParsedTest, located: Located, final: ast.AST, *, evaluated: str | None = None
) -> Observation | None:
    """Add the code that goes wrong, and what leads to it where it does not stand for itself."""
    shown = unparse(substitute(code, final))
    if not shown:
        return None
    snippet = setup_lines(code, located, final)
    if snippet == shown and "\n" not in shown:
        snippet = ""
    unknown = used_names(final) & _fixtures(code) - OUTPUT_FIXTURES
    if evaluated is not None and (unknown or snippet):
        return seen._replace(code=evaluated)
    if not _fits(snippet):
        return None
    rank = seen.rank + (1 if unknown else 0)
    return seen._replace(code=shown, snippet=snippet, rank=rank, in_loop=located.in_loop)


def _evaluated(failure: TestFailure, code: ParsedTest, call: ast.expr, value: str) -> str | None:
    """The call with the values that the runner printed for its arguments, where it printed them."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not value:
        return None
    del code
    return explanation.evaluated_call(failure.message, value, call.func.id)


def _fixtures(code: ParsedTest) -> frozenset[str]:
    """Parameters whose values are not known."""
    arguments = code.function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    return frozenset(names - set(code.values) - {"self"})


def _fixed(node: ast.expr) -> bool:
    """Whether an expression says by itself what is expected: constants, or a value built from constants."""
    node = _without_approx(node)
    if literal(node):
        return True
    if isinstance(node, ast.Call):
        name = unparse(node.func).rpartition(".")[2]
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        return (name in _CONSTRUCTORS or name[:1].isupper()) and all(_fixed(argument) for argument in arguments)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(_fixed(element) for element in node.elts)
    if isinstance(node, ast.BinOp):
        return _fixed(node.left) and _fixed(node.right)
    return False


def _without_approx(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Call) and unparse(node.func).endswith("approx") and node.args:
        return node.args[0]
    return node


def _sides(condition: ast.expr) -> list[ast.expr]:
    if isinstance(condition, ast.Compare):
        return [condition.left, *condition.comparators]
    if isinstance(condition, ast.UnaryOp):
        return [condition.operand]
    return [condition]


def _calls(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Call | ast.Attribute | ast.Subscript | ast.BinOp) for inner in ast.walk(node))


def _self_assertion(node: ast.stmt) -> ast.Call | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and function.attr.startswith("assert"):
            return node.value
    return None


def _raised_class(node: ast.With | ast.AsyncWith) -> str:
    call = node.items[0].context_expr
    if isinstance(call, ast.Call) and call.args:
        return unparse(call.args[0]).rpartition(".")[2]
    return "an exception"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _fits(snippet: str) -> bool:
    return len(snippet) <= MAX_SNIPPET_CHARS and snippet.count("\n") < MAX_SNIPPET_LINES


def cut(value: str) -> str:
    """A value of bounded length."""
    return value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS] + "…"
