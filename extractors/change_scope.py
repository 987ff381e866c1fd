"""Which runs of code a change of a file can alter: bodies of functions, or what runs when the file is loaded."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import tree_sitter

from extractors.hunks import changed_regions, split_lines
from extractors.syntax import Definition, definitions, language_of, parse, syntax_of
from schemas.code import EntityKind
from schemas.repo import Language


class ChangeScope(NamedTuple):
    """In lines of the clean file, from 1 and inclusive."""

    bodies: tuple[tuple[int, int], ...]
    """First and last line of each function body in which something changed. A function is the unit, and not a line:
    what is removed from a body can change which of its names are local, or whether it is a generator."""
    at_load: bool
    """Whether something changed that runs when the file is loaded: module level, class bodies, decorators, signatures,
    default values, docstrings, whether a function is a generator; or what is in no function that the clean file has."""
    load_lines: tuple[tuple[int, int], ...]
    """Lines that loading the file executes and no call of a function does; empty where `at_load` is false."""
    names: tuple[str, ...] = ()
    """Where all that changed at loading lies in definitions of the module's that both files have: their names. Whoever
    sees a difference has one of them from somewhere. Empty where that is not so, or `at_load` is false."""


_YIELDS = frozenset({"yield", "yield_expression"})
"""What makes another thing of a function, without any line of its body being run."""
_SPELLED = b"yield"
"""Part of the source of any of them: most bodies lack it, and need not be walked."""
_FUNCTIONS = frozenset({"lambda"})
_TEXTS = frozenset({"string", "concatenated_string"})


class _Body(NamedTuple):
    name: str
    header_line: int
    """Where its definition begins, decorators included."""
    first_line: int
    last_line: int
    said_until: int
    """Last line of what the function says of itself: text that can be read without running it."""
    generates: bool
    """Whether it is a generator."""

    def holds(self, line: int) -> bool:
        return self.first_line <= line <= self.last_line


def change_scope(path: str, clean: bytes, bugged: bytes, patch: str) -> ChangeScope:
    """The scope of `patch`, a diff of one file from `clean` to `bugged`; a file of no known language counts as loaded.

    Raises:
        ValueError: the patch is malformed.
    """
    language = language_of(path)
    old, new = split_lines(clean), split_lines(bugged)
    if language is None:
        return ChangeScope(bodies=(), at_load=True, load_lines=((1, len(old)),))
    before, after = _clean_side(clean, language), _side(bugged, language)
    touched: set[_Body] = set()
    names: set[str] = set()
    for name in _flipped(before.bodies, after.bodies):
        # What a function's call gives is the business of its function, where it lies in one.
        around = [body for body in before.bodies if name.startswith(f"{body.name}.")]
        touched.update(around[:1])
        names |= set() if around else {name.partition(".")[0]}
    for region in changed_regions(patch):
        for line in range(region.old_start + 1, region.old_end + 1):
            body = _innermost(before.bodies, line)
            if body is None and not old[line - 1].strip():
                continue
            touched |= {body} if body else set()
            if body is None or line <= body.said_until:
                names.add(before.outermost(line))
        for line in range(region.new_start + 1, region.new_end + 1):
            body = _innermost(after.bodies, line)
            if body is None and not new[line - 1].strip():
                continue
            same = [one for one in before.bodies if body is not None and one.name == body.name]
            touched.update(same)
            if body is None or not same or line <= body.said_until:
                names.add(after.outermost(line))
    are_kept = all(name in before.outer and name in after.outer for name in names)
    return ChangeScope(
        bodies=tuple(sorted({(body.first_line, body.last_line) for body in touched})),
        at_load=bool(names),
        load_lines=_load_lines(clean, language) if names else (),
        names=tuple(sorted(names)) if are_kept else (),
    )


class _Side(NamedTuple):
    """One of the two files."""

    bodies: tuple[_Body, ...]
    outer: dict[str, list[tuple[int, int]]]
    """Name to lines of the definitions that lie in no other, decorators included."""

    def outermost(self, line: int) -> str:
        """The name of the definition of the module's around a line; empty for a line in none."""
        return next((name for name, spans in self.outer.items() if any(a <= line <= b for a, b in spans)), "")


