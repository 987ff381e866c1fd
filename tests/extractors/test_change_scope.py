"""Which runs of code a change can alter."""

import ast
import textwrap
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.change_scope import ChangeScope, change_scope
from extractors.diff import make_patch

MODULE = '''\
import functools

LIMIT = 3


@functools.cache
def cached(value, times=2):
    """Says what it does."""
    total = value
    total += times
    return total


def one_line(value): return value + 1


def generator(values):
    for value in values:
        yield value


class Shape:
    sides = 0

    def __init__(self, sides):
        self.sides = sides

    @property
    def area(self):
        return self.sides

    @area.setter
    def area(self, value):
        self.sides = value

    class Inner:
        def method(self):
            return 1


def outer(
    first,
    second=(
        1,
    ),
):
    third = first

    def inner(value):
        return value + third

    key = lambda item: item + 1
    return inner(key(second))


TABLE = {
    "x": lambda item: item,
}
'''


def scope_of(clean: str, bugged: str) -> ChangeScope:
    before, after = clean.encode(), bugged.encode()
    return change_scope("m.py", before, after, make_patch("m.py", before, after))


def changed(old: str, new: str) -> ChangeScope:
    assert MODULE.count(old) == 1
    return scope_of(MODULE, MODULE.replace(old, new))


def line_of(text: str) -> int:
    return MODULE[: MODULE.index(text)].count("\n") + 1


def holds(scope: ChangeScope, text: str) -> bool:
    return any(first <= line_of(text) <= last for first, last in scope.bodies)


IN_BODIES = {
    "replaced": ("total += times", "total -= times", "total = value"),
    "removed": ("    total += times\n", "", "total = value"),
    "added at the beginning": ("    total = value\n", "    x = 1\n    total = value\n", "total = value"),
    "added at the end": ("    return total\n", "    return total\n    x = 1\n", "total = value"),
    "all of it": ("    total = value\n    total += times\n    return total\n", "    pass\n", "total = value"),
    "a method": ("        self.sides = sides\n", "        self.sides = 0\n", "self.sides = sides"),
    "a getter": ("        return self.sides\n", "        return 0\n", "return self.sides"),
    "a method of a class in a class": ("            return 1\n", "            return 2\n", "            return 1"),
    "a nested function": ("        return value + third\n", "        return value\n", "return value + third"),
    "around a nested function": ("    third = first\n", "    third = 0\n", "third = first"),
    "after a nested function": ("    return inner(key(second))\n", "    return 0\n", "return inner"),
    "a lambda in a function": ("lambda item: item + 1", "lambda item: item + 2", "third = first"),
    "a blank line": ("    total += times\n", "    total += times\n\n", "total = value"),
}


@pytest.mark.parametrize("case", IN_BODIES)
def test_a_change_in_a_body_concerns_runs_of_its_function(case: str) -> None:
    old, new, inside = IN_BODIES[case]
    scope = changed(old, new)
    assert holds(scope, inside)
    assert not scope.at_load
    assert scope.load_lines == ()


def test_functions_of_one_name_are_taken_together_where_lines_are_added() -> None:
    scope = changed("        self.sides = value\n", "        self.sides = value\n        self.sides += 1\n")
    assert holds(scope, "self.sides = value")


