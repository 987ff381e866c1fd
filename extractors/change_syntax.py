"""What a fix does to the syntax tree, in words: which node changes, how, and where it stands."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from extractors.edits import holding_node, strip_span
from extractors.syntax import parse
from schemas.tasks import EditOp, EditTarget

if TYPE_CHECKING:
    import tree_sitter

MAX_SHOWN = 40
"""Longest piece of code that a sentence quotes; longer ones, and those of several lines, are named by kind alone."""
SITES = ("_statement", "_clause", "_definition", "assignment", "call", "parameter", "_expression", "_item")
"""Endings of the node kinds that a place is named after."""
TRANSPARENT = frozenset({"expression_statement", "parenthesized_expression"})
"""Node kinds that add nothing to what they hold."""
FIELD_WORDS = {"left": "left side", "right": "right side"}


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


def describe_edits(edits: Sequence[EditSides]) -> tuple[str, ...]:
    """One clause an edit, with its place; a piece that is deleted here and inserted there is one clause, a move."""
    clauses: list[str] = []
    done: set[int] = set()
    for number, edit in enumerate(edits):
        if number in done:
            continue
        partner = next((other for other in range(number + 1, len(edits)) if _moves(edit, edits[other])), None)
        if partner is None or partner in done:
            clauses.append(f"{_action(edit)}, {place(edit)}")
            continue
        done.add(partner)
        moved = edit.before if edit.target.op is EditOp.DELETE else edit.after
        way = "down" if edit.target.op is EditOp.DELETE else "up"
        clauses.append(f"move the {_pieces(moved, '')} {way}, {place(edit)}")
    return tuple(clauses)


def place(edit: EditSides) -> str:
    """Where an edit stands: the nearest statement, call or definition around it, and by which field it hangs there."""
    side = edit.before if edit.target.op is EditOp.DELETE else edit.after
    node = holding_node(side.root, side.start, side.end, properly=edit.target.op is not EditOp.REPLACE)
    field = ""
    if edit.target.op is EditOp.REPLACE:
        field, node = _parent(node) or ("", node)
    while not _is_site(node):
        up = _parent(node)
        if up is None:
            return "at the top level"
        field, node = up
    return (
        f"in the {FIELD_WORDS.get(field, words(field))} of the {words(node.type)}"
        if field
        else f"in the {words(node.type)}"
    )


def words(kind: str) -> str:
    """A node kind or field as words."""
    return kind.strip("_").replace("_", " ")


def shown(text: str) -> str:
    """Code as a sentence quotes it; empty where it is too long to quote."""
    return f"`{text}`" if len(text) <= MAX_SHOWN and "\n" not in text and "`" not in text and text else ""


def _action(edit: EditSides) -> str:
    if edit.target.op is EditOp.INSERT:
        return f"restore the {_pieces(edit.after, 'missing ')}"
    if edit.target.op is EditOp.DELETE:
        return f"remove the {_pieces(edit.before, '')}"
    if not (edit.before.is_node and edit.after.is_node):
        old, new = shown(edit.before.text), shown(edit.after.text)
        if old and new:
            return f"rewrite {old} as {new} in the {words(edit.before.node.type)}"
        return f"rewrite {_lines(edit.before.text)} as {_lines(edit.after.text)}"
    return _replacement(edit.before.node, edit.after.node)


def _replacement(old: "tree_sitter.Node", new: "tree_sitter.Node") -> str:
    kind, new_kind = words(old.type), words(new.type)
    if _contains(new, old):
        return f"put the {kind} back into a {new_kind}"
    if _contains(old, new):
        return f"take the {new_kind} out of the {kind}"
    if old.type != new.type:
        return f"replace the {kind} by a {new_kind}"
    return _same_kind(old, new, kind)


def _same_kind(old: "tree_sitter.Node", new: "tree_sitter.Node", kind: str) -> str:
    one, two = _leaves(old), _leaves(new)
    changed = [pair for pair in zip(one, two, strict=False) if pair[0] != pair[1]]
    if len(one) == len(two) == 1 and shown(one[0]) and shown(two[0]):
        return f"change the {kind} {shown(one[0])} to {shown(two[0])}"
    if len(one) == len(two) and len(changed) == 1 and shown(changed[0][0]) and shown(changed[0][1]):
        return f"change {shown(changed[0][0])} to {shown(changed[0][1])} in the {kind}"
    parts, new_parts = _parts(old), _parts(new)
    if parts != new_parts and sorted(parts) == sorted(new_parts):
        return f"reorder the {len(parts)} parts of the {kind}"
    return f"rewrite the {kind} of {_count(len(one), 'token')} as one of {len(two)}"


def _pieces(side: TreeRange, adjective: str) -> str:
    """What a range holds: its one node by kind and name, or how many nodes of which kinds."""
    nodes = _nodes_within(side)
    if not nodes:
        return f"{adjective}{_lines(side.text)}"
    if len(nodes) > 1:
        return f"{_count(len(nodes), 'piece', adjective)} of syntax"
    node = nodes[0]
    while node.type in TRANSPARENT and node.named_child_count == 1:
        node = node.named_children[0]
    name = node.child_by_field_name("name") or _field_of_field(node, "definition", "name")
    named = f" {shown(_text(name))}" if name is not None and shown(_text(name)) else ""
    return f"{adjective}{words(node.type)}{named}"


def _nodes_within(side: TreeRange) -> list["tree_sitter.Node"]:
    """The outermost named nodes, comments apart, of which a range consists."""
    found: list[tree_sitter.Node] = []
    stack = [side.root]
    while stack:
        node = stack.pop()
        if node.is_named and side.start <= node.start_byte and node.end_byte <= side.end:
            if node.type != "comment" and node.start_byte < node.end_byte:
                found.append(node)
        elif node.start_byte < side.end and node.end_byte > side.start:
            stack.extend(node.children)
    return found


def _moves(one: EditSides, other: EditSides) -> bool:
    deleted, inserted = (one, other) if one.target.op is EditOp.DELETE else (other, one)
    return (deleted.target.op, inserted.target.op) == (EditOp.DELETE, EditOp.INSERT) and (
        deleted.before.text == inserted.after.text
    )


def _parent(node: "tree_sitter.Node") -> tuple[str, "tree_sitter.Node"] | None:
    parent = node.parent
    if parent is None:
        return None
    position = next(number for number, child in enumerate(parent.children) if child == node)
    return parent.field_name_for_child(position) or "", parent


def _is_site(node: "tree_sitter.Node") -> bool:
    return node.type.endswith(SITES) and node.type not in TRANSPARENT


def _contains(outer: "tree_sitter.Node", inner: "tree_sitter.Node") -> bool:
    """Whether a node of the kind and text of `inner` stands below `outer`."""
    stack = list(outer.children)
    while stack:
        node = stack.pop()
        if node.type == inner.type and node.text == inner.text:
            return True
        stack.extend(node.children)
    return False


def _leaves(node: "tree_sitter.Node") -> list[str]:
    leaves: list[str] = []
    stack = [node]
    while stack:
        item = stack.pop()
        if item.children:
            stack.extend(reversed(item.children))
        else:
            leaves.append(_text(item))
    return leaves


def _parts(node: "tree_sitter.Node") -> list[str]:
    return [_text(child) for child in node.named_children]


def _field_of_field(node: "tree_sitter.Node", *fields: str) -> "tree_sitter.Node | None":
    found: tree_sitter.Node | None = node
    for field in fields:
        found = found.child_by_field_name(field) if found is not None else None
    return found


def _text(node: "tree_sitter.Node") -> str:
    return (node.text or b"").decode("utf-8")


def _lines(text: str) -> str:
    return _count(text.removesuffix("\n").count("\n") + 1, "line")


def _count(number: int, noun: str, adjective: str = "") -> str:
    return f"{number} {adjective}{noun}{'' if number == 1 else 's'}"
