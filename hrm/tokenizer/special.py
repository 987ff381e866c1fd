"""The tokens that stand for structure and never come from text; they are the first of the vocabulary."""

from enum import StrEnum

from schemas.repo import Language


class Special(StrEnum):
    """What a token that no text can contain stands for."""

    PAD = "<|pad|>"
    """Fills a batch; never part of an example."""
    END = "<|end|>"
    """Ends a response."""
    MASK = "<|mask|>"
    """A cell that is to be filled in."""
    ISSUE = "<|issue|>"
    """The issue's text follows."""
    FILE = "<|file|>"
    """A path, a language and lines of code follow."""
    PLAN = "<|plan|>"
    """The plan follows: the response begins."""
    SEARCH = "<|search|>"
    """Lines that are in the file exactly once follow."""
    REPLACE = "<|replace|>"
    """What these lines become follows."""


MAX_LINES = 256
"""Lines that can be numbered in an example, each by one token."""
_SPARES = 18
_FAMILIES = {
    Language.PYTHON: "python",
    Language.JAVASCRIPT: "javascript",
    Language.TYPESCRIPT: "javascript",
    Language.GO: "go",
    Language.RUST: "rust",
    Language.JAVA: "java",
    Language.CPP: "cpp",
    Language.C: "cpp",
}
FAMILIES = tuple(dict.fromkeys(_FAMILIES.values()))
"""Six families of languages; those in a family have most of their syntax in common."""

SPELLINGS = (
    *Special,
    *(f"<|{family}|>" for family in FAMILIES),
    *(f"<|line {number}|>" for number in range(MAX_LINES)),
    *(f"<|spare {number}|>" for number in range(_SPARES)),
)
"""How each is written when tokens are shown; its position is its id."""
_FIRST_LINE = len(Special) + len(FAMILIES)
_IDS = {spelling: number for number, spelling in enumerate(SPELLINGS)}


def special_id(token: Special) -> int:
    """The id of a structural token."""
    return _IDS[token]


def language_id(language: Language) -> int:
    """The id of the token for a language's family."""
    return _IDS[f"<|{_FAMILIES[language]}|>"]


def line_id(number: int) -> int:
    """The id of the token that numbers a line, from 0.

    Raises:
        IndexError: there is no token for it.
    """
    if not 0 <= number < MAX_LINES:
        raise IndexError(f"line {number} has no token, there are {MAX_LINES}")
    return _FIRST_LINE + number


def line_number(token: int) -> int | None:
    """The line that a token numbers; None where it is another token."""
    return token - _FIRST_LINE if _FIRST_LINE <= token < _FIRST_LINE + MAX_LINES else None
