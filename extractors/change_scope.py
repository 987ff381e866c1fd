"""Which runs of code a change of a file can alter: bodies of functions, or what runs when the file is loaded."""

from collections.abc import Sequence
from typing import NamedTuple

from extractors.hunks import changed_regions, split_lines
from extractors.syntax import Definition, definitions, language_of, syntax_of
from schemas.code import EntityKind


class ChangeScope(NamedTuple):
    """In lines of the clean file, from 1 and inclusive."""

    bodies: tuple[tuple[int, int], ...]
    """First and last line of each function body in which something changed. A function is the unit, and not a line:
    what is removed from a body can change which of its names are local, or whether it is a generator."""
    at_load: bool
    """Whether something changed that runs when the file is loaded: module level, class bodies, decorators, signatures,
    default values; or what is in no function that the clean file has."""
    load_lines: tuple[tuple[int, int], ...]
    """The lines of the file that lie in no function's body; empty where `at_load` is false."""


class _Body(NamedTuple):
    name: str
    first_line: int
    last_line: int

    def holds(self, line: int) -> bool:
        return self.first_line <= line <= self.last_line


def change_scope(path: str, clean: bytes, bugged: bytes, patch: str) -> ChangeScope:
    """The scope of `patch`, a diff of one file from `clean` to `bugged`; a file of no known language counts as loaded.

    Raises:
        ValueError: the patch is malformed.
    """
    before, after = _bodies(path, clean), _bodies(path, bugged)
    touched: set[_Body] = set()
    at_load = False
    blank_before, blank_after = _blank(clean), _blank(bugged)
    for region in changed_regions(patch):
        for line in range(region.old_start + 1, region.old_end + 1):
            if line in blank_before:
                continue
            body = _innermost(before, line)
            touched |= {body} if body else set()
            at_load = at_load or body is None
        for line in range(region.new_start + 1, region.new_end + 1):
            if line in blank_after:
                continue
            body = _innermost(after, line)
            same = [one for one in before if body is not None and one.name == body.name]
            touched.update(same)
            at_load = at_load or not same
    total = len(split_lines(clean))
    return ChangeScope(
        bodies=tuple(sorted({(body.first_line, body.last_line) for body in touched})),
        at_load=at_load,
        load_lines=_outside(before, total) if at_load else (),
    )


def _blank(source: bytes) -> set[int]:
    return {number for number, line in enumerate(split_lines(source), 1) if not line.strip()}


def _bodies(path: str, source: bytes) -> tuple[_Body, ...]:
    language = language_of(path)
    if language is None:
        return ()
    field = syntax_of(language).body_field
    return tuple(
        body
        for item in definitions(source, language)
        if item.kind is not EntityKind.CLASS and (body := _body(item, field)) is not None
    )


def _body(item: Definition, field: str) -> _Body | None:
    """Lines of a body that hold nothing of its header; `None` where there are none (`def f(): return 1`)."""
    node = item.node.child_by_field_name(field)
    if node is None:
        return None
    header_ends = node.prev_sibling.end_point.row + 1 if node.prev_sibling is not None else 0
    first = max(node.start_point.row + 1, header_ends + 1)
    return _Body(item.name, first, item.span.end_line) if first <= item.span.end_line else None


def _innermost(bodies: Sequence[_Body], line: int) -> _Body | None:
    return max((body for body in bodies if body.holds(line)), key=lambda body: body.first_line, default=None)


def _outside(bodies: Sequence[_Body], total: int) -> tuple[tuple[int, int], ...]:
    ranges, start = [], 1
    for body in sorted(bodies, key=lambda body: body.first_line):
        if start < body.first_line:
            ranges.append((start, body.first_line - 1))
        start = max(start, body.last_line + 1)
    if start <= total:
        ranges.append((start, total))
    return tuple(ranges)
