"""What a failed assertion shows: pytest's plain `assert` and the methods of `unittest.TestCase`."""

import ast

from schemas.reports import TestFailure
from synthesis.issues import explanation
from synthesis.issues.names import parse_expression, unparse
from synthesis.issues.observation import MAX_VALUE_CHARS, Observation, Sort, cut, with_code
from synthesis.issues.test_code import Located, ParsedTest, literal, substitute

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


def observe_assertion(
    failure: TestFailure, test: ParsedTest, located: Located, condition: ast.expr
) -> Observation | None:
    if isinstance(condition, ast.Compare) and len(condition.ops) == 1:
        operator = _OPERATORS[type(condition.ops[0])]
        left, right = condition.left, condition.comparators[0]
        if operator in {"==", "is"}:
            values = explanation.compared(failure.message, operator)
            return _equality(failure, test, located, left=left, right=right, values=values)
    return _false(failure, test, located, condition)


def observe_self_assertion(
    failure: TestFailure, test: ParsedTest, located: Located, call: ast.Call
) -> Observation | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name in _UNITTEST_EQUAL and len(call.args) >= 2:
        values = explanation.unittest_compared(failure.message, "!=" if name != "assertIs" else "is not")
        return _equality(failure, test, located, left=call.args[0], right=call.args[1], values=values)
    if name.startswith("assertRaises") and len(call.args) >= 2:
        wanted = unparse(call.args[0]).rpartition(".")[2]
        called = ast.Call(func=call.args[1], args=call.args[2:], keywords=call.keywords)
        return with_code(Observation(Sort.NOT_RAISED, 0, error=wanted), test, located, called)
    conditions: dict[str, str] = {"assertIn": "in", "assertNotIn": "not in", "assertNotEqual": "!="}
    if name in conditions and len(call.args) >= 2:
        text = f"{unparse(call.args[0])} {conditions[name]} {unparse(call.args[1])}"
        condition = parse_expression(text)
        return None if condition is None else _false(failure, test, located, condition)
    if name in {"assertTrue", "assertFalse"} and call.args:
        condition = call.args[0] if name == "assertTrue" else ast.UnaryOp(ast.Not(), call.args[0])
        return _false(failure, test, located, condition)
    return None


def _equality(
    failure: TestFailure,
    test: ParsedTest,
    located: Located,
    *,
    left: ast.expr,
    right: ast.expr,
    values: explanation.Compared | None,
) -> Observation | None:
    plain_left, plain_right = substitute(test, left), substitute(test, right)
    swapped = fixed(plain_left) and not fixed(plain_right)
    if swapped:
        left, right, plain_left, plain_right = right, left, plain_right, plain_left
        values = explanation.Compared(values.right, values.left) if values else None
    actual = values.left if values else ""
    expected = unparse(_without_approx(plain_right)) if fixed(plain_right) else (values.right if values else "")
    seen = Observation(Sort.WRONG_VALUE if fixed(plain_right) else Sort.UNEQUAL, 0, actual=actual, expected=expected)
    if seen.sort is Sort.UNEQUAL:
        seen = seen._replace(other=unparse(plain_right), rank=1)
    if not actual or explanation.shortened(actual) or len(actual) > MAX_VALUE_CHARS or len(expected) > MAX_VALUE_CHARS:
        seen = _by_difference(seen, failure, swapped=swapped)
    if seen.sort is Sort.WRONG_VALUE:
        return with_code(seen, test, located, left, evaluated=_evaluated(failure, left, actual))
    both = with_code(seen, test, located, ast.Compare(left, [ast.Eq()], [right]))
    return None if both is None else both._replace(code=unparse(plain_left))


def _by_difference(seen: Observation, failure: TestFailure, *, swapped: bool) -> Observation:
    """Speak of the place where long values differ; of what was expected alone where no place is known."""
    place = explanation.difference(failure.message)
    if place is not None:
        left, right = (place.right, place.left) if swapped else (place.left, place.right)
        return seen._replace(where=place.where, actual=cut(left), expected=cut(right))
    actual = "" if explanation.shortened(seen.actual) else cut(seen.actual)
    expected = "" if explanation.shortened(seen.expected) and seen.sort is Sort.UNEQUAL else cut(seen.expected)
    return seen._replace(rank=seen.rank + 1, actual=actual, expected=expected)


def _false(failure: TestFailure, test: ParsedTest, located: Located, condition: ast.expr) -> Observation | None:
    headline = explanation.headline(failure.message) or ""
    value = headline.removeprefix("not ").strip()
    negated = isinstance(condition, ast.UnaryOp) and isinstance(condition.op, ast.Not)
    inner = condition.operand if isinstance(condition, ast.UnaryOp) and negated else condition
    if isinstance(inner, ast.Call | ast.Attribute | ast.Await | ast.Name | ast.Subscript) and value:
        evaluated = _evaluated(failure, inner, value)
        seen = Observation(Sort.FALSE, 1, actual=cut(value), expected="false" if negated else "true")
        if value in {"True", "False"}:
            seen = Observation(Sort.WRONG_VALUE, 0, actual=value, expected=str(not negated))
        return with_code(seen, test, located, inner, evaluated=evaluated)
    shown = headline if headline and len(headline) <= MAX_VALUE_CHARS and not explanation.shortened(headline) else ""
    if shown.startswith("(") or shown in {"False", "True"}:
        shown = ""
    return with_code(Observation(Sort.FALSE, 2, actual=shown), test, located, condition)


def _evaluated(failure: TestFailure, call: ast.expr, value: str) -> str | None:
    """The call with the values that the runner printed for its arguments, where it printed them."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not value:
        return None
    found = explanation.evaluated_call(failure.message, value, call.func.id)
    return None if found is None or "<tmp>" in found else found


def fixed(node: ast.expr) -> bool:
    """Whether an expression says by itself what is expected: constants, or a value built from constants."""
    node = _without_approx(node)
    if literal(node):
        return True
    if isinstance(node, ast.Call):
        name = unparse(node.func).rpartition(".")[2]
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        return (name in _CONSTRUCTORS or name[:1].isupper()) and all(fixed(argument) for argument in arguments)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(fixed(element) for element in node.elts)
    if isinstance(node, ast.BinOp):
        return fixed(node.left) and fixed(node.right)
    return False


def _without_approx(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Call) and unparse(node.func).endswith("approx") and node.args:
        return node.args[0]
    return node


def self_assertion(node: ast.stmt) -> ast.Call | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and function.attr.startswith("assert"):
            return node.value
    return None
