"""Find the values of a parametrised test's case from its id, in the source of its decorators."""

import ast
import itertools
import math
import operator
from collections.abc import Callable
from typing import NamedTuple

from synthesis.issues.names import unparse

MAX_CASES = 2000

_CONSTANTS = {"nan": math.nan, "inf": math.inf, "pi": math.pi, "e": math.e, "tau": math.tau}
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
"""No powers: a short source may stand for a number that fills the memory."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def values_of_case(function: Function, case: str) -> dict[str, ast.expr]:
    """Names and values of the one combination of `parametrize` decorators whose id is `case`."""
    axes = [axis for axis in map(_axis, reversed(function.decorator_list)) if axis]
    size = 1
    for axis in axes:
        size *= len(axis)
    if not axes or size > MAX_CASES:
        return {}
    # Class-level parameters come after the function's own: the rest of the id is theirs.
    matches = []
    for combination in itertools.product(*axes):
        name = "-".join(part.id for part in combination)
        if case == name or case.startswith(f"{name}-"):
            matches.append((len(name), combination))
    if not matches:
        return {}
    longest = max(length for length, _ in matches)
    best = [combination for length, combination in matches if length == longest]
    if len(best) > 1:
        return {}
    return {name: value for part in best[0] for name, value in part.values.items()}


class _Case(NamedTuple):
    id: str
    values: dict[str, ast.expr]


def _axis(decorator: ast.expr) -> list[_Case] | None:
    """The cases of one `parametrize` decorator with pytest's ids; `None` where they are not written out."""
    if not isinstance(decorator, ast.Call) or not unparse(decorator.func).endswith("parametrize"):
        return None
    arguments = dict(zip(("argnames", "argvalues"), decorator.args, strict=False))
    arguments |= {keyword.arg: keyword.value for keyword in decorator.keywords if keyword.arg}
    names, rows = _argument_names(arguments.get("argnames")), arguments.get("argvalues")
    if not names or not isinstance(rows, ast.List | ast.Tuple):
        return None
    ids = arguments.get("ids")
    if ids is not None and not isinstance(ids, ast.List | ast.Tuple):
        return None
    given = (
        [] if ids is None else [element.value if isinstance(element, ast.Constant) else None for element in ids.elts]
    )
    cases = []
    for index, row in enumerate(rows.elts):
        case = _case(names, row, index, given[index] if index < len(given) else None)
        if case is None:
            return None
        cases.append(case)
    return _with_unique_ids(cases)


def _with_unique_ids(cases: list[_Case]) -> list[_Case]:
    """Equal ids get a number each, as pytest gives them."""
    names = [case.id for case in cases]
    if len(set(names)) == len(names):
        return cases
    counters: dict[str, int] = {}
    unique = []
    for case in cases:
        if names.count(case.id) == 1:
            unique.append(case)
            continue
        number = counters.get(case.id, 0)
        counters[case.id] = number + 1
        separator = "_" if case.id and case.id[-1].isdigit() else ""
        unique.append(_Case(f"{case.id}{separator}{number}", case.values))
    return unique


def _case(names: tuple[str, ...], row: ast.expr, index: int, given: object) -> _Case | None:
    if isinstance(row, ast.Call) and unparse(row.func).endswith("param"):
        for keyword in row.keywords:
            if keyword.arg == "id" and isinstance(keyword.value, ast.Constant):
                given = keyword.value.value
        values: list[ast.expr] = list(row.args)
    elif len(names) == 1:
        values = [row]
    elif isinstance(row, ast.Tuple | ast.List):
        values = list(row.elts)
    else:
        return None
    if len(values) != len(names) or any(isinstance(value, ast.Starred) for value in values):
        return None
    bound = dict(zip(names, values, strict=True))
    if given is not None:
        return _Case(_escaped(given) if isinstance(given, str) else str(given), bound)
    return _Case("-".join(_value_id(name, value, index) for name, value in bound.items()), bound)


def _value_id(name: str, value: ast.expr, index: int) -> str:
    """The id that pytest gives a value: itself for plain constants, the name with a number otherwise."""
    try:
        plain = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        plain = _number(value)
        if plain is None:  # a function or a class has its own name for an id; a constant's value is not known here
            return value.id if isinstance(value, ast.Name) and not value.id.isupper() else f"{name}{index}"
    if isinstance(plain, bytes):
        return plain.decode("ascii", "backslashreplace")
    if isinstance(plain, str):
        return _escaped(plain)
    return str(plain) if plain is None or isinstance(plain, int | float | complex) else f"{name}{index}"


def _number(node: ast.expr) -> float | None:
    """The number that plain arithmetic or a constant of `math` stands for; `None` for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Attribute):
        return _CONSTANTS.get(node.attr)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _apply(operator.sub, 0, _number(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        return _apply(_ARITHMETIC[type(node.op)], _number(node.left), _number(node.right))
    return None


def _apply(operation: Callable[[float, float], float], left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    try:
        return operation(left, right)
    except (ArithmeticError, ValueError):
        return None


def _escaped(value: str) -> str:
    return value.encode("unicode_escape").decode("ascii")


def _argument_names(node: ast.expr | None) -> tuple[str, ...]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return tuple(name.strip() for name in node.value.split(",") if name.strip())
    if isinstance(node, ast.List | ast.Tuple):
        return tuple(item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str))
    return ()
