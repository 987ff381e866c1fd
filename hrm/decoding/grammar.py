"""Which token may come next, so that a response is a plan and edits that apply; pure, no torch.

A response is a plan's text, then edits: a search block, which is a run of shown lines that occurs exactly once in the
file as it is then, and what it becomes, which is other whole lines. A budget of tokens is kept: a response always
comes to its end.
"""

import codecs
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm.data.example import Window
from hrm.decoding.spans import Shown, edited, shortest_unique, show
from hrm.tokenizer.encoding import Tokenizer
from hrm.tokenizer.merges import FIRST_BYTE
from hrm.tokenizer.special import Special, special_id
from schemas.judge import ProposedEdit

Mask = NDArray[np.bool_]
_MOST_EDITS = 8
_TO_CLOSE = 7
"""Tokens that always suffice to end a replacement: three bytes of a character, two line ends, one end, one spare."""
_SEARCH, _REPLACE, _FILE, _END = (
    special_id(one) for one in (Special.SEARCH, Special.REPLACE, Special.FILE, Special.END)
)


class Part(StrEnum):
    """Which part of a response is being written."""

    PLAN = "plan"
    FILE = "file"
    SEARCH = "search"
    REPLACE = "replace"
    DONE = "done"


class _Run(NamedTuple):
    """A run of lines that the search block may still become."""

    start: int
    unique_end: int
    line: int
    """The line that the next token is of."""
    offset: int
    """Tokens of that line that are written."""


