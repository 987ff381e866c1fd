"""Cut Python text into statements of tokens, and cut a new version of a text by looking only at what changed."""

import io
import tokenize
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_LAYOUT = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)
# Python 3.12 cuts f-strings (3.14: template strings) into pieces; one token a string makes all versions agree.
_OPENERS = frozenset(getattr(tokenize, name, None) for name in ("FSTRING_START", "TSTRING_START")) - {None}
_CLOSERS = frozenset(getattr(tokenize, name, None) for name in ("FSTRING_END", "TSTRING_END")) - {None}


class LexingError(ValueError):
    """Text that Python's own tokenizer does not take."""


class Token(NamedTuple):
    """A token that means something to the parser. Rows count from 0, columns in characters."""

    text: str
    """With LF line ends inside."""
    row: int
    column: int
    end_row: int
    end_column: int

    @property
    def inner_rows(self) -> range:
        """Rows that begin inside of it: those of a string over several rows."""
        return range(self.row + 1, self.end_row + 1)


class Statement(NamedTuple):
    """The tokens of one simple statement line, or of one header of a compound statement."""

    tokens: tuple[Token, ...]
    depth: int
    """Number of indented blocks around it."""
    texts: tuple[str, ...]
    """Of all tokens."""

    @property
    def row(self) -> int:
        return self.tokens[0].row

    def moved(self, rows: int) -> "Statement":
        """The same some rows further down."""
        if not rows:
            return self
        tokens = tuple([Token(text, a + rows, b, c + rows, d) for text, a, b, c, d in self.tokens])
        return Statement(tokens, self.depth, self.texts)


def tokens_of(text: str) -> Iterator[tokenize.TokenInfo]:
    """Python's tokens, comments and layout included, each f-string as one.

    Raises:
        LexingError: the tokenizer does not take the text.
    """
    opened: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="\n").readline):
            if token.type in _OPENERS:
                opened.append(token)
            elif token.type in _CLOSERS:
                start = opened.pop()
                if not opened:
                    yield token._replace(type=tokenize.STRING, start=start.start)
            elif not opened:
                yield token
    except (tokenize.TokenError, SyntaxError) as error:
        raise LexingError(str(error)) from error


def lex(rows: Sequence[str], text: str) -> list[Statement]:
    """All statements of a text, top to bottom; `rows` is the text without line ends, `text` has LF line ends.

    Raises:
        LexingError: the tokenizer does not take the text.
    """
    depth = 0
    tokens: list[Token] = []
    found: list[Statement] = []
    for token in tokens_of(text):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif token.type == tokenize.NEWLINE:
            found.append(Statement(tuple(tokens), depth, tuple([one.text for one in tokens])))
            tokens = []
        elif token.type not in _LAYOUT:
            if token.type == tokenize.ERRORTOKEN:
                raise LexingError(f"line {token.start[0]}: {token.string!r} is no token")
            tokens.append(_token(rows, token))
    return found


def relex(old_rows: Sequence[str], old: Sequence[Statement], rows: Sequence[str]) -> list[Statement] | None:
    """What `lex` gives for `rows`, a version of `old_rows`, of which `old` are the statements.

    Only what lies between the common beginning and end is lexed; the rest is taken over. `None` where that might give
    anything else: where the end does not begin with a statement in the same blocks as before.
    """
    head, tail = _common(old_rows, rows)
    grown = len(rows) - len(old_rows)
    # Statements above `start` end above the first changed row; those from `stop` on begin below the last one.
    start = max(0, next((index for index, one in enumerate(old) if one.row > head), len(old)) - 1)
    stop = next((index for index, one in enumerate(old) if one.row >= len(old_rows) - tail), len(old))
    if not old or stop < start:
        return None
    scaffold = [indent + "0" for indent in _levels(old_rows, old[:start])]
    first = old[start].row if start else 0
    end = old[stop].moved(grown) if stop < len(old) else None
    window = [*scaffold, *rows[first : end.tokens[-1].end_row + 1 if end else len(rows)]]
    try:
        middle = lex(window, "\n".join(window) + "\n")[len(scaffold) :]
    except LexingError:
        return None
    made = [*old[:start], *(one.moved(first - len(scaffold)) for one in middle)]
    if end is None:
        return made
    if not made or made[-1] != end or _levels(old_rows, old[: stop + 1]) != _levels(rows, made):
        return None
    return [*made, *(one.moved(grown) for one in old[stop + 1 :])]


def _common(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    """Numbers of equal rows at the beginning and, apart from these, at the end."""
    limit = min(len(old), len(new))
    head = next((row for row in range(limit) if old[row] != new[row]), limit)
    rest = limit - head
    return head, next((row for row in range(rest) if old[-1 - row] != new[-1 - row]), rest)


def _levels(rows: Sequence[str], statements: Sequence[Statement]) -> list[str]:
    """The indentations of the blocks around the last of the statements, its own included, outermost first."""
    levels: list[str] = []
    wanted = statements[-1].depth if statements else -1
    for one in reversed(statements):
        if one.depth == wanted:
            levels.append(rows[one.row][: one.tokens[0].column])
            wanted -= 1
        if wanted < 0:
            break
    return levels[::-1]


def _token(rows: Sequence[str], token: tokenize.TokenInfo) -> Token:
    (row, column), (end_row, end_column) = token.start, token.end
    text = token.string
    if token.type == tokenize.STRING and end_row > row:
        pieces = [rows[number] for number in range(row - 1, end_row)]
        pieces[-1] = pieces[-1][:end_column]
        pieces[0] = pieces[0][column:]
        text = "\n".join(pieces)
    return Token(text, row - 1, column, end_row - 1, end_column)
