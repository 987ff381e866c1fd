"""Check the repair step: each clause against the texts and the syntax of the edit that it speaks of."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from extractors.change_syntax import FIELD_WORDS, SITES, TRANSPARENT
from extractors.syntax import parse
from schemas.tasks import EditOp, EditTarget

if TYPE_CHECKING:
    import tree_sitter

_CLAUSES = 5
_WHOLE = re.compile(r"(.*) \((\d+) edits?, (\d+) lines?\)", re.DOTALL)
_CLAUSE = re.compile(r"((?:[^`]|`[^`]*`)*), (at the top level|in the [^`,;]+)")
_SPLIT = re.compile(r"(?:[^`;]|`[^`]*`|;(?! ))+")
_CHANGE_NODE = re.compile(r"change the ([\w ]+) `([^`]+)` to `([^`]+)`")
_CHANGE_LEAF = re.compile(r"change `([^`]+)` to `([^`]+)` in the ([\w ]+)")
_PUT = re.compile(r"put the ([\w ]+) back into a ([\w ]+)")
_TAKE = re.compile(r"take the ([\w ]+) out of the ([\w ]+)")
_BY = re.compile(r"replace the ([\w ]+) by a ([\w ]+)")
_REORDER = re.compile(r"reorder the (\d+) parts of the ([\w ]+)")
_TOKENS = re.compile(r"rewrite the ([\w ]+) of (\d+) tokens? as one of (\d+)")
_QUOTED = re.compile(r"rewrite `([^`]+)` as `([^`]+)` in the ([\w ]+)")
_LINES = re.compile(r"rewrite (\d+) lines? as (\d+) lines?")


class _Text(NamedTuple):
    """A text in its file, without white space around it."""

    root: "tree_sitter.Node"
    start: int
    end: int
    text: str

    def path_down(self) -> list[tuple[str, "tree_sitter.Node"]]:
        """Nodes around the text from the root down, each with the field by which it hangs on the one before."""
        found = [("", self.root)]
        while True:
            node = found[-1][1]
            for position, child in enumerate(node.children):
                if child.start_byte <= self.start and self.end <= child.end_byte:
                    found.append((node.field_name_for_child(position) or "", child))
                    break
            else:
                return found

    def node(self) -> "tree_sitter.Node":
        """The smallest named node around the text."""
        found = self.root.named_descendant_for_byte_range(self.start, self.end) or self.root
        while found.is_error and found.parent is not None:
            found = found.parent
        return found

    def kind(self) -> str:
        return _said(self.node().type)


def repair_violations(text: str, targets: Sequence[EditTarget], *, bugged: bytes, clean: bytes) -> Iterator[str]:
    """What is wrong with the clauses of a repair step, which speak of `targets` in their order."""
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        yield f"no sentence of the grammar: {text!r}"
        return
    lines = sum(max(len(_split_lines(target.before)), len(_split_lines(target.after))) for target in targets)
    if (int(whole[2]), int(whole[3])) != (len(targets), lines):
        yield f"the size is {whole[2]} edits and {whole[3]} lines, and counts to {len(targets)} and {lines}"
    subjects = list(_subjects(targets, bugged, clean))
    clauses = _SPLIT.findall(whole[1])
    clauses = [clause.removeprefix(" ") for clause in clauses]
    if len(subjects) > _CLAUSES:
        rest = f"and {len(subjects) - _CLAUSES} more"
        if clauses[-1:] != [rest]:
            yield f"the last clause is not {rest!r}"
        clauses = clauses[:-1]
    if len(clauses) != min(len(subjects), _CLAUSES):
        yield f"there are {len(clauses)} clauses for {len(subjects)} changes"
    for clause, subject in zip(clauses, subjects, strict=False):
        yield from _clause(clause, subject)


class _Change(NamedTuple):
    """What one clause speaks of."""

    op: EditOp
    before: _Text
    after: _Text
    moves: str
    """`up` or `down` for a deletion and an insertion of the same text, else empty."""


def _subjects(targets: Sequence[EditTarget], bugged: bytes, clean: bytes) -> Iterator[_Change]:
    texts: list[tuple[EditTarget, _Text, _Text]] = []
    state = bugged
    for target in targets:
        before, after = target.before.encode(), target.after.encode()
        start = target.start_byte
        texts.append(
            (
                target,
                _text(state, start, start + len(before), target),
                _text(clean, start, start + len(after), target),
            )
        )
        state = state[:start] + after + state[start + len(before) :]
    partners: set[int] = set()
    for number, (target, before_text, after_text) in enumerate(texts):
        if number in partners:
            continue
        opposite = {EditOp.DELETE: EditOp.INSERT, EditOp.INSERT: EditOp.DELETE}.get(target.op)
        own = _core(target)
        same = [
            other
            for other in range(number + 1, len(texts))
            if texts[other][0].op is opposite and _core(texts[other][0]) == own
        ]
        moves = ""
        if same and same[0] not in partners:
            partners.add(same[0])
            moves = "down" if target.op is EditOp.DELETE else "up"
        yield _Change(target.op, before_text, after_text, moves)


def _core(target: EditTarget) -> bytes:
    """What an insertion or deletion is about: its text without white space around it, if it holds anything else."""
    text = (target.before or target.after).encode()
    return text.strip() or text


def _text(source: bytes, start: int, end: int, target: EditTarget) -> _Text:
    text = source[start:end]
    if text.strip():
        start, end = start + len(text) - len(text.lstrip()), end - (len(text) - len(text.rstrip()))
    return _Text(parse(source, target.language).root_node, start, end, source[start:end].decode())


def _clause(clause: str, change: _Change) -> Iterator[str]:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        yield f"no clause of the grammar: {clause!r}"
        return
    action, place = match.groups()
    if place != _place(change):
        yield f"the place is {place!r}, and counts to {_place(change)!r}"
    if change.op is EditOp.REPLACE:
        if not _replacement_holds(action, change.before, change.after):
            yield f"this is not what happens: {action!r}"
        return
    side = change.after if change.op is EditOp.INSERT else change.before
    missing = "missing " if change.op is EditOp.INSERT and not change.moves else ""
    pieces = _pieces(side, missing)
    verb = "restore the" if change.op is EditOp.INSERT else "remove the"
    expected = f"move the {pieces} {change.moves}" if change.moves else f"{verb} {pieces}"
    if action != expected:
        yield f"the change is {action!r}, and counts to {expected!r}"


def _replacement_holds(action: str, before: _Text, after: _Text) -> bool:
    """Whether a sentence about a replacement is true of the two texts."""
    whole = _is_whole(before) and _is_whole(after)
    if match := _LINES.fullmatch(action):
        counts = (len(_split_lines(before.text)), len(_split_lines(after.text)))
        return not whole and (int(match[1]), int(match[2])) == counts
    if match := _QUOTED.fullmatch(action):
        return not whole and match.groups() == (before.text, after.text, before.kind())
    return whole and (
        _texts_change(action, before, after)
        or _nodes_nest(action, before, after)
        or _parts_change(action, before, after)
    )


def _texts_change(action: str, before: _Text, after: _Text) -> bool:
    if match := _CHANGE_NODE.fullmatch(action):
        return (match[1], match[2], match[3]) == (
            before.kind(),
            before.text,
            after.text,
        ) and before.kind() == after.kind()
    if match := _CHANGE_LEAF.fullmatch(action):
        same = before.kind() == after.kind() == match[3]
        return same and _one_token_differs(before, after, match[1], match[2])
    return False


def _nodes_nest(action: str, before: _Text, after: _Text) -> bool:
    for pattern, outer, inner in ((_PUT, after, before), (_TAKE, before, after)):
        if match := pattern.fullmatch(action):
            nests = inner.text in outer.text and inner.text != outer.text
            return nests and match.groups() == (inner.kind(), outer.kind())
    if match := _BY.fullmatch(action):
        return match.groups() == (before.kind(), after.kind()) and before.kind() != after.kind()
    return False


def _parts_change(action: str, before: _Text, after: _Text) -> bool:
    if before.kind() != after.kind():
        return False
    if match := _REORDER.fullmatch(action):
        old, new = ([child.text or b"" for child in side.node().named_children] for side in (before, after))
        same = old != new and sorted(old) == sorted(new)
        return same and (int(match[1]), match[2]) == (len(old), before.kind())
    if match := _TOKENS.fullmatch(action):
        counts = (len(_tokens(before)), len(_tokens(after)))
        return match[1] == before.kind() and (int(match[2]), int(match[3])) == counts
    return False


def _one_token_differs(before: _Text, after: _Text, old: str, new: str) -> bool:
    one, two = _tokens(before), _tokens(after)
    return any(
        one[number] == old and [*one[:number], new, *one[number + 1 :]] == two and old != new
        for number in range(len(one))
    )


def _is_whole(text: _Text) -> bool:
    node = text.node()
    return (node.start_byte, node.end_byte) == (text.start, text.end)


def _all_nodes(root: "tree_sitter.Node") -> Iterator["tree_sitter.Node"]:
    """A node and all below it, outer ones first, in the order of the text."""
    todo = [root]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(reversed(node.children))


def _tokens(text: _Text) -> list[str]:
    return [(node.text or b"").decode() for node in _all_nodes(text.node()) if not node.children]


def _pieces(side: _Text, adjective: str) -> str:
    larger = [node for _, node in side.path_down() if node.start_byte < side.start or node.end_byte > side.end]
    inside = [
        node
        for node in _all_nodes((larger or [side.root])[-1])
        if node.is_named and side.start <= node.start_byte < node.end_byte <= side.end
    ]
    covered = side.start - 1
    outer: list[tree_sitter.Node] = []
    for node in inside:
        # Outer nodes come before what they hold.
        if node.start_byte >= covered:
            if node.type != "comment":
                outer.append(node)
            covered = node.end_byte
    if not outer:
        count = len(_split_lines(side.text))
        return f"{adjective}{count} {'line' if count == 1 else 'lines'}"
    if len(outer) > 1:
        return f"{len(outer)} {adjective}pieces of syntax"
    node = outer[0]
    while node.type in TRANSPARENT and len(node.named_children) == 1:
        (node,) = node.named_children
    defined = node.child_by_field_name("definition") or node
    name = node.child_by_field_name("name") or defined.child_by_field_name("name")
    text = (name.text or b"").decode() if name is not None else ""
    quoted = f" `{text}`" if text and len(text) <= 40 and not set(text) & {"`", "\n"} else ""
    return f"{adjective}{_said(node.type)}{quoted}"


def _place(change: _Change) -> str:
    side = change.before if change.op is EditOp.DELETE else change.after
    around = [item for item in side.path_down() if item[1].is_named]
    if change.op is EditOp.REPLACE:
        holder = next(number for number in reversed(range(len(around))) if not around[number][1].is_error)
        around = around[: holder + 1]
        # The node itself is not its own place.
        sites = [(field, around[number - 1][1]) for number, (field, _) in enumerate(around) if number]
    else:
        larger = [item for item in around if item[1].start_byte < side.start or item[1].end_byte > side.end]
        larger = [item for item in larger if not item[1].is_error] or around[:1]
        last = around.index(larger[-1])
        sites = [(field, around[number - 1][1]) for number, (field, _) in enumerate(around[: last + 1]) if number]
        sites.append(("", larger[-1][1]))
    for field, node in reversed(sites):
        if node.type.endswith(SITES) and node.type not in TRANSPARENT:
            kind = _said(node.type)
            return f"in the {FIELD_WORDS.get(field, _said(field))} of the {kind}" if field else f"in the {kind}"
    return "at the top level"


def _said(name: str) -> str:
    return " ".join(part for part in name.split("_") if part)


def _split_lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []
