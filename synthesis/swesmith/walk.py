"""Apply a libcst transformer by going only where it has something to do.

libcst's own visit makes every node anew, looks handlers up by name for each node and attribute, and nearly all of that
comes to nothing. Here the nodes that a handler may be called for, and those around them, are found once in a parsed
module; each pass calls the same handlers with the same nodes in the same order, and makes only those nodes anew that
have a changed child.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, NamedTuple

import libcst

_KINDS = frozenset(one for one in vars(libcst).values() if isinstance(one, type) and issubclass(one, libcst.CSTNode))
_NOTHING_INSIDE = frozenset(
    {
        *(libcst.SimpleWhitespace, libcst.ParenthesizedWhitespace, libcst.TrailingWhitespace, libcst.EmptyLine),
        *(libcst.Name, libcst.Integer, libcst.Float, libcst.SimpleString, libcst.Comma, libcst.Dot, libcst.AssignEqual),
    }
)
"""Frequent nodes that hold nothing but white space, for they may stand in parentheses."""

_HANDLED = frozenset(
    {
        *(libcst.BinaryOperation, libcst.BooleanOperation, libcst.ComparisonTarget),
        *(libcst.If, libcst.For, libcst.While, libcst.With, libcst.Try, libcst.Assign, libcst.AugAssign),
        *(libcst.FunctionDef, libcst.ClassDef),
    }
)


class Unwalkable(Exception):
    """The transformer does what only libcst's own visit can follow."""


class Stop(NamedTuple):
    """A node on the way to nodes that handlers are called for, or one of them."""

    node: libcst.CSTNode
    steps: tuple[tuple[str, int, "Stop"], ...]
    """Attribute, position in a sequence or -1, and the node there, in the order of the source."""


def route(module: libcst.Module) -> Stop:
    """The way to all nodes that SWE-smith's modifiers handle."""
    return _route(module) or Stop(module, ())


def walk(stop: Stop, transformer: libcst.CSTTransformer) -> libcst.CSTNode:
    """What `stop.node.visit(transformer)` gives; the same object where no handler changed anything.

    Raises:
        Unwalkable: it has other handlers than known ones that are called after a node's children, or one of them
            returned neither a node nor a removal.
        TypeError: a handler removed what cannot be missing.
    """
    made = _walk(stop, transformer, _handlers(type(transformer)))
    if not isinstance(made, libcst.CSTNode):
        raise Unwalkable
    return made


def _walk(stop: Stop, transformer: libcst.CSTTransformer, names: Mapping[type[libcst.CSTNode], str]) -> Any:
    node = stop.node
    changes: dict[str, Any] = {}
    for attribute, position, below in stop.steps:
        made = _walk(below, transformer, names)
        if made is below.node:
            continue
        if position < 0:
            changes[attribute] = _instead(node, attribute, made)
            continue
        items = changes.setdefault(attribute, list(getattr(node, attribute)))
        gone = made is libcst.RemovalSentinel.REMOVE or _is_emptied(below.node, made)
        items[position] = None if gone else made
    for attribute, value in changes.items():
        if isinstance(value, list):
            changes[attribute] = tuple([item for item in value if item is not None])
    updated = node.with_changes(**changes) if changes else node
    name = names.get(type(node))
    made = updated if name is None else getattr(transformer, name)(node, updated)
    if made is not updated and not isinstance(made, libcst.CSTNode | libcst.RemovalSentinel):
        raise Unwalkable
    return made


def _instead(parent: libcst.CSTNode, attribute: str, made: Any) -> Any:
    if not isinstance(made, libcst.RemovalSentinel):
        return made
    if isinstance(parent, libcst.If) and attribute == "orelse":
        return None
    raise TypeError(f"{attribute} of {type(parent).__name__} cannot be removed")


def _is_emptied(old: libcst.CSTNode, made: Any) -> bool:
    """Whether a line of simple statements lost the last of them; libcst drops it then."""
    return isinstance(made, libcst.SimpleStatementLine) and not made.body and bool(getattr(old, "body", ()))


@cache
def _handlers(transformer: type[libcst.CSTTransformer]) -> Mapping[type[libcst.CSTNode], str]:
    found: dict[type[libcst.CSTNode], str] = {}
    for name in dir(transformer):
        if getattr(transformer, name) is getattr(libcst.CSTTransformer, name, None):
            continue
        kind = getattr(libcst, name.removeprefix("leave_"), None)
        if name.startswith("leave_") and kind in _HANDLED:
            found[kind] = name
        elif name.startswith("leave_") and kind is None:
            continue  # a kind of node that libcst does not have: it is never called
        elif name.startswith(("visit_", "leave_", "on_")):
            raise Unwalkable
    return found


def _route(node: libcst.CSTNode) -> Stop | None:
    steps: list[tuple[str, int, Stop]] = []
    for attribute in _attributes(node):
        value = getattr(node, attribute)
        several = isinstance(value, list | tuple)
        for position, child in enumerate(value if several else [value]):
            if type(child) in _KINDS and type(child) not in _NOTHING_INSIDE:
                below = _route(child)
                if below is not None:
                    steps.append((attribute, position if several else -1, below))
    return Stop(node, tuple(steps)) if steps or type(node) in _HANDLED else None


_ORDERS: dict[type[libcst.CSTNode], tuple[str, ...]] = {}
"""Attributes of a kind of node in the order in which libcst visits them."""


def _attributes(node: libcst.CSTNode) -> tuple[str, ...]:
    kind = type(node)
    if kind not in _ORDERS:
        recorder = _Recorder()
        node.visit(recorder)
        missing = [field.name for field in fields(node) if field.name not in recorder.names]
        # libcst looks into what may be a word or a node only where it is a node.
        _ORDERS[kind] = (*recorder.names, *missing)
    return _ORDERS[kind]


class _Recorder(libcst.CSTVisitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self._inside = False

    def on_visit(self, node: libcst.CSTNode) -> bool:  # noqa: ARG002 - libcst's signature
        entered, self._inside = not self._inside, True
        return entered

    def on_visit_attribute(self, node: libcst.CSTNode, attribute: str) -> None:  # noqa: ARG002 - libcst's signature
        self.names.append(attribute)
