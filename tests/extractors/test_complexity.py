"""Complexity against radon, the cognitive_complexity package and the white paper; the score's bounds."""

import ast
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radon.visitors import ComplexityVisitor

from extractors.syntax import definitions, parse
from extractors.taggers.complexity import PARTS, score
from extractors.taggers.measures import Measures, measure
from schemas.code import EntityKind
from schemas.repo import Language

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


def measured(text: str, name: str = "f") -> Measures:
    source = textwrap.dedent(text).encode()
    found = {item.name: item.node for item in definitions(source, Language.PYTHON)}
    return measure(found[name], Language.PYTHON)


def corpus() -> list[Path]:
    standard, site = (Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib"))
    folders = [site / name for name in ("attr", "click", "packaging")]
    modules = ["argparse", "ast", "dataclasses", "difflib", "inspect", "pathlib", "textwrap", "tokenize", "typing"]
    return [
        *(standard / f"{name}.py" for name in modules),
        *(path for folder in folders for path in sorted(folder.glob("*.py"))),
    ]


def functions_of(paths: list[Path]) -> Iterator[tuple[str, AnyFunction, Measures]]:
    """Every function of the files: where it is, its syntax tree, and what we measure."""
    for path in paths:
        source = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        found = definitions(source, Language.PYTHON)
        ours = {item.node.start_point.row + 1: item.node for item in found if item.kind is not EntityKind.CLASS}
        for node in ast.walk(tree):
            if isinstance(node, AnyFunction):
                yield f"{path.name}:{node.lineno} {node.name}", node, measure(ours[node.lineno], Language.PYTHON)


def radon_complexity(function: AnyFunction) -> int:
    visitor = ComplexityVisitor()
    visitor.visit(function)
    return visitor.functions[0].complexity


def test_cyclomatic_complexity_agrees_with_radon_on_real_code():
    compared = [(place, radon_complexity(node), ours.cyclomatic) for place, node, ours in functions_of(corpus())]
    assert [item for item in compared if item[1] != item[2]] == []
    assert len(compared) > 1_000
    assert sum(theirs > 5 for _, theirs, _ in compared) > 100


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a: pass\nelif b: pass\nelse: pass", 3),
        ("for x in y: pass\nelse: pass", 3),
        ("while x: pass", 2),
        ("try: pass\nexcept A: pass\nexcept B: pass\nelse: pass\nfinally: pass", 4),
        ("with a, b: pass", 1),
        ("return a and b or c", 3),
        ("return a if b else c", 2),
        ("return [x for x in y if x if z for w in x]", 5),
        ("assert a and b", 2),
        ("return lambda x: x if x else 0", 2),
        ("def g():\n    if a: pass", 1),
        ("class G:\n    x = 1 if a else 2", 1),
        ("match a:\n    case 1 if b: pass\n    case [x]: pass\n    case _: pass", 3),
        ("match a:\n    case 1: pass\n    case (x): pass", 2),
        ("match a:\n    case x,: pass", 2),
        ("match a:\n    case None: pass", 2),
    ],
)
def test_cyclomatic_rules_are_those_of_radon(body, expected):
    text = "def f():\n" + textwrap.indent(body, "    ")
    assert measured(text).cyclomatic == expected
    assert radon_complexity(ast.parse(text).body[0]) == expected


def test_except_star_counts_as_except_where_radon_sees_nothing():
    text = "def f():\n    try: pass\n    except* A: pass\n"
    assert measured(text).cyclomatic == 2
    assert radon_complexity(ast.parse(text).body[0]) == 1


WHITE_PAPER = {
    "sumOfPrimes": (
        """
        def f(limit):
            total = 0
            for i in range(1, limit + 1):        # +1
                for j in range(2, i):            # +2
                    if i % j == 0:               # +3
                        break
                else:                            # +1, in place of the labelled continue
                    total += i
            return total
        """,
        7,
    ),
    "getWords": (
        """
        def f(number):
            match number:                        # +1
                case 1: return "one"
                case 2: return "a couple"
                case _: return "lots"
        """,
        1,
    ),
    "sequences of operators": ("def f():\n    if a and b and c or d or e and g:\n        pass\n", 4),
    "negation ends a sequence": ("def f():\n    if a and not (b and c):\n        pass\n", 3),
    "catch and nesting": (
        """
        def f():
            try:
                if a:                            # +1
                    for i in range(10):          # +2
                        while b: pass            # +3
            except (A, B):                       # +1
                if b: pass                       # +2
        """,
        9,
    ),
    "a nested function nests": (
        """
        def f():
            def run():
                if a: pass                       # +2
            run()
        """,
        2,
    ),
    "a_decorator": (
        """
        def f(a, b):
            def inner(func):
                if condition:                    # +1
                    print(b)
                func()
            return inner
        """,
        1,
    ),
    "not_a_decorator": (
        """
        def f(a, b):
            my_var = a * b
            def inner(func):
                if condition:                    # +2
                    print(b)
                func()
            return inner
        """,
        2,
    ),
    "overriddenSymbolFrom": (
        """
        def f(class_type):
            if class_type.is_unknown():                                   # +1
                return UNKNOWN
            unknown_found = False
            for override in class_type.lookup(name):                      # +1
                if override.is_kind(MTH) and not override.is_static():    # +2 +1
                    if can_override(override):                            # +3
                        overriding = check(override, class_type)
                        if overriding is None:                            # +4
                            if not unknown_found:                         # +5
                                unknown_found = True
                        elif overriding:                                  # +1
                            return override
            if unknown_found:                                             # +1
                return UNKNOWN
            return None
        """,
        19,
    ),
}