class Vocabulary:
    """What the grammar has to know of a tokenizer; made once, used for many responses."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.size = tokenizer.vocab_size
        self.contents = [tokenizer.decode([token]) for token in range(self.size)]
        self.text = np.arange(self.size) >= FIRST_BYTE
        self.starts = np.array([bool(n >= FIRST_BYTE and _goes_on(b"", c)) for n, c in enumerate(self.contents)])
        """Text that may follow a whole character."""
        self.continues = [n for n in range(FIRST_BYTE, self.size) if 0x80 <= self.contents[n][0] < 0xC0]
        """Text that may follow part of a character."""
        self.line_end = int(tokenizer.encode("\n")[0])


class EditGrammar:
    """Follows one response. `allowed` says what may come next, `advance` what came; at the end there are `edits`."""

    def __init__(
        self, vocabulary: Vocabulary, windows: Sequence[Window], files: Mapping[str, str], *, max_tokens: int
    ) -> None:
        """For a prompt that shows windows of files, and a response of at most `max_tokens`.

        Raises:
            ValueError: no edit of shown lines can be written in so many tokens.
        """
        tokenizer = vocabulary.tokenizer
        self._vocabulary = vocabulary
        self._shown = {window.path: show(window, files[window.path], tokenizer=tokenizer) for window in windows}
        self._paths = {path: tuple(tokenizer.encode(path).tolist()) for path in self._shown}
        self._left = max_tokens
        self.part = Part.PLAN
        self.edits: list[ProposedEdit] = []
        self._path = windows[0].path if len(windows) == 1 else ""
        self._written: tuple[int, ...] = ()
        self._runs: list[_Run] = []
        self._chosen: tuple[int, int] = (0, 0)
        self._search, self._text = b"", b""
        opened = self._cost_of_an_edit(self._shown, limit=max_tokens)
        if opened is None:
            raise ValueError(f"no shown line can be searched for and replaced in {max_tokens} tokens")
        self._needs = opened

    def allowed(self) -> Mask:
        """Which tokens may come next, `[vocab_size]`; at least one until the response is done."""
        mask = np.zeros(self._vocabulary.size, dtype=np.bool_)
        match self.part:
            case Part.PLAN:
                mask[self._opening] = True
                if self._left > self._needs:
                    mask |= self._vocabulary.text
            case Part.FILE:
                written, names = len(self._written), self._files_open()
                mask[[name[written] if len(name) > written else _SEARCH for name in names]] = True
            case Part.SEARCH:
                mask[_REPLACE] = any(self._is_whole(run) for run in self._runs)
                mask[[self._next(run) for run in self._runs if self._fits(run)]] = True
            case Part.REPLACE:
                self._allow_text(mask)
        return mask

    def advance(self, token: int) -> None:
        """Go on with a token that is allowed."""
        self._left -= 1
        match self.part:
            case Part.PLAN if token == self._opening:
                self._open()
            case Part.FILE if token == _SEARCH:
                self._path = next(path for path, tokens in self._paths.items() if tokens == self._written)
                self._open_search()
            case Part.FILE:
                self._written += (token,)
            case Part.SEARCH if token == _REPLACE:
                run = next(run for run in self._runs if self._is_whole(run))
                self._chosen = (run.start, run.line)
                self._search = "".join(self._shown[self._path].lines[run.start : run.line]).encode()
                self._text, self.part = b"", Part.REPLACE
            case Part.SEARCH:
                going = [run for run in self._runs if self._fits(run, after=1) and self._next(run) == token]
                self._runs = [self._stepped(run) for run in going]
            case Part.REPLACE if token in (_END, self._opening):
                self._apply()
                if token == _END:
                    self.part = Part.DONE
                else:
                    self._open()
            case Part.REPLACE:
                self._text += self._vocabulary.contents[token]

    @property
    def _opening(self) -> int:
        """The token that opens an edit."""
        return _FILE if len(self._paths) > 1 else _SEARCH

    def _open(self) -> None:
        if self._opening == _FILE:
            self._written, self.part = (), Part.FILE
        else:
            self._open_search()

    def _open_search(self) -> None:
        shown = self._shown[self._path]
        self._runs, self.part = [], Part.SEARCH
        for start in range(len(shown.lines)):
            end = shortest_unique(shown, start)
            if end is not None:
                run = _Run(start, end, start, 0)
                self._runs += [run] if self._cost(shown, run) <= self._left else []

    def _files_open(self) -> list[tuple[int, ...]]:
        """Paths that what is written may still become, in whose files something can be searched for."""
        found = []
        for path, tokens in self._paths.items():
            left = self._left - (len(tokens) - len(self._written)) - 1
            if tokens[: len(self._written)] == self._written and _cost_of_a_block(self._shown[path], limit=left):
                found.append(tokens)
        return found

    def _cost_of_an_edit(self, files: Mapping[str, Shown], *, limit: int) -> int | None:
        """Tokens that suffice for one edit and the end, its opening included; None where `limit` does not."""
        for path, shown in files.items():
            named = 1 + (len(self._paths[path]) + 1 if len(files) > 1 else 0)
            cost = _cost_of_a_block(shown, limit=limit - named)
            if cost:
                return named + cost
        return None

    def _is_whole(self, run: _Run) -> bool:
        return run.line >= run.unique_end and run.offset == 0

    def _fits(self, run: _Run, *, after: int = 0) -> bool:
        """Whether there is a next token, behind which the response can still be ended."""
        shown = self._shown[self._path]
        return run.line < len(shown.lines) and self._cost(shown, run, goes_on=True) <= self._left + after

    def _next(self, run: _Run) -> int:
        return self._shown[self._path].tokens[run.line][run.offset]

    def _stepped(self, run: _Run) -> _Run:
        is_last = run.offset + 1 == len(self._shown[self._path].tokens[run.line])
        return run._replace(line=run.line + 1, offset=0) if is_last else run._replace(offset=run.offset + 1)

    @staticmethod
    def _cost(shown: Shown, run: _Run, *, goes_on: bool = False) -> int:
        """Tokens that suffice to end the response on a run; `goes_on`: with the line that comes next."""
        end = max(run.unique_end, run.line + (1 if goes_on or run.offset else 0))
        return sum(map(len, shown.tokens[run.line : end])) - run.offset + 1 + 1

    def _allow_text(self, mask: Mask) -> None:
        """What may come in a replacement."""
        vocabulary, pending = self._vocabulary, _pending(self._text)
        forced = self._left <= _TO_CLOSE
        if pending:
            follows = [one for one in vocabulary.continues if _goes_on(pending, vocabulary.contents[one])]
            mask[[one for one in follows if len(vocabulary.contents[one]) == 1] if forced else follows] = True
            return
        mask |= False if forced else vocabulary.starts
        if self._closes():
            mask[_END] = True
            if not forced and len(self.edits) + 1 < _MOST_EDITS:
                mask[self._opening] = self._cost_of_an_edit(self._after(), limit=self._left - 1) is not None
        else:
            mask[vocabulary.line_end] = True

    def _closes(self) -> bool:
        """Whether the replacement may end here: it changes something, and whole lines stay whole."""
        whole = not self._text or self._text.endswith(b"\n") or not self._search.endswith(b"\n")
        return whole and self._text != self._search

    def _after(self) -> dict[str, Shown]:
        """The files, should the edit end here."""
        start, end = self._chosen
        tokenizer = self._vocabulary.tokenizer
        changed = edited(
            self._shown[self._path], start=start, end=end, replace=self._text.decode(), tokenizer=tokenizer
        )
        return self._shown | {self._path: changed}

    def _apply(self) -> None:
        self._shown = self._after()
        self.edits.append(ProposedEdit(path=self._path, search=self._search.decode(), replace=self._text.decode()))


def _cost_of_a_block(shown: Shown, *, limit: int) -> int | None:
    """Tokens that suffice to search for some run of shown lines, delete it and end; None where `limit` does not."""
    for start in range(len(shown.lines)):
        end = shortest_unique(shown, start)
        cost = None if end is None else sum(map(len, shown.tokens[start:end])) + 1 + 1
        if cost is not None and cost <= limit:
            return cost
    return None


def _goes_on(pending: bytes, content: bytes) -> bool:
    """Whether bytes behind part of a character are UTF-8, or the beginning of it."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(pending + content)
    except UnicodeDecodeError:
        return False
    return True


def _pending(text: bytes) -> bytes:
    """The bytes at the end that are only part of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoder.decode(text[-4:].lstrip(bytes(range(0x80, 0xC0))) if len(text) > 3 else text)
    return decoder.getstate()[0]
