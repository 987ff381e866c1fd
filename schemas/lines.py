"""Tests by line: a large suite has tens of millions of such numbers, and few sets of them that differ."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import NonNegativeInt, PlainSerializer, PlainValidator, TypeAdapter

Numbers = tuple[int, ...]

_SETS = TypeAdapter(tuple[Numbers, ...])
_LINES = TypeAdapter(dict[str, dict[int, Any]])
_WRITTEN = TypeAdapter(tuple[tuple[Numbers, ...], dict[str, dict[int, NonNegativeInt]]])


class LineNumbers:
    """Numbers by path and line, part by part. Memory is linear in the parts that differ."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, dict[frozenset[int], None]]] = {}
        self._known: dict[frozenset[int], frozenset[int]] = {}

    def add(self, path: str, line: int, numbers: frozenset[int]) -> None:
        shared = self._known.setdefault(numbers, numbers)
        self._parts.setdefault(path, {}).setdefault(line, {})[shared] = None

    def joined(self) -> dict[str, dict[int, Numbers]]:
        """All numbers of each line, sorted, as are paths and lines; equal ones of equal parts are one object."""
        whole: dict[tuple[frozenset[int], ...], Numbers] = {}

        def join(parts: tuple[frozenset[int], ...]) -> Numbers:
            if parts not in whole:
                whole[parts] = tuple(sorted(frozenset().union(*parts)))
            return whole[parts]

        return {
            path: {line: join(tuple(parts)) for line, parts in sorted(by_line.items())}
            for path, by_line in sorted(self._parts.items())
        }


def _read(value: object) -> dict[str, dict[int, Numbers]]:
    if isinstance(value, list):
        sets, places = _WRITTEN.validate_python(value)
        if any(number >= len(sets) for by_line in places.values() for number in by_line.values()):
            raise ValueError("a set that is not among those that are listed")
        return {path: {line: sets[number] for line, number in found.items()} for path, found in places.items()}
    known: dict[Numbers, Numbers] = {}

    def shared(numbers: object) -> Numbers:
        if not isinstance(numbers, tuple | list):
            raise TypeError(f"numbers of tests are no {type(numbers).__name__}")
        found = tuple(numbers)
        return known.setdefault(found, found)

    lines = _LINES.validate_python(value)
    try:
        found = {path: {line: shared(one) for line, one in by_line.items()} for path, by_line in lines.items()}
    except TypeError as error:
        raise ValueError(str(error)) from error
    _SETS.validate_python(tuple(known), strict=True)
    return found


def _write(lines: Mapping[str, Mapping[int, Numbers]]) -> list[Any]:
    position: dict[Numbers, int] = {}
    places = {
        path: {line: position.setdefault(numbers, len(position)) for line, numbers in by_line.items()}
        for path, by_line in lines.items()
    }
    return [list(position), places]


NumbersByLine = Annotated[
    Mapping[str, Mapping[int, Numbers]], PlainValidator(_read), PlainSerializer(_write, when_used="json")
]
"""Path to line to numbers. Equal ones are one object; in JSON a list of all that differ, and path to line to a position
in it."""
