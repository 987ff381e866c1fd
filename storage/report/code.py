"""Code as a page shows it: lines with runs of colours, and diffs with both sides next to each other.

A line is `[text, runs]`. Runs are one string such as `k3_1f12`: a letter of `_CLASSES` (`_` for none) and a length in
UTF-16 units, as scripts in a browser count; `^` before the letter marks what differs from the other side. Imports
pygments and unidiff, so import it late.
"""

import difflib
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String
from pygments.util import ClassNotFound
from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

Line = list[str]
"""Text and runs."""
MAX_LINE = 1_000
"""Characters of a line that are shown."""
MAX_LINES = 1_500
"""Lines of one file's diff, or of one piece of code, that are shown."""
_MAX_COLOURED = 50_000
"""Longer code is shown without colours: a lexer's time may grow faster than the text."""
_MAX_WORDS = 300
_LEAST_ALIKE = 0.4
"""Below, two lines are two lines, and marking all that differs would mark everything."""
_BEFORE = 3
"""Lines of context before an excerpt's change."""
_WORD = re.compile(r"\w+|\s+|[^\w\s]")
_CLASSES = (
    (Comment, "c"),
    (String.Escape, "e"),
    (String.Interpol, "e"),
    (String, "s"),
    (Number, "m"),
    (Keyword.Constant, "m"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "d"),
    (Name.Builtin, "b"),
    (Name.Exception, "b"),
    (Name.Tag, "k"),
)


class _Run(NamedTuple):
    kind: str
    text: str
    differs: bool = False


def code_lines(text: str, *, path: str, language: str) -> list[Line]:
    """A piece of a file, line by line; what is beyond the limits is left out, with a line that says so."""
    rows = text.removesuffix("\n").split("\n") if text else []
    shown = [_packed(runs) for runs in _coloured(rows[:MAX_LINES], path=path, language=language)]
    return [*shown, [_more(len(rows) - MAX_LINES), ""]] if len(rows) > MAX_LINES else shown


def diff_view(patch: str, *, language: str) -> list[dict[str, Any]]:
    """A git diff by file: `path`, and `hunks` with `at` and `rows`; `[]` for a text that is no diff.

    A diff with a file that has no hunks is `[]`, too: pages show it as it is written.

    A row is `[old number, old line, new number, new line]`; of a line that is on both sides the new line is `None`,
    and the numbers of a side that has no line are `None`.
    """
    try:
        files = PatchSet.from_string(patch)
    except (UnidiffParseError, ValueError):
        return []
    if not all(files):
        return []
    return [
        {"path": one.path, "added": one.added, "removed": one.removed, "hunks": list(_hunks(one, language))}
        for one in files
    ]


