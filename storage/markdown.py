"""Text of repositories in Markdown: shown as it is, whatever it says; nothing in it is a link, a picture or HTML."""

import re
from collections.abc import Sequence

_MARKS = re.compile(r"[\\`*_\[\]<>&!|~:@#$^={}]|(?<=\bwww)\.", re.IGNORECASE)
"""What Markdown and its dialects read in a line: also bare addresses, names of people and formulas."""


class Markdown(str):
    """Text that is Markdown on purpose."""

    __slots__ = ()


def plain(text: str) -> Markdown:
    """Text in one line, for any place inside a paragraph, a heading or a cell of a table."""
    return Markdown(_MARKS.sub(r"\\\g<0>", _seen(" ".join(text.split()))))


def fenced(text: str, language: str) -> Markdown:
    """Text as a block of code."""
    shown = "\n".join(_seen(line) for line in text.splitlines())
    fence = "```"
    while fence in shown:
        fence += "`"
    return Markdown(f"{fence}{language}\n{shown}\n{fence}")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markdown:
    """A table; cells that are no `Markdown` are shown as they are."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(one) for one in row)} |" for row in rows]
    return Markdown("\n".join(lines))


def _cell(value: object) -> str:
    if isinstance(value, Markdown):
        return value
    return f"{value:,}" if isinstance(value, int) else plain(str(value))


def _seen(line: str) -> str:
    """With the numbers of characters that cannot be seen, or that turn the direction of others round."""
    return "".join(one if one.isprintable() or one == "\t" else f"U+{ord(one):04X}" for one in line)
