"""Languages by extension, definitions and their spans, the symbol around a place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.syntax import LANGUAGES, definitions, language_of, parse, symbol_at, syntax_of
from schemas.code import EntityKind
from schemas.repo import Language

SOURCE = b"""import os

class Outer:
    x = 1

    @property
    @other(1)
    def method(self):
        def inner():
            return 1
        return inner

    class Nested:
        async def deep(self): pass

    # a comment after the last definition
def plain(): return 2
"""


def by_name(source: bytes) -> dict[str, object]:
    return {item.name: item for item in definitions(source, Language.PYTHON)}


@pytest.mark.parametrize(
    ("path", "language"),
    [("a/b.py", Language.PYTHON), ("a.pyi", Language.PYTHON), ("A.PY", Language.PYTHON), ("py", None), ("a.txt", None)],
)
def test_language_follows_from_the_extension(path, language):
    assert language_of(path) == language


def test_extensions_belong_to_one_language_each():
    extensions = [extension for row in LANGUAGES.values() for extension in row.extensions]
    assert len(extensions) == len(set(extensions))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_row_describes_its_own_language(language):
    assert syntax_of(language).language is language


def test_unknown_language_is_refused_with_the_known_ones():
    with pytest.raises(LookupError, match="python"):
        parse(b"", Language.RUST)


def test_definitions_are_named_by_their_place_in_source_order():
    names = [(item.name, item.kind) for item in definitions(SOURCE, Language.PYTHON)]
    assert names == [
        ("Outer", EntityKind.CLASS),
        ("Outer.method", EntityKind.METHOD),
        ("Outer.method.inner", EntityKind.FUNCTION),
        ("Outer.Nested", EntityKind.CLASS),
        ("Outer.Nested.deep", EntityKind.METHOD),
        ("plain", EntityKind.FUNCTION),
    ]


def test_span_reaches_from_the_first_decorator_to_the_end_of_the_body():
    span = by_name(SOURCE)["Outer.method"].span
    assert (span.start_line, span.end_line) == (6, 11)
    assert SOURCE[span.start_byte : span.end_byte].startswith(b"@property")
    assert SOURCE[span.start_byte : span.end_byte].endswith(b"return inner")


def test_symbol_is_the_innermost_definition_around_a_range():
    found = definitions(SOURCE, Language.PYTHON)
    inner = SOURCE.index(b"return 1")
    assert symbol_at(found, inner, inner + 8) == "Outer.method.inner"
    assert symbol_at(found, inner, SOURCE.index(b"return inner") + 3) == "Outer.method"
    decorator = SOURCE.index(b"@other")
    assert symbol_at(found, decorator, decorator + 3) == "Outer.method"
    assert symbol_at(found, SOURCE.index(b"x = 1"), SOURCE.index(b"x = 1") + 5) == "Outer"


def test_symbol_at_module_level_is_empty():
    assert symbol_at(definitions(SOURCE, Language.PYTHON), 0, 3) == ""


@pytest.mark.parametrize(
    "source",
    [
        b"def f():\r\n    return 1\r\n",
        b"\xef\xbb\xbfdef f():\n    return 1\n",
        b"\x0cdef f():\n\treturn 1",
        b"# \xe9 latin-1\ndef f():\n  return '\xff'\n",
        b"x = (\ndef f():\n    return 1\n",
        b"\x00\x01def f():\n    return 1\n",
    ],
)
def test_functions_are_found_in_odd_files(source):
    assert "f" in by_name(source)


def test_deep_nesting_does_not_exhaust_the_stack():
    source = b"def f():\n    return " + b"(" * 5_000 + b"1" + b")" * 5_000 + b"\n"
    assert "f" in by_name(source)


fragments = st.sampled_from(
    [
        "def f():\n",
        "class A:\n",
        "    def g(self):\n",
        "        pass\n",
        "    x = 1\n",
        "@d\n",
        "    @d\n",
        "\n",
        "if x:\n",
        "            async def h(): return (\n",
        ")",
        "'''",
        "lambda: 0\n",
        "é",
        "\r\n",
        "\x0c",
        "match x:\n  case _:\n",
    ]
)


@given(st.one_of(st.lists(fragments, max_size=25).map(lambda parts: "".join(parts).encode()), st.binary(max_size=300)))
def test_spans_nest_and_follow_the_source(source):
    found = definitions(source, Language.PYTHON)
    starts = [item.node.start_byte for item in found]
    assert starts == sorted(starts)
    for index, item in enumerate(found):
        assert 0 <= item.span.start_byte <= item.span.end_byte <= len(source)
        assert 1 <= item.span.start_line <= item.span.end_line
        for other in found[index + 1 :]:
            apart = item.span.end_byte <= other.span.start_byte
            inside = item.span.start_byte <= other.span.start_byte and other.span.end_byte <= item.span.end_byte
            assert apart or inside
            if inside:
                assert other.name.startswith(item.name + ".")
