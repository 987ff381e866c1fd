"""Guesses at the line to edit that need no training: any line, or any line that a small bug could be on."""

import re
from collections.abc import Collection, Sequence

_QUOTED = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|`[^`]*`")
_COMMENT = re.compile(r"(?:#|//).*$")
_SITE = re.compile(
    r"""
    [-+*/%<>&|^~] | [=!]=            # operators that can be another one
    | (?<![\w.])\d                   # a number
    | \b(?:and|or|not|in|is|if|elif|else|for|while|with|try|except|catch|finally|switch|case|match
        |return|yield|raise|throw|break|continue|True|False|None|true|false|null|nil)\b
    | (?<![=!<>:+\-*/%&|^])=(?!=)    # an assignment
    | [!?]                           # a negation, a conditional expression
    """,
    re.VERBOSE,
)
_HEADER = re.compile(r"^\s*(?:import|from|package|using|use|\#include|@|def|class|func|fn)\b")


def mutable_sites(lines: Sequence[str]) -> tuple[int, ...]:
    """Positions, from 0, of the lines that have something which a procedural bug would change.

    Told from each line alone, in any of the six languages: an operator, a number, a word of control flow, an
    assignment, outside of texts and comments; lines that import or open a definition have none.
    """
    return tuple(number for number, line in enumerate(lines) if _is_site(line))


def _is_site(line: str) -> bool:
    code = _COMMENT.sub("", _QUOTED.sub('""', line))
    return not _HEADER.match(code) and _SITE.search(code) is not None


def found_within(k: int, candidates: Collection[int], target: int) -> float:
    """The chance that `target` is among the first `k` of the candidates in random order."""
    return min(1.0, k / len(candidates)) if target in candidates else 0.0
