"""An edit with the syntax on both of its sides, and the tree walks that sentences about it need."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from extractors.edits import holding_node, strip_span
from extractors.plain_words import ATOMS, CHAINS, IGNORED, LABEL_FIELDS, TRANSPARENT, plain, shown
from extractors.syntax import parse
from schemas.tasks import EditTarget

if TYPE_CHECKING:
    import tree_sitter


class TreeRange(NamedTuple):
    """A byte range of a parsed file, without white space at its ends."""

    source: bytes
    root: "tree_sitter.Node"
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.source[self.start : self.end].decode("utf-8")

    @property
    def node(self) -> "tree_sitter.Node":
        return holding_node(self.root, self.start, self.end)

    @property
    def is_node(self) -> bool:
        return (self.node.start_byte, self.node.end_byte) == (self.start, self.end)


class EditSides(NamedTuple):
    """One edit with the syntax on both of its sides."""

    target: EditTarget
    before: TreeRange
    """In the file that it is applied to."""
    after: TreeRange
    """In the clean file: what lies above an edit is clean when its turn comes, so its offsets are the clean file's."""


def sides_of(targets: Sequence[EditTarget], bugged: bytes, clean: bytes) -> tuple[EditSides, ...]:
    """Both sides of every edit."""
    if not targets:
        return ()
    language = targets[0].language
    state, root = bugged, parse(clean, language).root_node
    sides: list[EditSides] = []
    for target in targets:
        start, end = target.start_byte, target.end_byte
        new_end = start + len(target.after.encode("utf-8"))
        state_root = parse(state, language).root_node
        before = TreeRange(state, state_root, *strip_span(state, start, end))
        sides.append(EditSides(target, before, TreeRange(clean, root, *strip_span(clean, start, new_end))))
        state = state[:start] + target.after.encode("utf-8") + state[end:]
    return tuple(sides)


def parent_of(node: "tree_sitter.Node") -> tuple[str, "tree_sitter.Node"] | None:
    """The parent, and the field by which the node hangs there."""
    parent = node.parent
    if parent is None:
        return None
    position = next(number for number, child in enumerate(parent.children) if child == node)
    return parent.field_name_for_child(position) or "", parent


def text_of(node: "tree_sitter.Node") -> str:
    return (node.text or b"").decode("utf-8")


def tokens_of(node: "tree_sitter.Node") -> list["tree_sitter.Node"]:
    """The tokens of a node: its leaves, with strings and operators of two words whole; comments are none."""
    found: list[tree_sitter.Node] = []
    stack = [node]
    while stack:
        item = stack.pop()
        if item.type in IGNORED:
            continue
        if item.children and item.is_named and item.type not in ATOMS:
            stack.extend(reversed(item.children))
        else:
            found.append(item)
    return found


def token_texts(node: "tree_sitter.Node") -> tuple[str, ...]:
    return tuple(text_of(token) for token in tokens_of(node))


def row_of(node: "tree_sitter.Node") -> tuple[tuple["tree_sitter.Node", ...], tuple[str, ...]]:
    """The things in a row (operands, arguments) and what stands between them."""
    items: list[tree_sitter.Node] = []
    between: list[str] = []
    stack = [node]
    while stack:
        item = stack.pop()
        if item == node or (item.type == node.type and node.type in CHAINS and item.prev_sibling is None):
            stack.extend(reversed(item.children))
        elif item.type in IGNORED:
            continue
        elif item.is_named:
            items.append(item)
        else:
            between.append(text_of(item))
    return tuple(items), tuple(between)


def unwrapped(node: "tree_sitter.Node") -> "tree_sitter.Node":
    """What a node that adds nothing holds."""
    while node.type in TRANSPARENT and node.named_child_count == 1:
        node = node.named_children[0]
    return node


def _defined(node: "tree_sitter.Node") -> "tree_sitter.Node":
    """The definition that decorators stand before."""
    node = unwrapped(node)
    return node.child_by_field_name("definition") or node


def noun_of(node: "tree_sitter.Node") -> str:
    """What a node is called: a function of a class is a method, an operation is named by its operator."""
    node = _defined(node)
    if node.type == "function_definition":
        up = node.parent
        while up is not None and up.type in {"block", "decorated_definition"}:
            up = up.parent
        return "method" if up is not None and up.type == "class_definition" else plain(node.type)
    if node.type in CHAINS:
        operator = node.child_by_field_name("operator")
        return f"`{text_of(operator)}` expression" if operator is not None else plain(node.type)
    return plain(node.type)


def label_of(node: "tree_sitter.Node") -> tuple[str, str]:
    """The word and the quoted text that tell a node from others of its kind; empty where it has none to quote."""
    node = _defined(node)
    field, word = LABEL_FIELDS.get(node.type, ("", ""))
    named = node.child_by_field_name(field) if field else None
    quoted = shown(text_of(named)) if named is not None else ""
    return (word, quoted) if quoted else ("", "")