AT_LOAD = {
    "module level": ("LIMIT = 3", "LIMIT = 4"),
    "an import": ("import functools\n", "import functools\nimport os\n"),
    "a decorator": ("@functools.cache\n", ""),
    "another decorator": ("@functools.cache\n", "@functools.lru_cache(1)\n"),
    "a signature": ("def cached(value, times=2):", "def cached(value, times=3):"),
    "a default value on a line of its own": ("        1,\n    ),", "        2,\n    ),"),
    "a class's own line": ("    sides = 0\n", "    sides = 1\n"),
    "a base": ("class Shape:", "class Shape(dict):"),
    "a function on one line": ("return value + 1", "return value + 2"),
    "a lambda of the module's": ("lambda item: item,", "lambda item: None,"),
    "a function that is removed": ("def one_line(value): return value + 1\n", ""),
    "a method that is removed": ("    def __init__(self, sides):\n        self.sides = sides\n\n", ""),
    "a function that is added": ("TABLE = {", "def new():\n    return 1\n\n\nTABLE = {"),
    "a function of another name": ("def outer(", "def other("),
    "a docstring": ("Says what it does.", "Says something else."),
    "a docstring that is removed": ('    """Says what it does."""\n', ""),
    "a docstring that is added": ("    third = first\n", '    "Text."\n    third = first\n'),
    "no generator any more": ("        yield value\n", "        print(value)\n"),
    "a generator": ("        self.sides = sides\n", "        self.sides = yield\n"),
}


@pytest.mark.parametrize("case", AT_LOAD)
def test_a_change_of_what_loading_runs_concerns_loading(case: str) -> None:
    scope = changed(*AT_LOAD[case])
    assert scope.at_load
    lines = {line for first, last in scope.load_lines for line in range(first, last + 1)}
    assert {line_of("import functools"), line_of("LIMIT"), line_of("sides = 0"), line_of("class Inner")} <= lines
    assert line_of("total = value") not in lines


NAMED = {
    "a class's own line": ("    sides = 0\n", "    sides = 1\n", ("Shape",)),
    "a base": ("class Shape:", "class Shape(dict):", ("Shape",)),
    "a method that is removed": (
        "    def __init__(self, sides):\n        self.sides = sides\n\n",
        "",
        ("Shape",),
    ),
    "a signature": ("def cached(value, times=2):", "def cached(value, times=3):", ("cached",)),
    "a decorator": ("@functools.cache\n", "", ("cached",)),
    "a generator": ("        self.sides = sides\n", "        self.sides = yield\n", ("Shape",)),
    "a function of another name": ("def outer(", "def other(", ()),
    "a function that is removed": ("def one_line(value): return value + 1\n", "", ()),
    "module level": ("LIMIT = 3", "LIMIT = 4", ()),
    "a body": ("total += times", "total -= times", ()),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_changes_at_loading_has_the_names_that_both_files_know_it_by(case: str) -> None:
    old, new, names = NAMED[case]
    assert changed(old, new).names == names


def test_a_function_in_a_function_that_becomes_a_generator_concerns_the_outer_one_alone() -> None:
    scope = changed("        return value + third\n", "        yield value + third\n")
    assert not scope.at_load
    assert holds(scope, "third = first")
    assert holds(scope, "return value + third")


def test_blank_lines_between_functions_concern_nothing() -> None:
    scope = changed("LIMIT = 3\n", "LIMIT = 3\n\n\n")
    assert scope == ChangeScope((), at_load=False, load_lines=())


def test_a_file_of_no_known_language_counts_as_loaded() -> None:
    before, after = b"a\nb\n", b"a\nc\n"
    scope = change_scope("data.txt", before, after, make_patch("data.txt", before, after))
    assert scope == ChangeScope((), at_load=True, load_lines=((1, 2),))


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_line_ends_do_not_matter(newline: str, end: str) -> None:
    clean = newline.join(["def f():", "    x = 1", "    return x", "", "def g():", "    return 2"]) + end
    assert scope_of(clean, clean.replace("x = 1", "x = 2")).bodies == ((2, 3),)
    assert scope_of(clean, clean.replace("return 2", "return 3")).bodies == ((6, 6),)


def test_a_final_newline_that_is_added_touches_the_last_function() -> None:
    clean = "def f():\n    return 1\n\ndef g():\n    return 2"
    assert scope_of(clean, clean + "\n").bodies == ((5, 5),)


def test_source_that_does_not_parse_concerns_something() -> None:
    clean = "def f():\n    return 1\n"
    for broken in ("def f(:\n    return 1\n", "def f():\n    return (1\n", "return 1\n", "def f()\n    return 1\n"):
        scope = scope_of(clean, broken)
        assert scope.at_load or scope.bodies


# Any edit


NAMES = ("a", "b", "c")
STATEMENTS = (
    "x = 1",
    "x += 1",
    "return x",
    "if x:\n    x = 2",
    "def n():\n    return x",
    "for y in ():\n    x = y",
    "'text'",
)


@st.composite
def functions(draw: st.DrawFn, depth: int = 0) -> str:
    name = draw(st.sampled_from(NAMES))
    decorator = draw(st.sampled_from(["", "@staticmethod\n"]))
    header = draw(st.sampled_from(["()", "(p=1)", "(\n    p=1,\n)"]))
    body = draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=4))
    if depth < 2 and draw(st.booleans()):
        body.insert(draw(st.integers(0, len(body))), draw(functions(depth + 1)))
    return f"{decorator}def {name}{header}:\n" + textwrap.indent("\n".join(body), "    ")


