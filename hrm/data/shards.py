"""Token shards: examples as Parquet, written once for a tokenizer and a layout; imports pyarrow, so import it late."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from hrm.data.example import Example, ExampleLayout, LeftOut, make_example
from hrm.tokenizer.encoding import Tokenizer
from schemas.errors import DatasetDamaged, DatasetError, InvalidInput
from schemas.model import Model
from schemas.tasks import TaskInstance
from storage.durable import open_temporary, publish, refusals_named, sha256_of, write_whole

ROWS_PER_GROUP = 256
ROWS_PER_SHARD = 16_384
_MAX_VOCABULARY = 2**16
"""Tokens are stored in 16 bits."""
MANIFEST, _TOKENIZER = "examples.json", "tokenizer.json"
_SCHEMA = pa.schema(
    [
        ("instance_id", pa.string()),
        ("repo", pa.string()),
        ("language", pa.string()),
        ("stage", pa.string()),
        ("weight", pa.float32()),
        ("size", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("target_token", pa.int32()),
        ("target_lines", pa.list_(pa.field("element", pa.int32()))),
        ("tokens", pa.list_(pa.field("element", pa.uint16()))),
        ("plan", pa.list_(pa.field("element", pa.int32()))),
    ]
)


class TrainingTask(NamedTuple):
    """A task as it is handed in: chosen and weighted by whoever knows the catalog."""

    task: TaskInstance
    weight: float = 1.0
    """How often each of its examples is seen in an epoch, on average."""
    stage: str = ""
    """Its stage in a curriculum."""


class TokenShard(Model):
    name: str
    sha256: str
    rows: int
    tokens: int


class ExampleManifest(Model):
    """What a folder of token shards holds; written last."""

    tokenizer_sha256: str
    vocab_size: int
    layout: ExampleLayout
    seed: int
    """Draws where the shown lines begin."""
    rows_per_group: int
    """Rows of each row group but a shard's last."""
    examples: int
    tokens: int
    asked: Mapping[str, str] = Field(default_factory=dict)
    """What the tasks were asked for by, where whoever wrote them told it."""
    left_out: Mapping[LeftOut, int]
    """Tasks of which no example could be made, by the reason of the first."""
    shards: tuple[TokenShard, ...]


Files = Callable[[TaskInstance], Mapping[str, str]]
"""Texts of the files that a task edits, by path, as the task's tree has them."""