@pytest.mark.parametrize("name", WHITE_PAPER)
def test_cognitive_complexity_of_the_white_papers_examples(name):
    text, expected = WHITE_PAPER[name]
    assert measured(text).cognitive == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("def f(n):\n    return f(n - 1)\n", "f", 1),
        ("class A:\n    def f(self):\n        return self.f()\n", "A.f", 1),
        ("class A:\n    def open(self):\n        return open(self.path)\n", "A.open", 0),
        ("def f():\n    return [a for b in c if b]\n", "f", 0),
        ("def f():\n    return [a if b else c for b in d]\n", "f", 1),
        ("def f():\n    return lambda: a if b else c\n", "f", 2),
        ("def f():\n    try: pass\n    except A: pass\n    else:\n        if a: pass\n", "f", 4),
        ("def f():\n    return a and (b and c)\n", "f", 1),
        ("async def f():\n    async for a in b:\n        async with a: pass\n", "f", 1),
        ("def f():\n    '''Doc.'''\n    @wraps(g)\n    def inner():\n        if a: pass\n    return inner\n", "f", 1),
    ],
)
def test_cognitive_rules_as_documented(text, name, expected):
    assert measured(text, name).cognitive == expected


def differs_by_rule(function: AnyFunction) -> bool:
    """Whether a function holds one of the constructs for which `docs/tags.md` states another rule than the package's."""
    statements = [item for item in function.body if not isinstance(getattr(item, "value", None), ast.Constant)]
    if len(statements) == 2 and isinstance(statements[0], AnyFunction) and isinstance(statements[1], ast.Return):
        return True
    inside = (inner for statement in function.body for inner in ast.walk(statement))
    return any(_has_own_rule(node, function.name) for node in inside)


def _has_own_rule(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Match() | ast.AsyncFor() | ast.TryStar() | ast.Try(orelse=[_, *_]):
            return True
        case ast.If(orelse=[ast.If()]) | ast.For(orelse=[ast.If()]) | ast.While(orelse=[ast.If()]):
            return True
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)):
            return called == name
        case ast.BoolOp():
            return _alternates(node) or any(isinstance(inner, ast.IfExp) for inner in ast.walk(node))
    return False


def _alternates(node: ast.BoolOp) -> bool:
    """Whether reading operators from left to right gives other runs than counting the nodes of the tree."""
    inner = [(place, item) for place, item in enumerate(node.values) if isinstance(item, ast.BoolOp)]
    middle = any(0 < place < len(node.values) - 1 for place, _ in inner)
    same = any(type(item.op) is type(node.op) for _, item in inner)
    deeper = any(isinstance(value, ast.BoolOp) for _, item in inner for value in item.values)
    return middle or same or deeper


def test_cognitive_complexity_agrees_with_an_independent_tool_on_real_code():
    from cognitive_complexity import api

    compared = [
        (place, api.get_cognitive_complexity(node), ours.cognitive)
        for place, node, ours in functions_of(corpus())
        if not differs_by_rule(node)
    ]
    assert [item for item in compared if item[1] != item[2]] == []
    assert len(compared) > 1_000
    assert sum(theirs > 5 for _, theirs, _ in compared) > 100


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 0),
        ("if a:\n    for b in c:\n        with d:\n            pass", 2),
        ("if a: pass\nelif b:\n    while c: pass", 2),
        ("try:\n    pass\nexcept A:\n    match b:\n        case 1:\n            if c: pass", 3),
        ("def g():\n    if a: pass", 0),
    ],
)
def test_nesting_is_the_depth_of_control_structures(body, expected):
    assert measured("def f():\n" + textwrap.indent(body, "    ")).nesting == expected


def test_a_module_is_measured_by_its_own_statements():
    source = b"if a:\n    x = 1\ndef f():\n    while b: pass\n"
    assert measure(parse(source, Language.PYTHON).root_node, Language.PYTHON) == Measures(2, 1, 1)


def test_broken_code_is_measured_without_an_error():
    source = b"def f(:\n    if a and (:\n        for x in\n"
    for item in definitions(source, Language.PYTHON):
        assert measure(item.node, Language.PYTHON).cyclomatic >= 1


def test_weights_of_the_score_sum_to_one():
    assert sum(part.weight for part in PARTS.values()) == pytest.approx(1.0)


sizes = st.integers(min_value=0, max_value=10**9)
parts = st.fixed_dictionaries(
    {name: sizes for name in PARTS if name != "call_distance"} | {"call_distance": st.none() | sizes}
)


@given(parts)
def test_score_is_between_zero_and_one(values):
    assert 0.0 <= score(**values) <= 1.0


@given(parts, st.sampled_from(sorted(PARTS)), st.integers(min_value=1, max_value=10**6))
def test_score_never_falls_when_a_part_grows(values, name, more):
    if values[name] is not None:
        assert score(**values) <= score(**{**values, name: values[name] + more})


def test_smallest_task_scores_near_zero():
    smallest = dict.fromkeys(PARTS, 0) | {"changed_lines": 1, "call_distance": 0}
    assert score(**smallest) == pytest.approx(0.03)
