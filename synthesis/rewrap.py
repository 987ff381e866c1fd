"""Change tokens inside of one logical line and keep the spacing, comments and line breaks around them."""

from difflib import SequenceMatcher
from typing import NamedTuple

from synthesis.lexing import Token
from synthesis.source import LogicalLine, SourceText


class _Placed(NamedTuple):
    """A token of the result."""

    text: str
    old: int
    """The token of the original that it is, or whose place it takes; -1 for neither."""
    new: int
    """Its position in the rewrite."""


def rewrap(source: SourceText, old: LogicalLine, rewritten: SourceText, new: LogicalLine, *, indent: str) -> str:
    """The physical text of `old`, from the start of its first row to its last line end, with the tokens of `new`.

    `indent` goes in front of continuation rows that come from the rewrite.
    """
    placed = _place(source, old, rewritten, new)
    start = old.tokens[0]
    pieces = [source.rows[start.row][: start.column]]
    for above, item in zip([None, *placed], placed, strict=False):
        if above is not None:
            pieces.append(_gap(source, old, rewritten, new, above, item, indent=indent))
        pieces.append(item.text)
    last = old.tokens[-1]
    pieces.extend((source.rows[last.end_row][last.end_column :], source.ends[last.end_row]))
    return "".join(pieces)


def _place(source: SourceText, old: LogicalLine, rewritten: SourceText, new: LogicalLine) -> list[_Placed]:
    placed: list[_Placed] = []
    for tag, old_start, old_end, new_start, new_end in _opcodes(old.texts, new.texts):
        if tag == "delete":
            _slide(source, old, rewritten, new, placed, old_start, old_end)
        in_place = tag == "replace" and (old_end - old_start, new_end - new_start) == (1, 1)
        for position in range(new_start, new_end):
            index = old_start + position - new_start
            text = new.tokens[position].text
            if tag == "equal":
                placed.append(_Placed(_exact(source, old.tokens[index]), index, position))
            elif in_place and _is_word(text) == _is_word(old.tokens[index].text):
                placed.append(_Placed(text, index, position))
            else:
                placed.append(_Placed(text.replace("\n", source.newline), -1, position))
    return placed


def _slide(
    source: SourceText,
    old: LogicalLine,
    rewritten: SourceText,
    new: LogicalLine,
    placed: list[_Placed],
    start: int,
    end: int,
) -> None:
    """Move a cut up the line where that keeps the rewrite's spacing: of `a * b*2` without `b`, `a*2` and not `a *2`.

    `start..end` of the old tokens was cut out just behind the last of `placed`, which is changed in place.
    """
    best, steps = 0, 0
    while len(placed) > steps + 1:
        steps += 1
        item, above = placed[-steps], placed[-steps - 1]
        twin = end - steps
        if item.old != start - steps or old.tokens[twin].text != item.text or above.old != item.old - 1:
            break
        wanted = _between(rewritten, new.tokens[above.new], new.tokens[item.new])
        here = _between(source, old.tokens[above.old], old.tokens[item.old])
        if here != wanted and _between(source, old.tokens[twin - 1], old.tokens[twin]) == wanted:
            best = steps
    for step in range(1, best + 1):
        placed[-step] = placed[-step]._replace(old=end - step)


def _opcodes(old: tuple[str, ...], new: tuple[str, ...]) -> list[tuple[str, int, int, int, int]]:
    """As of `SequenceMatcher`, with the common beginning and end taken out first."""
    limit = min(len(old), len(new))
    start = next((index for index in range(limit) if old[index] != new[index]), limit)
    rest = limit - start
    end = next((index for index in range(rest) if old[-1 - index] != new[-1 - index]), rest)
    middle = SequenceMatcher(None, old[start : len(old) - end], new[start : len(new) - end], autojunk=False)
    codes = [("equal", 0, start, 0, start)]
    codes.extend((tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in middle.get_opcodes())
    codes.append(("equal", len(old) - end, len(old), len(new) - end, len(new)))
    return codes


def _gap(
    source: SourceText,
    old: LogicalLine,
    rewritten: SourceText,
    new: LogicalLine,
    above: _Placed,
    item: _Placed,
    *,
    indent: str,
) -> str:
    """What stands between two neighbours of the result."""
    wanted = _between(rewritten, new.tokens[above.new], new.tokens[item.new])
    if above.old < 0 or item.old <= above.old:
        return wanted.replace("\n", source.newline + indent)
    gaps = [_between(source, old.tokens[index], old.tokens[index + 1]) for index in range(above.old, item.old)]
    commented = [gap for gap in gaps if "#" in gap]
    if commented:
        return "".join(commented)
    # Tokens were cut out: of the gaps on both sides, the one that the rewrite kept.
    same = [gap for gap in (gaps[0], gaps[-1]) if gap == wanted or ("\n" in wanted and source.newline in gap)]
    return same[0] if same else gaps[0]


def _between(text: SourceText, left: Token, right: Token) -> str:
    return text.between((left.end_row, left.end_column), (right.row, right.column))


def _exact(source: SourceText, token: Token) -> str:
    return source.between((token.row, token.column), (token.end_row, token.end_column))


def _is_word(text: str) -> bool:
    return text[0].isalnum() or text[0] in "_\"'"