def write_examples(
    tasks: Iterable[TrainingTask],
    folder: Path,
    *,
    files: Files,
    tokenizer: Tokenizer,
    layout: ExampleLayout,
    seed: int = 0,
    asked: Mapping[str, str] | None = None,
) -> ExampleManifest:
    """Write the examples of tasks, in their order, to a folder that `open_examples` reads.

    A task of which `files` lacks one is left out, and counted. The same tasks, files, tokenizer,
    layout and seed give the same bytes. `asked`: kept in the manifest, to know the same tasks by.

    Raises:
        InvalidInput: the tokenizer has more tokens than can be stored.
        StorageFailed: the file system refused.
    """
    if tokenizer.vocab_size > _MAX_VOCABULARY:
        raise InvalidInput(
            f"a vocabulary of {tokenizer.vocab_size} cannot be stored: choose {_MAX_VOCABULARY} or fewer"
        )
    left_out: Counter[LeftOut] = Counter()
    rows = _rows(tasks, files=files, tokenizer=tokenizer, layout=layout, seed=seed, left_out=left_out)
    shards: list[TokenShard] = []
    with refusals_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    while chunk := list(islice(rows, ROWS_PER_SHARD)):
        shards.append(_write_shard(folder / f"examples-{len(shards):05d}.parquet", chunk))
    tokenizer.save(folder / _TOKENIZER)
    manifest = ExampleManifest(
        tokenizer_sha256=hashlib.sha256(tokenizer.file.encode()).hexdigest(),
        vocab_size=tokenizer.vocab_size,
        layout=layout,
        seed=seed,
        rows_per_group=ROWS_PER_GROUP,
        examples=sum(shard.rows for shard in shards),
        tokens=sum(shard.tokens for shard in shards),
        asked=asked or {},
        left_out=dict(sorted(left_out.items())),
        shards=tuple(shards),
    )
    write_whole(folder / MANIFEST, (json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n").encode())
    return manifest


def open_examples(folder: Path) -> ExampleManifest:
    """The manifest of a folder of token shards, each of which is what was written.

    Raises:
        DatasetError: there is none.
        DatasetDamaged: the manifest or a shard is not what was written.
    """
    path = folder / MANIFEST
    try:
        manifest = ExampleManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DatasetError(f"{folder} holds no examples: there is no {MANIFEST}. Write them again") from error
    except (ValidationError, OSError) as error:
        raise DatasetDamaged(f"{path} cannot be read: {error}. Write the examples again") from error
    for shard in manifest.shards:
        place = folder / shard.name
        if not place.is_file() or sha256_of(place) != shard.sha256:
            raise DatasetDamaged(f"{place} is not what was written. Write the examples again")
    return manifest


def tokenizer_of(folder: Path, manifest: ExampleManifest) -> Tokenizer:
    """The tokenizer that the examples of a folder were written with.

    Raises:
        DatasetDamaged: it is missing, or another.
    """
    path = folder / _TOKENIZER
    if not path.is_file() or sha256_of(path) != manifest.tokenizer_sha256:
        raise DatasetDamaged(f"{path} is not what was written. Write the examples again")
    return Tokenizer.load(path)


def repos_of(folder: Path, manifest: ExampleManifest) -> tuple[str, ...]:
    """Repositories whose tasks the examples are, sorted."""
    found: set[str] = set()
    for shard in manifest.shards:
        found.update(pq.read_table(folder / shard.name, columns=["repo"])["repo"].unique().to_pylist())
    return tuple(sorted(found))


def _rows(
    tasks: Iterable[TrainingTask],
    *,
    files: Files,
    tokenizer: Tokenizer,
    layout: ExampleLayout,
    seed: int,
    left_out: Counter[LeftOut],
) -> Iterator[tuple[TrainingTask, Example]]:
    for given in tasks:
        texts, reasons = files(given.task), []
        for number in range(layout.windows):
            # The first is the one that is shown where a model is only asked.
            drawn_by = f"{seed} {given.task.instance_id}" + f" {number}" * (number > 0)
            rng = random.Random(drawn_by)  # noqa: S311 - a place in a window, not a secret
            made = make_example(given.task, texts, tokenizer=tokenizer, layout=layout, rng=rng)
            if isinstance(made, LeftOut):
                reasons.append(made)
            else:
                yield given, made
        if len(reasons) == layout.windows:
            left_out[reasons[0]] += 1


def _write_shard(path: Path, rows: list[tuple[TrainingTask, Example]]) -> TokenShard:
    examples = [example for _, example in rows]
    sizes = np.array([len(example.tokens) for example in examples], dtype=np.int32)
    tokens = np.concatenate([example.tokens for example in examples]).astype(np.uint16)
    columns = {
        "instance_id": [given.task.instance_id for given, _ in rows],
        "repo": [given.task.repo for given, _ in rows],
        "language": [given.task.language.value for given, _ in rows],
        "stage": [given.stage for given, _ in rows],
        "weight": pa.array([given.weight for given, _ in rows], pa.float32()),
        "size": sizes,
        "prompt_tokens": pa.array([example.prompt_tokens for example in examples], pa.int32()),
        "target_token": pa.array([example.target_token for example in examples], pa.int32()),
        "target_lines": [example.target_lines for example in examples],
        "tokens": pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32), tokens),
        "plan": [example.plan for example in examples],
    }
    table = pa.table(columns).cast(_SCHEMA)
    with refusals_named(path), open_temporary(path) as file:
        pq.write_table(
            table, file, row_group_size=ROWS_PER_GROUP, compression="zstd", use_dictionary=["repo", "language", "stage"]
        )
    publish(path)
    return TokenShard(name=path.name, sha256=sha256_of(path), rows=len(rows), tokens=int(sizes.sum()))
