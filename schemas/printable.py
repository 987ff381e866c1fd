"""Text of strangers (logs, names, messages of servers) as it may be shown: what would steer a terminal is spelt out."""

import re

STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but tab and newline
    "\u2028\u2029\u202a-\u202e\u2066-\u2069"  # separators of lines, and marks that turn the direction of text
    "\ud800-\udfff]"  # bytes that were no UTF-8
)


def printable(text: str) -> str:
    r"""The text with every character that steers what shows it in the form `\x1b`; lines and tabs stay."""
    return STEERING.sub(_spelt, text.replace("\r\n", "\n"))


def _spelt(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode()
