"""What one failing test does and sees, as source and printed values."""

import ast
from enum import StrEnum
from typing import NamedTuple

from synthesis.issues.slicing import OUTPUT_FIXTURES, reproduce
from synthesis.issues.test_code import Located, ParsedTest

MAX_VALUE_CHARS = 300
MAX_SNIPPET_LINES = 24
MAX_SNIPPET_CHARS = 1400


class Sort(StrEnum):
    """What went wrong; the value orders nothing, `Observation.rank` does."""

    WRONG_VALUE = "wrong_value"
    """One side of a comparison is what should come out."""
    UNEQUAL = "unequal"
    """Two computed sides should agree."""
    FALSE = "false"
    """Something should hold and does not."""
    RAISES = "raises"
    """An error that should not come."""
    NOT_RAISED = "not_raised"
    """An error that should come and does not."""
    WRONG_MESSAGE = "wrong_message"
    """The right error with another message."""
    IMPORT = "import"
    """The package cannot be imported."""
    DIES = "dies"
    """The process ends or hangs."""


class Observation(NamedTuple):
    """What one failing test does and sees, as source and printed values."""

    sort: Sort
    rank: int
    """How much it says, from 0 (most) on."""
    code: str = ""
    """The expression or statements that go wrong; last line of `snippet` where there is one."""
    snippet: str = ""
    """Code with everything that leads to `code`; empty where `code` stands for itself."""
    actual: str = ""
    expected: str = ""
    other: str = ""
    """The second expression of two that should agree."""
    where: str = ""
    """Place inside long values that `actual` and `expected` speak of; empty for whole values."""
    error: str = ""
    """Class name of the exception; `expected` is then the one that should come, if any."""
    message: str = ""
    in_loop: bool = False


def with_code(
    seen: Observation, test: ParsedTest, located: Located, final: ast.AST, *, evaluated: str | None = None
) -> Observation | None:
    """Add the code that goes wrong, and what leads to it where it does not stand for itself.

    `evaluated` is the same call as the runner printed it, values in place of names; it serves where the code needs
    what is not known here.
    """
    found = reproduce(test, located, final)
    if not found.code:
        return None
    unknown = (found.names & _unknown_names(test)) - OUTPUT_FIXTURES or any(name.isupper() for name in found.names)
    if evaluated is not None and (unknown or found.snippet):
        return seen._replace(code=evaluated)
    if not fits(found.snippet):
        return seen._replace(code=found.code, rank=seen.rank + 4) if fits(found.code) else None
    rank = seen.rank + (1 if unknown else 0)
    return seen._replace(code=found.code, snippet=found.snippet, rank=rank, in_loop=located.in_loop)


def _unknown_names(test: ParsedTest) -> frozenset[str]:
    """Parameters whose values are not known: fixtures, and cases that are not written out."""
    arguments = test.function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    return frozenset(names - set(test.values) - {"self"})


def fits(snippet: str) -> bool:
    return len(snippet) <= MAX_SNIPPET_CHARS and snippet.count("\n") < MAX_SNIPPET_LINES


def cut(value: str) -> str:
    """A value of bounded length."""
    return value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS] + "…"