@st.composite
def modules(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.one_of(functions(), st.just("LIMIT = 3"), st.just("")), min_size=1, max_size=5))
    if draw(st.booleans()):
        parts.append("class K:\n" + textwrap.indent(draw(functions(1)), "    "))
    return "\n".join(["LIMIT = 1", *parts]) + draw(st.sampled_from(["", "\n"]))


class Part(NamedTuple):
    """A function, or the module: what of its own code runs when it does."""

    name: str
    first_line: int
    last_line: int
    own: str


def parts(source: str) -> list[Part]:
    """The module, then its functions in order; the body of a function is no part of what is around it."""
    tree = ast.parse(source)
    found = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = f"{prefix}.{getattr(child, 'name', '')}" if hasattr(child, "name") else prefix
            visit(child, name)
            if isinstance(child, ast.FunctionDef):
                assert child.end_lineno is not None
                own = "\n".join(map(ast.dump, child.body))
                found.append(Part(name, child.body[0].lineno, child.end_lineno, own))
                child.body = []

    visit(tree, "")
    return [Part("", 0, 0, ast.dump(tree)), *sorted(found, key=lambda part: part.first_line)]


@settings(max_examples=150, deadline=None)
@given(modules(), st.data())
def test_all_whose_own_code_changes_is_in_the_scope(clean: str, data: st.DataObject) -> None:
    lines = clean.splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    how = data.draw(st.sampled_from(["remove", "insert", "replace"]))
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())].strip("\n")
    new = data.draw(st.sampled_from([f"{indent}z = 9\n", f"{indent}def a(): pass\n", f"{indent}yield 1\n"]))
    bugged = "".join([*lines[:at], *([] if how == "remove" else [new]), *lines[at + (how != "insert") :]])
    try:
        before, after = parts(clean), parts(bugged)
    except SyntaxError:
        return
    scope = scope_of(clean, bugged)
    if [part.name for part in before] != [part.name for part in after]:
        assert scope.at_load or scope.bodies
        return
    for old, new_part in zip(before, after, strict=True):
        if old.own != new_part.own:
            inside = any(first <= old.last_line and last >= old.first_line for first, last in scope.bodies)
            assert scope.at_load or (inside and old.name)


def test_signatures_tell_of_loading_where_nothing_else_does() -> None:
    functions = b"def one(value=1):\n    yield value\n\n\n@decorated\ndef two(value=1):\n    return value\n"
    changed_one = functions.replace(b"one(value=1)", b"one(value=2)")
    alone = change_scope("s.py", functions, changed_one, make_patch("s.py", functions, changed_one))
    assert alone.load_lines == ((1, 1), (3, 6))
    before, after = b"LIMIT = 1\n" + functions, b"LIMIT = 1\n" + changed_one
    assert change_scope("s.py", before, after, make_patch("s.py", before, after)).load_lines == ((1, 1), (4, 5))