def excerpt(patch: str, *, most: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """Lines around a diff's first change, for a picture of it: sign, and runs as letter and text; `[]` for no diff."""
    try:
        first = next(iter(PatchSet.from_string(patch)), None)
    except (UnidiffParseError, ValueError):
        return []
    lines = [one for one in (first[0] if first else ()) if one.line_type in {" ", "-", "+"}]
    change = next((at for at, one in enumerate(lines) if one.line_type != " "), 0)
    shown = lines[max(0, change - _BEFORE) :][:most]
    texts = textwrap.dedent("".join(one.value.removesuffix("\n") + "\n" for one in shown)).split("\n")[: len(shown)]
    coloured = _coloured(texts, path=first.path if first else "", language="")
    return [(one.line_type, [(run.kind, run.text) for run in runs]) for one, runs in zip(shown, coloured, strict=True)]


def _hunks(file: Any, language: str) -> Iterator[dict[str, Any]]:
    left = MAX_LINES
    for hunk in file:
        if left <= 0:
            yield {"at": "The rest of this diff is too long to show.", "rows": []}
            return
        lines = [one for one in hunk if one.line_type in {" ", "-", "+"}][:left]
        left -= len(lines)
        yield {"at": hunk.section_header, "rows": list(_rows(lines, path=file.path, language=language))}


def _rows(lines: Sequence[Any], *, path: str, language: str) -> Iterator[list[Any]]:
    texts = [one.value.removesuffix("\n") for one in lines]
    sides: dict[str, Iterator[list[_Run]]] = {}
    for sign in ("-", "+"):
        own = [text for one, text in zip(lines, texts, strict=True) if one.line_type in {" ", sign}]
        sides[sign] = iter(_coloured(own, path=path, language=language))
    removed: list[tuple[int, list[_Run]]] = []
    added: list[tuple[int, list[_Run]]] = []
    for one in lines:
        if one.line_type == "-":
            if added:
                yield from _changed(removed, added)
                removed, added = [], []
            removed.append((one.source_line_no, next(sides["-"])))
        elif one.line_type == "+":
            added.append((one.target_line_no, next(sides["+"])))
        else:
            yield from _changed(removed, added)
            removed, added = [], []
            next(sides["-"])
            yield [one.source_line_no, _packed(next(sides["+"])), one.target_line_no, None]
    yield from _changed(removed, added)


def _changed(removed: Sequence[tuple[int, list[_Run]]], added: Sequence[tuple[int, list[_Run]]]) -> Iterator[list[Any]]:
    for number in range(max(len(removed), len(added))):
        old = removed[number] if number < len(removed) else None
        new = added[number] if number < len(added) else None
        if old and new:
            old_runs, new_runs = _marked(old[1], new[1])
            yield [old[0], _packed(old_runs), new[0], _packed(new_runs)]
        elif old:
            yield [old[0], _packed(old[1]), None, None]
        elif new:
            yield [None, None, new[0], _packed(new[1])]


def _marked(old: list[_Run], new: list[_Run]) -> tuple[list[_Run], list[_Run]]:
    """Both sides of a changed line with what differs marked, where they are alike enough for that to help."""
    old_words, new_words = (_WORD.findall("".join(run.text for run in side)) for side in (old, new))
    if max(len(old_words), len(new_words)) > _MAX_WORDS:
        return old, new
    matcher = difflib.SequenceMatcher(None, old_words, new_words, autojunk=False)
    if matcher.ratio() < _LEAST_ALIKE:
        return old, new
    steps = [step for step in matcher.get_opcodes() if step[0] != "equal"]
    return (
        _split(old, [(_length(old_words[: step[1]]), _length(old_words[: step[2]])) for step in steps]),
        _split(new, [(_length(new_words[: step[3]]), _length(new_words[: step[4]])) for step in steps]),
    )


def _length(words: Sequence[str]) -> int:
    return sum(map(len, words))


def _split(runs: Sequence[_Run], ranges: Sequence[tuple[int, int]]) -> list[_Run]:
    """Runs cut at the ends of ranges of characters, those inside marked."""
    result, at = [], 0
    for run in runs:
        end = at + len(run.text)
        cuts = sorted({at, end, *(cut for pair in ranges for cut in pair if at < cut < end)})
        for start, stop in pairwise(cuts):
            inside = any(low <= start and stop <= high for low, high in ranges)
            result.append(_Run(run.kind, run.text[start - at : stop - at], inside))
        at = end
    return result


def _coloured(rows: Sequence[str], *, path: str, language: str) -> list[list[_Run]]:
    """Lines as runs, cut where they are too long."""
    shown = [row if len(row) <= MAX_LINE else row[:MAX_LINE] for row in rows]
    text = "\n".join(shown)
    lexer = _lexer(path, language) if len(text) <= _MAX_COLOURED else TextLexer()
    lines: list[list[_Run]] = [[]]
    for _, token, value in lexer.get_tokens_unprocessed(text):
        kind = _kind(token)
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if part:
                lines[-1].append(_Run(kind, part))
    for line, row in zip(lines, rows, strict=False):
        if len(row) > MAX_LINE:
            line.append(_Run("x", f" … {len(row) - MAX_LINE:,} more characters"))
    return lines[: len(rows)]


def _packed(runs: Sequence[_Run]) -> Line:
    text, told, pending, size = "", "", "", 0
    for run in runs:
        name = f"{'^' if run.differs else ''}{run.kind}"
        if name != pending and size:
            told += f"{pending}{size}"
            size = 0
        pending = name
        size += len(run.text) if run.text.isascii() else len(run.text.encode("utf-16-le")) // 2
        text += run.text
    return [text, "" if not told and pending in {"", "_"} else f"{told}{pending}{size}"]


def _more(lines: int) -> str:
    return f"… {lines:,} more lines"


@lru_cache(maxsize=1024)
def _kind(token: Any) -> str:
    return next((letter for family, letter in _CLASSES if token in family), "_")


@lru_cache(maxsize=256)
def _lexer(path: str, language: str) -> Lexer:
    with suppress(ClassNotFound):
        return get_lexer_for_filename(path)
    with suppress(ClassNotFound):
        return get_lexer_by_name(language)
    return TextLexer()
