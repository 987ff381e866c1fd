"""Read what pytest and unittest say about a failed assertion: the values compared, and how they differ."""

import re
from typing import NamedTuple

from synthesis.issues.names import parse_expression

ELLIPSIS = "..."
EXTRA = "extra"
OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "is not", "is", "not in", "in")
_AT_INDEX = re.compile(r"At index (\d+) diff: (.+) != (.+)\Z")
_EXTRA = re.compile(r"(Left|Right) contains (?:one|\d+) more items?, first extra item: (.+)\Z")
_RAISED = re.compile(r"DID NOT (RAISE|WARN)(.*)", re.DOTALL)
_CLASS = re.compile(r"<class '(?:[\w.]+\.)?(\w+)'>|\b([A-Za-z_]\w*)\b")
_PATTERN = re.compile(r"Expected regex: (?P<pattern>.+)\n\s*Actual message: (?P<message>.+)", re.DOTALL)


class Compared(NamedTuple):
    """The two sides of a failed comparison, as the runner printed them."""

    left: str
    right: str


class Difference(NamedTuple):
    """One place where two long values differ."""

    where: str
    """`at index 3`, `in one line`; `EXTRA` for something that one side lacks; empty for the values as a whole."""
    left: str
    right: str
    """Empty, like `left`, where only the other side has something there."""


def compared(message: str, operator: str) -> Compared | None:
    """The values in `assert LEFT == RIGHT` (or unittest's `LEFT != RIGHT`); `None` where they cannot be told apart."""
    line = headline(message)
    if line is None:
        return None
    return _split(line, operator)


def headline(message: str) -> str | None:
    """What stands after `assert` in the runner's first line; `None` where assertions are not explained."""
    for line in message.split("\n"):
        if line.startswith("assert "):
            return line.removeprefix("assert ").strip()
    return None


def unittest_compared(message: str, operator: str) -> Compared | None:
    """The values in the first line of a message of `unittest.TestCase`."""
    return _split(message.split("\n", 1)[0], operator)


def difference(message: str) -> Difference | None:
    """The first difference that pytest points out, unshortened; `None` where it points out none."""
    lines = [line.strip() for line in message.split("\n")]
    for line in lines:
        if match := _AT_INDEX.match(line):
            if ELLIPSIS not in line:
                return Difference(f"at index {match[1]}", match[2], match[3])
            return None
        if match := _EXTRA.match(line):
            extra = match[2]
            left_has_it = match[1] == "Left"
            return Difference(EXTRA, extra if left_has_it else "", "" if left_has_it else extra)
    return _line_difference(message)


def shortened(value: str) -> bool:
    """Whether the runner cut the middle out of a value."""
    return ELLIPSIS in value.replace("0x...", "")


def not_raised(message: str) -> str | None:
    """The exception that was expected and did not come, by its class name; `None` where that is not what happened."""
    match = _RAISED.search(message)
    if match is None:
        return None
    names = [first or second for first, second in _CLASS.findall(match[2].split("\n", 1)[0])]
    names = [name for name in names if name not in {"any", "of", "type", "were", "triggered", "class"}]
    return " or ".join(dict.fromkeys(names)) or "an exception"


def mismatched_message(message: str) -> Compared | None:
    """The message that was raised and the pattern that it had to match."""
    match = _PATTERN.search(message)
    if match is None:
        return None
    return Compared(_unquoted(match["message"].strip()), _unquoted(match["pattern"].strip()))


def evaluated_call(message: str, value: str, function: str) -> str | None:
    """The call in pytest's `where VALUE = CALL`, with its arguments as printed; `None` where they are no Python."""
    for line in message.split("\n"):
        text = line.strip().removeprefix("+").strip()
        if text.startswith(f"where {value} = {function}("):
            call = text.removeprefix(f"where {value} = ")
            if ELLIPSIS not in call and parse_expression(call) is not None:
                return call
    return None


def _split(line: str, operator: str) -> Compared | None:
    mark = f" {operator} "
    positions = [index for index in range(len(line)) if line.startswith(mark, index)]
    whole = [Compared(line[:index].strip(), line[index + len(mark) :].strip()) for index in positions]
    if len(whole) == 1:
        return whole[0]
    parsed = [sides for sides in whole if all(parse_expression(side) is not None for side in sides)]
    return parsed[0] if len(parsed) == 1 else None


def _line_difference(message: str) -> Difference | None:
    """The only line in which two texts differ, from pytest's listing (`-` expected, `+` found)."""
    lines = [line[2:] for line in message.split("\n")[1:] if line.startswith("  ")]
    found = [line[2:] for line in lines if line.startswith("+ ")]
    expected = [line[2:] for line in lines if line.startswith("- ")]
    if len(found) != 1 or len(expected) != 1 or ELLIPSIS in found[0] + expected[0]:
        return None
    is_whole = not any(line.startswith("  ") for line in lines)
    return Difference("" if is_whole else "in one line", repr(found[0]), repr(expected[0]))


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
