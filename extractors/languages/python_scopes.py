"""What is kept of a Python file for its call graph: scopes, and expressions as chains.

A chain is a short string that a resolver can evaluate: `a.b().c` is the attribute `c` of what calling `a.b` gives.
`?` stands for an expression that is not followed, `!` for a value of a builtin type.
"""

from collections.abc import Mapping
from typing import NamedTuple

from tree_sitter import Node

from schemas.code import EntityKind

UNKNOWN = "?"
BUILTIN = "!"

_LITERALS = frozenset(
    (
        *("string", "concatenated_string", "integer", "float", "true", "false", "none", "list", "tuple", "dictionary"),
        *("set", "list_comprehension", "dictionary_comprehension", "set_comprehension", "generator_expression"),
        *("lambda", "comparison_operator", "not_operator", "ellipsis"),
    )
)

BINARY = {
    "+": "add", "-": "sub", "*": "mul", "/": "truediv", "//": "floordiv", "%": "mod", "**": "pow", "@": "matmul",
    "&": "and", "|": "or", "^": "xor", "<<": "lshift", ">>": "rshift",
}  # fmt: skip


class Import(NamedTuple):
    """What a local name was imported from."""

    module: str
    """Dotted, with its leading dots where it is relative."""
    attribute: str = ""
    """Name taken from the module; empty for the module itself."""


class Scope(NamedTuple):
    """The module itself, a class, or a function, without the scopes inside it."""

    name: str
    """Dotted as in `syntax.Definition`; empty for the module."""
    kind: EntityKind | None
    """`None` for the module."""
    parameters: tuple[str, ...]
    names: Mapping[str, str]
    """Names bound here, and the chain of what they were bound to."""
    imports: Mapping[str, tuple[Import, ...]]
    """Local name to where it may come from (several where an import has a fallback)."""
    star_imports: tuple[str, ...]
    calls: tuple[str, ...]
    """Chains that are called, without the final `()`."""
    loads: tuple[str, ...]
    """Chains that are read without being called."""
    implicit: tuple[str, ...]
    """Special methods that an operator or a statement calls: `x.__len__`."""
    returns: tuple[str, ...]
    """Chains that are returned or yielded; the annotation's instance first."""
    decorators: tuple[str, ...]
    bases: tuple[str, ...]
    self_attributes: Mapping[str, str]
    """`self.NAME = chain` in a method."""
    fixture: str
    """Name under which a fixture is requested; empty for what is no fixture."""
    autouse: bool


class ScopeBuilder:
    """A scope while its file is walked."""

    def __init__(self, name: str, kind: EntityKind | None) -> None:
        self.name = name
        self.kind = kind
        self.parameters: list[str] = []
        self.names: dict[str, str] = {}
        self.imports: dict[str, tuple[Import, ...]] = {}
        self.star_imports: list[str] = []
        # Dicts used as ordered sets: the order of the source, without repetition.
        self.calls: dict[str, None] = {}
        self.loads: dict[str, None] = {}
        self.implicit: dict[str, None] = {}
        self.returns: dict[str, None] = {}
        self.decorators: list[str] = []
        self.bases: list[str] = []
        self.self_attributes: dict[str, str] = {}
        self.fixture = ""
        self.autouse = False

    def bind(self, name: str, chain: str) -> None:
        if chain[0] not in "?!" or name not in self.names:
            self.names[name] = chain

    def add_import(self, name: str, found: Import) -> None:
        if found not in self.imports.get(name, ()):
            self.imports[name] = (*self.imports.get(name, ()), found)

    def freeze(self) -> Scope:
        return Scope(
            name=self.name,
            kind=self.kind,
            parameters=tuple(self.parameters),
            names=self.names,
            imports=self.imports,
            star_imports=tuple(self.star_imports),
            calls=tuple(self.calls),
            loads=tuple(self.loads),
            implicit=tuple(self.implicit),
            returns=tuple(self.returns),
            decorators=tuple(self.decorators),
            bases=tuple(self.bases),
            self_attributes=self.self_attributes,
            fixture=self.fixture,
            autouse=self.autouse,
        )


MAX_CHAIN = 40
"""Longest chain that is followed to its root; each of its parts asks for a chain of its own."""


def chain_of(node: "Node | None") -> str:
    """The chain of an expression: `a.b().c`, or one that starts with `?` or `!`."""
    tail: list[str] = []
    for _ in range(MAX_CHAIN):
        if node is None:
            break
        kind = node.type
        if kind == "attribute":
            tail.append("." + text_of(node.child_by_field_name("attribute")))
            node = node.child_by_field_name("object")
        elif kind == "call":
            tail.append("()")
            node = node.child_by_field_name("function")
        elif kind == "binary_operator":
            operator = BINARY.get(text_of(node.child_by_field_name("operator")), "")
            tail.append(f".__{operator}__()")
            node = node.child_by_field_name("left")
        elif kind in {"parenthesized_expression", "await"} and node.named_child_count == 1:
            node = node.named_child(0)
        elif kind == "identifier":
            return text_of(node) + "".join(reversed(tail))
        else:
            return (BUILTIN if kind in _LITERALS else UNKNOWN) + "".join(reversed(tail))
    return UNKNOWN + "".join(reversed(tail))


def annotated(annotation: "Node") -> str:
    """The chain of an instance of an annotation's class; unions and containers are not followed."""
    inner = annotation.named_children[0] if annotation.type == "type" and annotation.named_children else annotation
    if inner.type == "string":
        text = text_of(inner).strip("\"'")
        return f"{text}()" if all(part.isidentifier() for part in text.split(".")) else UNKNOWN
    chain = chain_of(inner)
    return UNKNOWN if chain[0] in "?!" else f"{chain}()"


def unsubscripted(node: "Node") -> "Node":
    """`Generic` of `Generic[T]`."""
    value = node.child_by_field_name("value") if node.type == "subscript" else None
    return value if value is not None else node


def children_of(node: "Node | None") -> "list[Node]":
    return node.named_children if node is not None else []


def descendants(node: "Node") -> "list[Node]":
    found, todo = [], list(reversed(node.named_children))
    while todo:
        child = todo.pop()
        found.append(child)
        todo.extend(reversed(child.named_children))
    return found


def text_of(node: "Node | None") -> str:
    return node.text.decode("utf-8", "replace") if node is not None and node.text else ""
