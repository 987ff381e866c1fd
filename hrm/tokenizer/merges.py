"""The one JSON file of a tokenizer, in the format of Hugging Face `tokenizers`, and how it is learnt."""

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from hrm.tokenizer.special import SPELLINGS
from schemas.errors import InvalidInput

_BYTES = 256
FIRST_BYTE = len(SPELLINGS)
"""Ids: special tokens, then the 256 bytes, then merges in the order in which they were learnt."""
SMALLEST_VOCABULARY = FIRST_BYTE + _BYTES

_MARK = r"[^\r\n\p{L}\p{N}]?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLIT = "|".join(
    [
        rf"{_MARK}{_UPPER}*{_LOWER}+{_CONTRACTION}",
        rf"{_MARK}{_UPPER}+{_LOWER}*{_CONTRACTION}",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
"""Where no merge may reach across: the pattern of OpenAI's o200k vocabulary (words by case, with the mark before them),
with digits one by one, so that a number is read by its places."""


@cache
def byte_letters() -> dict[int, str]:
    """The letter that stands for each byte in the file: itself where it can be printed, else one from U+0100 up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(_BYTES) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + n) for n, byte in enumerate(hidden)}


def learn(texts: Iterable[str], *, vocab_size: int) -> str:
    """Learn byte-pair merges (Sennrich et al. 2016) from texts; gives the JSON file. Needs `tokenizers`.

    Greedy: the vocabulary of a smaller size is the beginning of that of a larger one, see `cut`.

    Raises:
        InvalidInput: the size leaves no room for merges, or there is too little text for so many.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size <= SMALLEST_VOCABULARY:
        raise InvalidInput(
            f"a vocabulary of {vocab_size} has no room for merges: choose more than {SMALLEST_VOCABULARY}"
        )
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPELLINGS),
        initial_alphabet=list(byte_letters().values()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    file = json.loads(learner.to_str())
    # As added tokens they would be found in texts; as plain entries, which no merge makes, they never are.
    file["added_tokens"] = []
    if len(file["model"]["vocab"]) != vocab_size:
        raise InvalidInput(
            f"the texts give a vocabulary of {len(file['model']['vocab'])}, not {vocab_size}: "
            "give more text, or ask for a smaller one"
        )
    return _written(file)


def cut(file: str, *, vocab_size: int) -> str:
    """The file with the first `vocab_size` tokens alone.

    Raises:
        InvalidInput: it has fewer, or so few are no tokenizer.
    """
    content = json.loads(file)
    model = content["model"]
    if not SMALLEST_VOCABULARY < vocab_size <= len(model["vocab"]):
        raise InvalidInput(
            f"a vocabulary of {vocab_size} cannot be had from one of {len(model['vocab'])}: "
            f"choose more than {SMALLEST_VOCABULARY}, and no more than it has"
        )
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number < vocab_size}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    return _written(content)


def ranks(file: str) -> dict[bytes, int]:
    """Every byte string that is a token, with its id.

    Raises:
        InvalidInput: the file is no tokenizer of ours.
    """
    try:
        content = json.loads(file)
        vocabulary: dict[str, int] = content["model"]["vocab"]
        byte_of = {letter: byte for byte, letter in byte_letters().items()}
        found = {
            bytes(byte_of[letter] for letter in token): number
            for token, number in vocabulary.items()
            if number >= FIRST_BYTE
        }
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"this is no tokenizer file: {error!r}. Train one, or use the bundled one") from error
    specials = [vocabulary.get(spelling) for spelling in SPELLINGS]
    split = content.get("pre_tokenizer", {}).get("pretokenizers", [{}])[0].get("pattern")
    if specials != list(range(FIRST_BYTE)) or len(found) + FIRST_BYTE != len(vocabulary) or split != {"Regex": SPLIT}:
        raise InvalidInput("this tokenizer file has other special tokens or another split than this gymforge knows")
    return found


def _written(file: dict[str, Any]) -> str:
    return json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n"
