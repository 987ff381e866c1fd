"""Cut a fix into edit targets: the smallest pieces of syntax to replace, insert or delete, in order.

A fix is first cut into runs of changed lines (those of its minimal diff). Within a run, the change is narrowed to
the tokens that differ and then widened to the smallest named syntax node that is a whole node on both sides, as
long as that node stays on the changed lines. Where no node fits, the change stays what it is if it lies within one
line, and becomes whole lines otherwise.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from extractors.diff import make_patch
from extractors.hunks import changed_regions, split_lines
from extractors.search_replace import unique_search
from extractors.syntax import definitions_in, language_of, parse, symbol_at
from schemas.repo import Language
from schemas.tasks import EditOp, EditTarget

if TYPE_CHECKING:
    import tree_sitter

    from extractors.syntax import Definition

_TOKEN = re.compile(r"\w+|\n|[^\S\n]+|.", re.DOTALL)


class _Change(NamedTuple):
    """`before[start:end]` becomes `after[new_start:new_end]`, in bytes of the two files as they were given."""

    start: int
    end: int
    new_start: int
    new_end: int


def edit_targets(path: str, bugged: bytes, clean: bytes) -> tuple[EditTarget, ...]:
    """The edits that turn `bugged` into `clean`, top to bottom, each on the result of those before it.

    `node_kind` and `symbol` of a replacement or deletion are read from the file that it is applied to; those of an
    insertion from the file that it leaves, where the inserted text has a place in the syntax.

    Raises:
        ValueError: the language of `path` is unknown, or a side is not UTF-8.
    """
    language = language_of(path)
    if language is None:
        raise ValueError(f"{path}: no grammar reads this file, so its edits have no syntax; leave the file out")
    if bugged == clean:
        return ()
    # A change at the end of a file without newline shows as a changed last line, so lines cover every change.
    changes = _separate(_line_changes(path, bugged, clean), bugged, clean)
    fitted = _fit(changes, bugged, clean, language)
    targets: list[EditTarget] = []
    state, tree = bugged, parse(bugged, language)
    shift = 0
    for change in fitted:
        start, end = change.start + shift, change.end + shift
        after = clean[change.new_start : change.new_end]
        result = state[:start] + after + state[end:]
        result_tree = parse(result, language)
        place = (
            _Place(result, result_tree, start, start + len(after)) if start == end else _Place(state, tree, start, end)
        )
        targets.append(_target(path, language, state, place, start=start, end=end, after=after))
        state, tree = result, result_tree
        shift += len(after) - (end - start)
    return tuple(targets)


def apply_edits(source: bytes, targets: Iterable[EditTarget]) -> bytes:
    """Apply edits by their byte ranges, in order.

    Raises:
        ValueError: the file does not hold an edit's `before` at its place.
    """
    for number, target in enumerate(targets, start=1):
        found = source[target.start_byte : target.end_byte]
        if found != target.before.encode("utf-8") or target.end_byte > len(source):
            raise ValueError(
                f"edit {number} of {target.path} expects {target.before!r} at bytes "
                f"{target.start_byte}..{target.end_byte}, where the file holds {found!r}"
            )
        source = source[: target.start_byte] + target.after.encode("utf-8") + source[target.end_byte :]
    return source


class _Place(NamedTuple):
    """Where the syntax of an edit is read."""

    source: bytes
    tree: "tree_sitter.Tree"
    start: int
    end: int


def _target(
    path: str, language: Language, state: bytes, place: _Place, *, start: int, end: int, after: bytes
) -> EditTarget:
    before = state[start:end]
    inserts = start == end
    inner_start, inner_end = strip_span(place.source, place.start, place.end)
    node = holding_node(place.tree.root_node, inner_start, inner_end, properly=inserts)
    found = definitions_in(place.tree, language)
    if inserts:
        found = tuple(item for item in found if not _within(item, inner_start, inner_end))
    block = unique_search(state, start, end, after)
    first_line = state.count(b"\n", 0, start) + 1
    return EditTarget(
        path=path,
        language=language,
        symbol=symbol_at(found, inner_start, inner_end),
        node_kind=node.type,
        start_line=first_line,
        end_line=first_line + before[:-1].count(b"\n"),
        start_byte=start,
        end_byte=end,
        op=EditOp.INSERT if inserts else EditOp.REPLACE if after else EditOp.DELETE,
        before=before.decode("utf-8"),
        after=after.decode("utf-8"),
        search=block.search.decode("utf-8"),
        replace=block.replace.decode("utf-8"),
    )


def strip_span(source: bytes, start: int, end: int) -> tuple[int, int]:
    """The range without white space at its ends; the range itself if it holds nothing else."""
    text = source[start:end]
    stripped = text.strip()
    if not stripped:
        return start, end
    lead = len(text) - len(text.lstrip())
    return start + lead, start + lead + len(stripped)


def holding_node(root: "tree_sitter.Node", start: int, end: int, *, properly: bool = False) -> "tree_sitter.Node":
    """The smallest named node around a byte range that is not an error; `properly`: larger than the range."""
    found = root
    for node in _nodes_down(root, start, end):
        larger = node.start_byte < start or node.end_byte > end
        if node.is_named and not node.is_error and (larger or not properly):
            found = node
    return found


def _nodes_down(root: "tree_sitter.Node", start: int, end: int) -> Iterator["tree_sitter.Node"]:
    """Nodes around a byte range from the root down; an empty range is inside a node that it touches."""
    node: tree_sitter.Node | None = root
    while node is not None:
        yield node
        node = next((child for child in node.children if child.start_byte <= start and end <= child.end_byte), None)


def _within(definition: "Definition", start: int, end: int) -> bool:
    return start <= definition.span.start_byte and definition.span.end_byte <= end


def _line_changes(path: str, before: bytes, after: bytes) -> list[_Change]:
    old = _line_starts(before)
    new = _line_starts(after)
    return [
        _Change(old[region.old_start], old[region.old_end], new[region.new_start], new[region.new_end])
        for region in changed_regions(make_patch(path, before, after))
    ]


def _line_starts(source: bytes) -> list[int]:
    starts = [0]
    for line in split_lines(source):
        starts.append(starts[-1] + len(line))
    return starts


def _separate(changes: Sequence[_Change], before: bytes, after: bytes) -> list[_Change]:
    """Part neighbouring lines that changed each in itself: line for line, more kept than changed in each."""
    result: list[_Change] = []
    for change in changes:
        old = split_lines(before[change.start : change.end])
        new = split_lines(after[change.new_start : change.new_end])
        if len(old) != len(new) or not all(_alike(a, b) for a, b in zip(old, new, strict=True)):
            result.append(change)
            continue
        start, new_start = change.start, change.new_start
        for a, b in zip(old, new, strict=True):
            result.append(_Change(start, start + len(a), new_start, new_start + len(b)))
            start, new_start = start + len(a), new_start + len(b)
    return result


def _alike(before: bytes, after: bytes) -> bool:
    a, b = before.strip().decode("utf-8"), after.strip().decode("utf-8")
    prefix, suffix = _common_ends(a, b)
    return 2 * (prefix + suffix) > max(len(a), len(b))


def _common_ends(a: str, b: str) -> tuple[int, int]:
    """How many characters two texts share at their start and at their end, in whole tokens, without overlap."""
    one, two = _TOKEN.findall(a), _TOKEN.findall(b)
    shorter = min(len(one), len(two))
    prefix = next((count for count in range(shorter) if one[count] != two[count]), shorter)
    rest = shorter - prefix
    suffix = next((count for count in range(rest) if one[-1 - count] != two[-1 - count]), rest)
    return sum(map(len, one[:prefix])), sum(map(len, one[len(one) - suffix :]))


def _fit(changes: Sequence[_Change], before: bytes, after: bytes, language: Language) -> list[_Change]:
    """Narrow each change to the tokens that differ, then widen it to a node of both trees where one fits."""
    old, new = parse(before, language), parse(after, language)
    fitted: list[_Change] = []
    for lines in changes:
        if lines.start == lines.end or lines.new_start == lines.new_end:
            fitted.append(lines)
            continue
        core = _narrow(lines, before, after)
        node = _widen(core, lines, old, new)
        run = _whole_siblings(core, old)
        within_line = b"\n" not in before[run.start : run.end] + after[run.new_start : run.new_end]
        fitted.append(node or (run if within_line else lines))
    return fitted


def _narrow(change: _Change, before: bytes, after: bytes) -> _Change:
    a = before[change.start : change.end].decode("utf-8")
    b = after[change.new_start : change.new_end].decode("utf-8")
    prefix, suffix = _common_ends(a, b)
    head, tail = len(a[:prefix].encode("utf-8")), len(a[len(a) - suffix :].encode("utf-8"))
    return _Change(change.start + head, change.end - tail, change.new_start + head, change.new_end - tail)


def _widen(core: _Change, lines: _Change, old: "tree_sitter.Tree", new: "tree_sitter.Tree") -> _Change | None:
    """The smallest node around the change, within its lines, whose text is one whole node afterwards too."""
    candidates = [
        node
        for node in _candidates(old.root_node, core.start, core.end)
        if node.start_byte >= lines.start and node.end_byte <= lines.end
    ]
    for node in sorted(candidates, key=lambda node: node.end_byte - node.start_byte):
        new_start = core.new_start - (core.start - node.start_byte)
        new_end = core.new_end + (node.end_byte - core.end)
        twin = holding_node(new.root_node, new_start, new_end)
        if new_start < new_end and (twin.start_byte, twin.end_byte) == (new_start, new_end) and not twin.has_error:
            return _Change(node.start_byte, node.end_byte, new_start, new_end)
    return None


def _whole_siblings(core: _Change, old: "tree_sitter.Tree") -> _Change:
    """The change, grown to the ends of the nodes that it touches in the smallest node around it."""
    holder = holding_node(old.root_node, core.start, core.end)
    touched = [child for child in holder.children if child.start_byte < core.end and core.start < child.end_byte]
    head = max(0, core.start - min((child.start_byte for child in touched), default=core.start))
    tail = max(0, max((child.end_byte for child in touched), default=core.end) - core.end)
    return _Change(core.start - head, core.end + tail, core.new_start - head, core.new_end + tail)


def _candidates(root: "tree_sitter.Node", start: int, end: int) -> list["tree_sitter.Node"]:
    """Named nodes around a range; an empty range lies in what it touches on either side."""
    found: list[tree_sitter.Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if node.is_named and not node.has_error and node is not root:
            found.append(node)
        stack.extend(child for child in node.children if child.start_byte <= start and end <= child.end_byte)
    return found
