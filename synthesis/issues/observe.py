"""Turn one test's failure into what a user would have seen: a call, what it gave, what it should give."""

import ast
import re

from schemas.reports import TestFailure
from synthesis.issues import explanation
from synthesis.issues.assertions import fixed, observe_assertion, observe_self_assertion, self_assertion
from synthesis.issues.names import unparse
from synthesis.issues.observation import Observation, Sort, cut, fits, with_code
from synthesis.issues.test_code import Located, ParsedTest, locate, raises_call, read_test, substitute

MAX_ERROR_CHARS = 400
_IMPORT = re.compile(r"^[ \t>]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)


def observe(test_id: str, failure: TestFailure, source: str | None) -> Observation | None:
    """What the failure shows; `None` where it shows nothing that can be told without the test's name."""
    if failure.phase == "collect":
        return _import_failed(failure)
    test = read_test(source, test_id) if source else None
    if test is None:
        return None
    try:
        if failure.phase == "process":
            return _died(failure, test)
        located = locate(test, failure.statement, failure.trace)
        return _whole_body(failure, test) if located is None else _at_statement(failure, test, located)
    except RecursionError:  # a test nested deeper than Python can walk
        return None


def _at_statement(failure: TestFailure, test: ParsedTest, located: Located) -> Observation | None:
    statement = located.statement
    if (expecting := _about_expected_error(failure, located)) is not None:
        return _raises_block(test, located, expecting)
    if failure.exception == "AssertionError" and isinstance(statement, ast.Assert):
        return observe_assertion(failure, test, located, statement.test)
    if failure.exception == "AssertionError" and (call := self_assertion(statement)) is not None:
        return observe_self_assertion(failure, test, located, call)
    if failure.exception in {"AssertionError", "Failed"} and not _computes(statement):
        return None
    return _error(failure, test, located)


def _about_expected_error(failure: TestFailure, located: Located) -> Observation | None:
    """An error that did not come, or came with another message; `None` where the failure is of another sort."""
    if failure.exception == "Failed" and (wanted := explanation.not_raised(failure.message)):
        return Observation(Sort.NOT_RAISED, 0, error=wanted)
    if failure.exception != "AssertionError" or raises_call(located.statement) is None:
        return None
    awaited = _awaited_error(located) or "an error"
    if "not raised" in failure.message:
        return Observation(Sort.NOT_RAISED, 0, error=awaited)
    sides = explanation.mismatched_message(failure.message)
    if sides is None:
        return None
    return Observation(Sort.WRONG_MESSAGE, 1, actual=cut(sides.left), expected=cut(sides.right), error=awaited)


def _error(failure: TestFailure, test: ParsedTest, located: Located) -> Observation | None:
    statement = located.statement
    final: ast.AST = statement
    if isinstance(statement, ast.Assert):
        final = _computed_side(test, statement.test)
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr | ast.Return) and statement.value is not None:
        call = self_assertion(statement)
        arguments = [argument for argument in call.args if _computes(argument)] if call else []
        final = arguments[0] if len(arguments) == 1 else statement.value
    elif isinstance(statement, ast.If | ast.While):
        final = statement.test
    elif isinstance(statement, ast.For | ast.AsyncFor):
        final = statement.iter
    seen = Observation(Sort.RAISES, 1, error=failure.exception or "an exception", message=error_message(failure))
    seen = seen._replace(expected=_awaited_error(located))
    if raises_call(statement) is not None:
        return _raises_block(test, located, seen)
    return with_code(seen, test, located, final)


def _computed_side(test: ParsedTest, condition: ast.expr) -> ast.expr:
    """The side of a comparison that computes something, where only one does."""
    sides = [condition]
    if isinstance(condition, ast.Compare):
        sides = [condition.left, *condition.comparators]
    elif isinstance(condition, ast.UnaryOp):
        sides = [condition.operand]
    computed = [side for side in sides if _computes(side) and not fixed(substitute(test, side))]
    return computed[0] if len(computed) == 1 else condition


def error_message(failure: TestFailure) -> str:
    """The first line of an exception's message, bounded."""
    first = failure.message.strip().split("\n", 1)[0]
    return first if len(first) <= MAX_ERROR_CHARS else first[:MAX_ERROR_CHARS] + "…"


def _raises_block(test: ParsedTest, located: Located, seen: Observation) -> Observation | None:
    """For a `with pytest.raises(...)`: what is inside it is what goes wrong."""
    statement = located.statement
    if not isinstance(statement, ast.With | ast.AsyncWith):
        return with_code(seen, test, located, statement)
    inside: list[ast.stmt] = statement.body
    if len(inside) == 1 and isinstance(inside[0], ast.Expr | ast.Assign):
        return with_code(seen, test, located, inside[0].value)
    return with_code(seen, test, located, ast.Module(body=inside, type_ignores=[]))


def _awaited_error(located: Located) -> str:
    """The class of error that the innermost block around a statement waits for; empty where none does."""
    for node in reversed(located.chain):
        call = raises_call(node)
        if call is not None:
            return unparse(call.args[0]).rpartition(".")[2].strip("()") if call.args else ""
    return ""


def _body(test: ParsedTest) -> str:
    """All that a test does, where it is short enough to show."""
    body = [node for node in test.function.body if not _is_docstring(node)]
    snippet = unparse(substitute(test, ast.Module(body=body, type_ignores=[])))
    return snippet if fits(snippet) else ""


def _whole_body(failure: TestFailure, test: ParsedTest) -> Observation | None:
    """The failing line is not in the test itself: show all that the test does."""
    snippet = _body(test)
    if not snippet:
        return None
    message = error_message(failure)
    return Observation(Sort.RAISES, 3, code=snippet, snippet=snippet, error=failure.exception, message=message)


def _import_failed(failure: TestFailure) -> Observation | None:
    imported = _IMPORT.search(failure.statement) or _IMPORT.search(failure.trace)
    package = imported[1] if imported else ""
    name = failure.exception or "an exception"
    return Observation(Sort.IMPORT, 2, code=package, error=name, message=error_message(failure))


def _died(failure: TestFailure, test: ParsedTest) -> Observation | None:
    snippet = _body(test)
    message = failure.message.replace("the test process", "the process").replace("the test", "it")
    return Observation(Sort.DIES, 2, code=snippet, snippet=snippet, message=message) if snippet else None


def _computes(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Call | ast.Attribute | ast.Subscript | ast.BinOp) for inner in ast.walk(node))


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
