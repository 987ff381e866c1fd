"""Entities are found with their names, places and complexity."""

import radon.complexity
import radon.visitors

from schemas.code import EntityKind
from synthesis.entities import extract_entities
from synthesis.screen import read_source

SOURCE = """\
import os

@decorated(
    "é",
)
class Outer:
    @property
    def value(self): return 1

    @value.setter
    def value(self, new):
        def inner(a):
            return a
        self.x = inner(new)

    class Nested:
        async def go(self):
            pass

if os.sep:
    def f(a, *, b=lambda: 0):
        assert a
        c = a and b or a
        for x in a:
            while x if b else a:
                pass
            else:
                x = [y for y in a if y if b]
        try:
            pass
        except OSError:
            pass
        except ValueError:
            pass
        else:
            pass
        match a:
            case 1:
                return {x: y for x in a for y in b}
            case _:
                pass
"""


def entities(source=SOURCE):
    file = read_source("m.py", source.encode())
    return extract_entities("m.py", file.source, file.tree)


def test_names_and_kinds_follow_the_nesting():
    assert [(one.entity.name, one.entity.kind, one.ordinal) for one in entities()] == [
        ("Outer", EntityKind.CLASS, 0),
        ("Outer.value", EntityKind.METHOD, 0),
        ("Outer.value", EntityKind.METHOD, 1),
        ("Outer.value.inner", EntityKind.FUNCTION, 0),
        ("Outer.Nested", EntityKind.CLASS, 0),
        ("Outer.Nested.go", EntityKind.METHOD, 0),
        ("f", EntityKind.FUNCTION, 0),
    ]


def test_spans_reach_from_the_first_decorator_to_the_end():
    content = SOURCE.encode()
    texts = [content[one.entity.span.start_byte : one.entity.span.end_byte].decode() for one in entities()]
    assert texts[0].startswith('@decorated(\n    "é"')
    assert texts[0].endswith("pass")
    assert texts[1] == "@property\n    def value(self): return 1"
    assert [one.entity.span.start_line for one in entities()][:3] == [3, 7, 10]


def test_a_byte_order_mark_counts_in_bytes():
    (one,) = entities("\ufeffdef f(): pass\n")
    assert (one.entity.span.start_byte, one.entity.span.end_byte) == (3, 16)


def test_the_text_is_moved_to_column_0_without_decorators():
    assert entities()[2].text == (
        "def value(self, new):\n    def inner(a):\n        return a\n    self.x = inner(new)\n"
    )


def test_functions_have_the_complexity_that_radon_gives_them():
    visitor = radon.visitors.ComplexityVisitor.from_code(SOURCE)
    expected = {block.name: block.complexity for block in visitor.functions}
    assert {one.entity.name: one.entity.complexity for one in entities() if one.entity.name == "f"} == expected
