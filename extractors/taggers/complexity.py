"""How hard a task is: measures of the functions that its fix touches, and one score from them."""

from typing import NamedTuple

from extractors.facts import TaskFacts
from extractors.hunks import Region, changed_regions, split_lines
from extractors.index import RepoIndex
from extractors.syntax import Definition, definitions, language_of, parse
from extractors.taggers.measures import Measures, measure
from schemas.code import EntityKind
from schemas.repo import Language
from schemas.tasks import Complexity

VERSION = "1"
UNKNOWN_DISTANCE = 2
"""The score of a task without a call path is that of a task at this distance: neither near nor far."""


class _Part(NamedTuple):
    weight: float
    half: float
    """The value, above the smallest one, that gives half of the weight."""
    least: int


PARTS = {
    "cyclomatic": _Part(weight=0.20, half=5, least=1),
    "cognitive": _Part(weight=0.25, half=8, least=0),
    "nesting": _Part(weight=0.10, half=2, least=0),
    "lines": _Part(weight=0.10, half=30, least=0),
    "changed_lines": _Part(weight=0.15, half=4, least=0),
    "files": _Part(weight=0.05, half=1, least=1),
    "functions": _Part(weight=0.05, half=1, least=1),
    "call_distance": _Part(weight=0.10, half=2, least=0),
}
"""The formula of the score, as `docs/tags.md` states it; the weights sum to 1."""


class Touched(NamedTuple):
    """What a fix touches in the clean file."""

    functions: tuple[Definition, ...]
    """The innermost functions and methods around its changed lines, in source order."""
    around: tuple[Definition, ...]
    """Where no function is touched: the classes around the changed lines; empty for changes at module level."""


def score(
    *,
    cyclomatic: int,
    cognitive: int,
    nesting: int,
    lines: int,
    changed_lines: int,
    files: int,
    functions: int,
    call_distance: int | None,
) -> float:
    """One number in 0..1 that never falls when a part grows; four decimals."""
    values = {
        "cyclomatic": cyclomatic,
        "cognitive": cognitive,
        "nesting": nesting,
        "lines": lines,
        "changed_lines": changed_lines,
        "files": files,
        "functions": functions,
        "call_distance": UNKNOWN_DISTANCE if call_distance is None else call_distance,
    }
    total = 0.0
    for name, part in PARTS.items():
        above = max(0, values[name] - part.least)
        total += part.weight * above / (above + part.half)
    return round(min(1.0, total), 4)


def tag_complexity(facts: TaskFacts, index: RepoIndex) -> Complexity:
    """Measure the clean code that a fix touches.

    Raises:
        LookupError: the changed file is of no language that can be parsed.
        ValueError: the fix is no diff of one file.
    """
    path = facts.candidate.entity.path
    language = language_of(path)
    if language is None:
        raise LookupError(f"{path} is of no language in extractors.syntax.LANGUAGES, so it cannot be tagged")
    regions = changed_regions(facts.fix_patch)
    touched = touched_definitions(facts, regions, language)
    measured = _measure(touched, facts.clean, language)
    symbols = sorted({item.name for item in touched.functions or touched.around})
    parts = {
        "cyclomatic": max(item.cyclomatic for item in measured),
        "cognitive": max(item.cognitive for item in measured),
        "nesting": max(item.nesting for item in measured),
        "lines": _lines(touched, facts.clean, regions),
        "changed_lines": sum(max(item.old_end - item.old_start, item.new_end - item.new_start) for item in regions),
        "files": 1,
        "functions": len({item.name for item in touched.functions}),
    }
    call_distance = index.call_distance(facts.fail_to_pass, path, symbols)
    return Complexity(score=score(**parts, call_distance=call_distance), **parts, call_distance=call_distance)


def touched_definitions(facts: TaskFacts, regions: tuple[Region, ...], language: Language) -> Touched:
    """The clean file's definitions that a fix touches; a line that it removes counts for the function it stood in."""
    clean = definitions(facts.clean, language)
    bugged = definitions(facts.bugged, language)
    new_text, old_text = split_lines(facts.clean), split_lines(facts.bugged)
    places: list[Definition | None] = []
    for region in regions:
        new = [line for line in range(region.new_start, region.new_end) if new_text[line].strip()]
        old = [line for line in range(region.old_start, region.old_end) if old_text[line].strip()]
        places.extend(_innermost(clean, line + 1) for line in new)
        # By name, for lines differ between the two: the nearest enclosing name that the clean file has.
        places.extend(_same_name(clean, _innermost(bugged, line + 1)) for line in old)
    found = dict.fromkeys(item for item in places if item is not None)
    functions = [item for item in found if item.kind is not EntityKind.CLASS]
    classes = [item for item in found if item.kind is EntityKind.CLASS]
    ordered = sorted(functions or classes, key=lambda item: item.span.start_byte)
    return Touched(tuple(ordered) if functions else (), () if functions else tuple(ordered))


def _measure(touched: Touched, clean: bytes, language: Language) -> list[Measures]:
    nodes = [item.node for item in touched.functions or touched.around]
    return [measure(node, language) for node in nodes or [parse(clean, language).root_node]]


def _lines(touched: Touched, clean: bytes, regions: tuple[Region, ...]) -> int:
    """Lines of the touched functions that are not blank; outside functions, of the fix alone."""
    text = split_lines(clean)
    numbers: set[int] = set()
    for item in touched.functions:
        numbers.update(range(item.span.start_line - 1, item.span.end_line))
    if not touched.functions:
        for region in regions:
            numbers.update(range(region.new_start, region.new_end))
    return sum(1 for number in numbers if text[number].strip())


def _innermost(found: tuple[Definition, ...], line: int) -> Definition | None:
    around = [item for item in found if item.span.start_line <= line <= item.span.end_line]
    return max(around, key=lambda item: (item.span.start_byte, -item.span.end_byte), default=None)


def _same_name(clean: tuple[Definition, ...], item: Definition | None) -> Definition | None:
    name = item.name if item is not None else ""
    while name:
        for candidate in reversed(clean):
            if candidate.name == name:
                return candidate
        name = name.rpartition(".")[0]
    return None
