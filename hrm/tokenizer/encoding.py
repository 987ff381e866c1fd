"""`Tokenizer`: text and bytes to token ids and back; the merges run in `tiktoken`."""

from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import tiktoken
from numpy.typing import NDArray

from hrm.tokenizer.merges import SPLIT, cut, ranks
from hrm.tokenizer.special import SPELLINGS
from storage.durable import write_whole

DEFAULT_VOCABULARY = 16_384
BUNDLED_VOCABULARY = 32_768
"""The largest that the bundled file gives; a smaller one is its beginning."""
_PIECE = 10_000
"""Characters that are encoded at a time where the whole cannot be."""


class Tokenizer:
    """A byte-level vocabulary. `decode(encode(x)) == x` for any bytes, and no text gives a special token."""

    def __init__(self, file: str) -> None:
        """From the text of a tokenizer file.

        Raises:
            InvalidInput: it is none of ours.
        """
        self.file = file
        """The JSON file that makes this tokenizer again; its hash is the tokenizer's identity."""
        self._ranks = ranks(file)
        self._encoding = tiktoken.Encoding(
            name="gymforge",
            pat_str=SPLIT,
            mergeable_ranks=self._ranks,
            special_tokens={spelling: number for number, spelling in enumerate(SPELLINGS)},
        )

    @classmethod
    def bundled(cls, *, vocab_size: int = DEFAULT_VOCABULARY) -> "Tokenizer":
        """The one that comes with gymforge, trained on permissively licensed repositories (`docs/tokenizer.md`).

        Raises:
            InvalidInput: it has fewer tokens than that.
        """
        return cls(cut(bundled_file(), vocab_size=vocab_size))

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """From a file.

        Raises:
            InvalidInput: it is no tokenizer file of ours.
        """
        return cls(path.read_text(encoding="utf-8"))

    def save(self, path: Path) -> None:
        """Write the one file that `load` reads.

        Raises:
            StorageFailed: the file system refused.
        """
        write_whole(path, self.file.encode())

    @property
    def vocab_size(self) -> int:
        return self._encoding.n_vocab

    def encode(self, content: str | bytes) -> NDArray[np.uint32]:
        """Token ids; bytes that are not UTF-8 become a token each.

        Raises:
            UnicodeEncodeError: a string holds half a surrogate pair, which has no bytes.
        """
        raw = content.encode() if isinstance(content, str) else content
        try:
            return self._encode(raw.decode())
        except UnicodeDecodeError:
            return self._encode_broken(raw)

    def decode(self, tokens: Sequence[int] | NDArray[np.integer]) -> bytes:
        """The bytes that tokens stand for; special tokens are spelt out.

        Raises:
            KeyError: a token is not of this vocabulary.
        """
        return b"".join(self._bytes[int(token)] for token in tokens)

    @cached_property
    def token_sizes(self) -> NDArray[np.int32]:
        """Bytes of text that each token stands for, `[vocab_size]`; 0 for special tokens."""
        sizes = np.zeros(self.vocab_size, dtype=np.int32)
        for content, token in self._ranks.items():
            sizes[token] = len(content)
        return sizes

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        spelt = {number: spelling.encode() for number, spelling in enumerate(SPELLINGS)}
        return spelt | {token: content for content, token in self._ranks.items()}

    def _encode(self, text: str) -> NDArray[np.uint32]:
        # Nothing is disallowed and nothing is allowed: the spelling of a special token is text like any other.
        try:
            found: NDArray[np.uint32] = self._encoding.encode_to_numpy(text, disallowed_special=())
        except ValueError:  # a run of white space so long that the split pattern gives up on it
            if len(text) <= _PIECE:
                raise
            return np.concatenate([self._encode(text[at : at + _PIECE]) for at in range(0, len(text), _PIECE)])
        return found

    def _encode_broken(self, raw: bytes) -> NDArray[np.uint32]:
        pieces: list[NDArray[np.uint32]] = []
        while raw:
            try:
                pieces.append(self._encode(raw.decode()))
                break
            except UnicodeDecodeError as error:
                pieces.append(self._encode(raw[: error.start].decode()))
                broken = raw[error.start : error.end]
                pieces.append(np.array([self._ranks[bytes([byte])] for byte in broken], dtype=np.uint32))
                raw = raw[error.end :]
        return np.concatenate(pieces)


def bundled_file() -> str:
    """The JSON file that comes with gymforge, of `BUNDLED_VOCABULARY` tokens."""
    return (resources.files("hrm.tokenizer") / "bundled.json").read_text(encoding="utf-8")
