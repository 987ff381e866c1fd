"""Bytes per token on held-out code, and how fast it is encoded, beside the vocabularies of others.

    uv pip install --no-deps --target VOCABULARIES litellm dashscope openai-whisper
    python -m benchmarks.tokenizer --folder CORPUS --vocabularies VOCABULARIES

CORPUS is the folder of `python -m hrm.tokenizer.build`; the repositories that are kept from training are fetched into
it. Those packages bring the files of cl100k and o200k, Qwen, and GPT-2; nothing of them is run.
"""

import argparse
import base64
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tiktoken

from benchmarks.anchors.results import machine
from hrm.tokenizer.build import held_out_files
from hrm.tokenizer.encoding import BUNDLED_VOCABULARY, DEFAULT_VOCABULARY, Tokenizer
from hrm.tokenizer.merges import SPLIT

LIMIT_BYTES = 1_000_000
"""Of each repository that is kept from training."""
_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s"""
)
_QWEN = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"""
    r"""|\s+(?!\S)|\s+"""
)
_GPT2 = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_LITELLM = "litellm/litellm_core_utils/tokenizers"
OTHERS = {
    "GPT-2": (_GPT2, "whisper/assets/gpt2.tiktoken"),
    "cl100k": (_CL100K, f"{_LITELLM}/9b5ad71b2ce5302211f9c61530b329a4922fc6a4"),
    # Ours is the pattern of o200k but for digits, which it takes by three.
    "o200k": (SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|"), f"{_LITELLM}/fb374d419588a4632f3f557e76b4b70aebbca790"),
    "Qwen": (_QWEN, "dashscope/resources/qwen.tiktoken"),
}
Encode = Callable[[str], Sequence[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, metavar="CORPUS")
    parser.add_argument("--vocabularies", type=Path, required=True, help="where the packages were installed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.folder, options.vocabularies)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    families = list(found["megabytes"])
    print(f"| | vocabulary | {' | '.join(families)} |\n|---|---|{'---|' * len(families)}")
    for name, row in found["bytes_per_token"].items():
        print(f"| {name} | {found['vocabulary'][name]:,} | {' | '.join(f'{row[one]:.2f}' for one in families)} |")
    for name, row in found["percent_of_cl100k"].items():
        print(f"{name}, beside cl100k: {', '.join(f'{one} {row[one]:+.1f}%' for one in families)}")
    print(f"encoding at {found['megabytes_per_cpu_second']} MB per CPU-second; held out: {found['megabytes']} MB")


def measure(folder: Path, vocabularies: Path) -> dict[str, Any]:
    texts: dict[str, list[str]] = {}
    for source, files in held_out_files(folder, limit_bytes=LIMIT_BYTES).items():
        texts.setdefault(source.family, []).extend(file.content for file in files)
    sizes = {family: sum(len(text.encode()) for text in contents) for family, contents in texts.items()}
    encoders: dict[str, Encode] = {}
    vocabulary = {}
    for name, (pattern, path) in OTHERS.items():
        ranks = read_ranks(vocabularies / path)
        encoders[name] = tiktoken.Encoding(
            name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
        ).encode_ordinary
        vocabulary[name] = len(ranks)
    for name, size in (("gymforge, 16k", DEFAULT_VOCABULARY), ("gymforge, 32k", BUNDLED_VOCABULARY)):
        encoders[name] = Tokenizer.bundled(vocab_size=size).encode
        vocabulary[name] = size
    rates = {
        name: {family: sizes[family] / tokens(encode, texts[family]) for family in texts}
        for name, encode in encoders.items()
    }
    return {
        "machine": machine(),
        "megabytes": {family: round(size / 1e6, 2) for family, size in sizes.items()},
        "vocabulary": vocabulary,
        "bytes_per_token": rates,
        "percent_of_cl100k": {
            name: {family: 100 * (rate / rates["cl100k"][family] - 1) for family, rate in row.items()}
            for name, row in rates.items()
            if name.startswith("gymforge")
        },
        "megabytes_per_cpu_second": round(speed(Tokenizer.bundled(), texts), 1),
    }


def read_ranks(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_bytes().splitlines() if line.strip())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def tokens(encode: Encode, texts: Sequence[str]) -> int:
    return sum(len(encode(text)) for text in texts)


def speed(tokenizer: Tokenizer, texts: dict[str, list[str]], *, rounds: int = 3) -> float:
    """Megabytes of held-out code per second of CPU time, one thread, the best of several rounds."""
    every = [text for contents in texts.values() for text in contents]
    size = sum(len(text.encode()) for text in every)
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        tokens(tokenizer.encode, every)
        best = min(best, time.process_time() - start)
    return size / 1e6 / best


if __name__ == "__main__":
    main()