def _side(source: bytes, language: Language) -> _Side:
    found = definitions(source, language)
    outer: dict[str, list[tuple[int, int]]] = {}
    for item in found:
        if "." not in item.name:
            outer.setdefault(item.name, []).append((item.span.start_line, item.span.end_line))
    return _Side(_bodies(found, language), outer)


_clean_side = lru_cache(maxsize=8)(_side)
"""Candidates of a file come one after another."""


def _bodies(found: Sequence[Definition], language: Language) -> tuple[_Body, ...]:
    field = syntax_of(language).body_field
    return tuple(
        body
        for item in found
        if item.kind is not EntityKind.CLASS and (body := _body(item, field, language)) is not None
    )


def _body(item: Definition, field: str, language: Language) -> _Body | None:
    """Lines of a body that hold nothing of its header; `None` where there are none (`def f(): return 1`)."""
    node = item.node.child_by_field_name(field)
    if node is None:
        return None
    header_ends = node.prev_sibling.end_point.row + 1 if node.prev_sibling is not None else 0
    first = max(node.start_point.row + 1, header_ends + 1)
    statement = next(iter(node.named_children), None)
    only = statement.named_children if statement is not None else []
    is_text = len(only) == 1 and only[0].type in _TEXTS
    said_until = node.named_children[0].end_point.row + 1 if is_text else 0
    if first > item.span.end_line:
        return None
    generates = _yields(node, syntax_of(language).functions | _FUNCTIONS)
    return _Body(item.name, item.span.start_line, first, item.span.end_line, said_until, generates)


def _yields(node: tree_sitter.Node, functions: frozenset[str]) -> bool:
    """Whether there is a yield in it, functions inside it apart."""
    if node.text is not None and _SPELLED not in node.text:
        return False
    waiting = list(node.children)
    while waiting:
        one = waiting.pop()
        if one.type in _YIELDS and one.is_named:
            return True
        if one.type not in functions:
            waiting += one.children
    return False


def _flipped(before: Sequence[_Body], after: Sequence[_Body]) -> set[str]:
    """Names of functions that are generators in one file and not in the other."""
    found: tuple[dict[str, list[bool]], dict[str, list[bool]]] = ({}, {})
    for side, bodies in zip(found, (before, after), strict=True):
        for body in bodies:
            side.setdefault(body.name, []).append(body.generates)
    return {name for name in {*found[0], *found[1]} if found[0].get(name) != found[1].get(name)}


def _innermost(bodies: Sequence[_Body], line: int) -> _Body | None:
    return max((body for body in bodies if body.holds(line)), key=lambda body: body.first_line, default=None)


@lru_cache(maxsize=8)
def _load_lines(source: bytes, language: Language) -> tuple[tuple[int, int], ...]:
    """The lines in no function, signatures included: a call of a generator is seen in the line of its signature.

    Where nothing but functions is defined, their signatures alone tell of loading.
    """
    bodies, total = _clean_side(source, language).bodies, len(split_lines(source))
    if all(_is_function_or_text(node, language) for node in parse(source, language).root_node.named_children):
        return _outside([(body.first_line, body.last_line) for body in bodies], total)
    return _outside([(body.header_line, body.last_line) for body in bodies], total)


def _is_function_or_text(node: tree_sitter.Node, language: Language) -> bool:
    inside = [one for one in node.named_children if one.type != "comment"]
    last = inside[-1].type if inside else ""
    return (
        node.type in syntax_of(language).functions | {"comment"}
        or last in syntax_of(language).functions
        or (len(inside) == 1 and last in _TEXTS)
    )


def _outside(spans: Sequence[tuple[int, int]], total: int) -> tuple[tuple[int, int], ...]:
    ranges, start = [], 1
    for first, last in sorted(spans):
        if start < first:
            ranges.append((start, first - 1))
        start = max(start, last + 1)
    if start <= total:
        ranges.append((start, total))
    return tuple(ranges)
