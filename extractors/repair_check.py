"""Check the repair step: each clause against the texts and the syntax of the edit that it speaks of."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from extractors.order_check import may_speak_of_order, order_violations, speaks_of_order
from extractors.plain_words import INNER_FIELDS, SITES, TRANSPARENT, field_word, indefinite, joined, plural
from extractors.replacement_check import label, noun, sentence_holds, unwrap
from extractors.syntax import parse
from schemas.tasks import EditOp, EditTarget

if TYPE_CHECKING:
    import tree_sitter

_CLAUSES = 5
_NAMED = 3
_KINDS = 4
_WHOLE = re.compile(r"(.*) \((\d+) edits?, (\d+) lines?\)", re.DOTALL)
_SPLIT = re.compile(r"(?:[^`;]|`[^`]*`|;(?! ))+")
_TIMES = re.compile(r"(.*), (\d+) times", re.DOTALL)


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

    def is_whole(self) -> bool:
        return (self.node().start_byte, self.node().end_byte) == (self.start, self.end)


def repair_violations(text: str, targets: Sequence[EditTarget], *, bugged: bytes, clean: bytes) -> Iterator[str]:
    """What is wrong with the clauses of a repair step, which speak of `targets` in their order."""
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        yield f"no sentence of the grammar: {text!r}"
        return
    lines = sum(max(len(_split_lines(target.before)), len(_split_lines(target.after))) for target in targets)
    if (int(whole[2]), int(whole[3])) != (len(targets), lines):
        yield f"the size is {whole[2]} edits and {whole[3]} lines, and counts to {len(targets)} and {lines}"
    clauses = [clause.removeprefix(" ") for clause in _SPLIT.findall(whole[1])]
    if "; ".join(clauses) != whole[1]:
        yield f"no sentence of the grammar: {text!r}"
        return
    trees = [parse(side, targets[0].language) for side in (bugged, clean)]
    about_order = list(order_violations(clauses, *trees, place_of=place_of)) if _tells_order(clauses[0]) else ["no"]
    if about_order and speaks_of_order(clauses[0]):
        yield from about_order
    elif about_order:
        yield from _edit_violations(clauses, list(_subjects(targets, bugged, clean)))


def _tells_order(clause: str) -> bool:
    return speaks_of_order(clause) or may_speak_of_order(clause)


def _edit_violations(clauses: list[str], changes: list["_Change"]) -> Iterator[str]:
    told, rest = clauses[:_CLAUSES], clauses[_CLAUSES:]
    groups = list(_groups(changes))
    position = 0
    for clause in told:
        times = _TIMES.fullmatch(clause)
        single, count = (times[1], int(times[2])) if times else (clause, 1)
        said = groups[position : position + count]
        if len(said) != count or (times and count < 2):
            yield f"{clause!r} speaks of {count} changes, and {len(said)} are left"
        for group in said:
            yield from _clause(single, group)
        position += count
    left = len(groups) - position
    expected = [f"and {left} more"] if left else []
    if rest != expected:
        yield f"the last clause is {rest!r}, and {left} changes are left"


class _Change(NamedTuple):
    """What one clause speaks of."""

    op: EditOp
    before: _Text
    after: _Text
    moves: str
    """`up` or `down` for a deletion and an insertion of the same text, else empty."""

    @property
    def side(self) -> _Text:
        return self.before if self.op is EditOp.DELETE else self.after

    def place(self) -> str:
        around = [item for item in self.side.path_down() if item[1].is_named]
        fits = [number for number, (_, node) in enumerate(around) if not node.is_error]
        if self.op is not EditOp.REPLACE:
            larger = [n for n in fits if _holds_more(around[n][1], self.side)] or [0]
            return place_of(around[: larger[-1] + 1], own=True)
        return place_of(around[: fits[-1] + 1])

    def pieces(self) -> list["tree_sitter.Node"]:
        """The nodes that were inserted or deleted, outermost ones; a body is its statements."""
        found: list[tree_sitter.Node] = []
        covered = self.side.start
        for node in _all_nodes(self.side.root, self.side.start, self.side.end):
            inside = self.side.start <= node.start_byte < node.end_byte <= self.side.end
            if node.is_named and inside and node.start_byte >= covered and node.type != "block":
                covered = node.end_byte
                if node.type != "comment":
                    found.append(unwrap(node))
        return found


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


def _groups(changes: Sequence[_Change]) -> Iterator[list[_Change]]:
    """What is told together: insertions (or deletions) of syntax at one place; anything else is told alone."""
    keys: list[object] = [
        (change.op, change.place())
        if change.op is not EditOp.REPLACE and not change.moves and change.pieces()
        else number
        for number, change in enumerate(changes)
    ]
    for key in dict.fromkeys(keys):
        yield [change for change, own in zip(changes, keys, strict=True) if own == key]


def _clause(clause: str, group: Sequence[_Change]) -> Iterator[str]:
    place = group[0].place()
    action = clause.removesuffix(f" {place}") if place else clause
    if place and action == clause:
        yield f"the place is not {place!r}: {clause!r}"
    elif group[0].op is EditOp.REPLACE:
        if not _replacement_holds(action, group[0].before, group[0].after):
            yield f"this is not what happens: {action!r}"
    elif action != (expected := _expected(group)):
        yield f"the change is {action!r}, and counts to {expected!r}"


def _expected(group: Sequence[_Change]) -> str:
    pieces = [piece for change in group for piece in change.pieces()]
    first = group[0]
    count = len(_split_lines(first.side.text))
    lines = f"{count} {'line' if count == 1 else 'lines'}"
    if first.moves:
        return f"move {_things(pieces, '') if pieces else f'the {lines}'} {first.moves}"
    restores = first.op is EditOp.INSERT
    what = _things(pieces, "missing " if restores else "") if pieces else lines
    return f"{'restore' if restores else 'remove'} {what}"


def _things(pieces: Sequence["tree_sitter.Node"], adjective: str) -> str:
    nouns = [noun(piece) for piece in pieces]
    kinds = list(dict.fromkeys(nouns))
    if len(kinds) > 1:
        said = [indefinite(kind) if (n := nouns.count(kind)) == 1 else f"{n} {plural(kind)}" for kind in kinds]
        rest = sum(nouns.count(kind) for kind in kinds[_KINDS:])
        return joined(said[:_KINDS] + ([f"{rest} more"] if rest else []))
    names = [label(piece) for piece in pieces]
    tail = joined([name[name.index("`") :] for name in names]) if all(names) and len(names) <= _NAMED else ""
    head = kinds[0] if len(pieces) == 1 else plural(kinds[0])
    number = f"{len(pieces)} " if len(pieces) > 1 else ""
    return f"the {number}{adjective}{head}" + (f" {names[0][: names[0].index('`')]}{tail}" if tail else "")


def _replacement_holds(action: str, before: _Text, after: _Text) -> bool:
    """Whether a sentence about a replacement is true of the two texts."""
    if before.is_whole() and after.is_whole():
        return sentence_holds(action, before.node(), after.node())
    counts = [len(_split_lines(side.text)) for side in (before, after)]
    one, two = (f"{count} {'line' if count == 1 else 'lines'}" for count in counts)
    return action in {f"change `{before.text}` to `{after.text}`", f"rewrite {one} as {two}"}


def place_of(path: Sequence[tuple[str, "tree_sitter.Node"]], *, own: bool = False) -> str:
    """The place of the last node of a path from the root; `own`: the node itself may be the place."""
    holders = [(path[number][0], path[number - 1][1]) for number in range(1, len(path))]
    for field, node in reversed([*holders, *([("", path[-1][1])] if own else [])]):
        if not node.type.endswith(SITES) or node.type in TRANSPARENT:
            continue
        if node.type in {"decorated_definition", "function_definition", "class_definition"}:
            return "" if field in {"", "body"} else f"in the {field_word(field)}"
        if field in INNER_FIELDS or not field:
            return " ".join(filter(None, ("in the", noun(node), label(node))))
        return f"in the {field_word(field)} of the {noun(node)}"
    return "at the top level"


def _holds_more(node: "tree_sitter.Node", text: _Text) -> bool:
    return node.start_byte < text.start or node.end_byte > text.end


def _all_nodes(root: "tree_sitter.Node", start: int, end: int) -> Iterator["tree_sitter.Node"]:
    """The nodes that share bytes with a range, outer ones first, in the order of the text."""
    todo = [root]
    while todo:
        node = todo.pop()
        if node.start_byte < end and node.end_byte > start:
            yield node
            todo.extend(reversed(node.children))


def _split_lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []
