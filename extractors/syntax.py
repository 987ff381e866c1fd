"""The syntax layer: which grammar reads a file, its tree, its definitions, and the symbol around a place.

A language is one row of `LANGUAGES` and one file in `extractors/languages/`, imported when it is first used.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol, TypeVar

import tree_sitter

from schemas.code import EntityKind, Span
from schemas.repo import Language


class LanguageSyntax(NamedTuple):
    """What the syntax layer must be told about one language."""

    language: Language
    grammar: str
    """`module:function` that gives the grammar's pointer, such as `tree_sitter_python:language`."""
    distribution: str
    """Distribution that ships the grammar; its version is recorded with every tag."""
    functions: frozenset[str]
    """Node kinds of functions and methods that have a name."""
    classes: frozenset[str]
    """Node kinds of whatever holds methods."""
    wrappers: frozenset[str]
    """Node kinds around a definition that belong to it (a list of decorators)."""
    name_field: str = "name"
    """The field of a definition that holds its name."""
    body_field: str = "body"
    """The field of a definition that holds its body."""
    complexity: str = ""
    """`module:RULES`, a `taggers.measures.ComplexityRules`; without it every function counts as simple."""
    call_graph: str = ""
    """`module:Class`, a `call_graph.CallGraph`; without it call distances are unknown."""
    reach: str = ""
    """`module:RULES`, a `reach.LanguageRules`; without it, all that loads a file is affected by how it is loaded."""


class _Row(NamedTuple):
    extensions: tuple[str, ...]
    module: str
    """Module with `SYNTAX: LanguageSyntax` (and, for the call graph, the functions of `call_graph.LanguageModule`)."""


LANGUAGES = {
    Language.PYTHON: _Row((".py", ".pyi"), "extractors.languages.python_syntax"),
}
"""The closed table of languages that can be parsed."""

_LANGUAGE_OF_EXTENSION = {extension: language for language, row in LANGUAGES.items() for extension in row.extensions}


class Named(Protocol):
    """Anything with a dotted name and a span: a `Definition`, or a `Symbol` of an index."""

    @property
    def name(self) -> str: ...
    @property
    def span(self) -> Span: ...


class Definition(NamedTuple):
    """A function, method or class of a parsed file."""

    name: str
    """Dotted: `Outer.method`; nested functions `outer.inner`. Not unique: overloads and setters share theirs."""
    kind: EntityKind
    span: Span
    """From the first decorator to the last line of the body."""
    node: tree_sitter.Node
    """The definition itself, without decorators; it keeps the whole tree alive."""


class Symbol(NamedTuple):
    """A `Definition` without its tree: small enough to keep."""

    name: str
    kind: EntityKind
    span: Span


AnyNamed = TypeVar("AnyNamed", bound=Named)


def language_of(path: str) -> Language | None:
    """The language of a file by its extension, `None` for one that has no row in the table."""
    return _LANGUAGE_OF_EXTENSION.get(PurePosixPath(path).suffix.lower())


@cache
def syntax_of(language: Language) -> LanguageSyntax:
    """The syntax description of a language.

    Raises:
        LookupError: the language has no row in `LANGUAGES`.
    """
    syntax = language_module(language).SYNTAX
    if not isinstance(syntax, LanguageSyntax):  # pragma: no cover - a mistake in a language's file
        raise TypeError(f"{LANGUAGES[language].module}.SYNTAX must be a LanguageSyntax")
    return syntax


@cache
def language_module(language: Language) -> "LanguageModule":
    """The module that describes a language.

    Raises:
        LookupError: the language has no row in `LANGUAGES`.
    """
    if language not in LANGUAGES:
        known = ", ".join(sorted(LANGUAGES))
        raise LookupError(f"{language} cannot be parsed; add a row to extractors.syntax.LANGUAGES (known: {known})")
    module: LanguageModule = import_module(LANGUAGES[language].module)
    return module


class LanguageModule(Protocol):
    """What a file in `extractors/languages/` must hold for its language to be parsed."""

    SYNTAX: LanguageSyntax


@cache
def grammar_of(language: Language) -> tree_sitter.Language:
    """The loaded tree-sitter grammar of a language."""
    module, function = syntax_of(language).grammar.split(":")
    return tree_sitter.Language(getattr(import_module(module), function)())


def parse(source: bytes, language: Language) -> tree_sitter.Tree:
    """Parse any bytes; what is not valid syntax becomes error nodes, never an exception."""
    return tree_sitter.Parser(grammar_of(language)).parse(source)


def definitions(source: bytes, language: Language) -> tuple[Definition, ...]:
    """Functions, methods and classes of a file, in source order, outer ones before those inside them."""
    return definitions_in(parse(source, language), language)


def definitions_in(tree: tree_sitter.Tree, language: Language) -> tuple[Definition, ...]:
    """The same for a file that is parsed already."""
    syntax = syntax_of(language)
    found = tree_sitter.QueryCursor(_definition_query(language)).captures(tree.root_node).get("definition", [])
    result: list[Definition] = []
    enclosing: list[Definition] = []
    for node in sorted(found, key=lambda node: (node.start_byte, -node.end_byte)):
        name = node.child_by_field_name(syntax.name_field)
        if name is None or not name.text:
            continue
        while enclosing and enclosing[-1].node.end_byte < node.end_byte:
            enclosing.pop()
        parent = enclosing[-1] if enclosing else None
        own = name.text.decode("utf-8", "replace")
        definition = Definition(
            name=f"{parent.name}.{own}" if parent else own,
            kind=_kind(node.type, parent, syntax),
            span=span_of(_with_wrapper(node, syntax)),
            node=node,
        )
        result.append(definition)
        enclosing.append(definition)
    return tuple(result)


def symbol_at(definitions: Sequence[AnyNamed], start_byte: int, end_byte: int) -> str:
    """Dotted name of the innermost definition around a byte range; empty at module level."""
    found = definition_at(definitions, start_byte, end_byte)
    return found.name if found else ""


def definition_at(definitions: Sequence[AnyNamed], start_byte: int, end_byte: int) -> AnyNamed | None:
    """The innermost definition around a byte range, decorators included; `None` at module level."""
    around = [item for item in definitions if item.span.start_byte <= start_byte and end_byte <= item.span.end_byte]
    return max(around, key=lambda item: (item.span.start_byte, -item.span.end_byte), default=None)


def span_of(node: tree_sitter.Node) -> Span:
    """The span of a node, with lines from 1; the end line is that of its last byte."""
    end = node.end_point
    ends_before_line = end.column == 0 and node.end_byte > node.start_byte
    return Span(
        start_line=node.start_point.row + 1,
        end_line=end.row + (0 if ends_before_line else 1),
        start_byte=node.start_byte,
        end_byte=node.end_byte,
    )


@cache
def _definition_query(language: Language) -> tree_sitter.Query:
    syntax = syntax_of(language)
    kinds = " ".join(f"({kind})" for kind in sorted(syntax.functions | syntax.classes))
    return tree_sitter.Query(grammar_of(language), f"[{kinds}] @definition")


def _kind(node_kind: str, parent: Definition | None, syntax: LanguageSyntax) -> EntityKind:
    if node_kind in syntax.classes:
        return EntityKind.CLASS
    return EntityKind.METHOD if parent is not None and parent.kind is EntityKind.CLASS else EntityKind.FUNCTION


def _with_wrapper(node: tree_sitter.Node, syntax: LanguageSyntax) -> tree_sitter.Node:
    parent = node.parent
    return parent if parent is not None and parent.type in syntax.wrappers else node
