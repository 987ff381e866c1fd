"""What issue writers are given, and what one must offer."""

from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import NamedTuple, Protocol

from schemas.code import Candidate
from schemas.errors import GymforgeError
from schemas.reports import TestFailure
from schemas.tasks import Issue

MAX_TEXT_CHARS = 4000
"""Longest text that a writer may return."""


class IssueLeaks(GymforgeError, ValueError):
    """No style could write a text that keeps its promise: it would leak, or another task has it already."""


class Reveal(StrEnum):
    """What a style may tell the reader; the list is closed, and the leak check holds a text to it."""

    FILES = "files"
    """Paths of the files that the fix changes."""
    FUNCTIONS = "functions"
    """Names of the functions, methods or classes that the fix changes."""
    TESTS = "tests"
    """Ids of failing tests."""
    BUG_KIND = "bug_kind"
    """What sort of mistake was made."""
    BEHAVIOUR = "behaviour"
    """What the failing tests do and see: calls, inputs, results, errors; not their names."""


class IssueContext(NamedTuple):
    """One accepted candidate, as a writer sees it."""

    candidate: Candidate
    fix_patch: str
    """git diff from the task's tree to the clean tree."""
    fail_to_pass: tuple[str, ...]
    """Ids of the failing tests, sorted."""
    failures: Mapping[str, TestFailure]
    """Why they fail, by test id; a module that did not load is keyed by its path."""
    test_sources: Mapping[str, str]
    """Source of the test function by test id, decorators included; tests without a known source are left out."""
    detail: int = 0
    """How many further particulars a text must bring; raised while another task has the same text."""

    def failure_of(self, test: str) -> TestFailure | None:
        """Why a test fails: its own report, or its module's."""
        return self.failures.get(test) or self.failures.get(test.split("::", 1)[0])


class IssueWriter(Protocol):
    """One style. A writer that asks a language model fits here too: it is handed a context and a generator."""

    style: str
    """Name of the style, as in the table."""
    reveals: tuple[Reveal, ...]
    """What its texts may reveal."""

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """The text, or `None` where this style has nothing true to say about this candidate.

        Deterministic in `context` and `rng`. It need not be free of leaks: `write_issue` checks.
        """
        ...


def make_issue(writer: IssueWriter, text: str) -> Issue:
    """An issue in a writer's name."""
    return Issue(text=text, style=writer.style, reveals=tuple(writer.reveals))


def quoted(value: str) -> str:
    """A piece of code or a value inside a sentence, as Markdown."""
    value = " ".join(value.split("\n")) or "''"
    fence = "``" if "`" in value else "`"
    pad = " " if value.startswith("`") or value.endswith("`") else ""
    return f"{fence}{pad}{value}{pad}{fence}"


def bulleted(lines: tuple[str, ...], *, limit_chars: int = 1500, noun: str) -> str:
    """A Markdown list, cut to a length that leaves room for a text around it, with the number left out."""
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line) + 5
        if kept and size > limit_chars:
            break
        kept.append(f"- {quoted(line if len(line) <= limit_chars else line[:limit_chars] + '…')}")
    left_out = len(lines) - len(kept)
    if left_out:
        kept.append(f"- and {left_out} more {noun}{'s' if left_out > 1 else ''}")
    return "\n".join(kept)
