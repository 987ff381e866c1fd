"""Batches from token shards, in an order that seed and epoch decide alone; any batch can be gone on from.

An epoch is cut into blocks: some row groups each, in an order that is drawn. A block's examples are packed and its rows
shuffled. A block needs nothing of any other, so workers make them ahead, each a whole one, and they are taken in order:
the batches are the same with any number of workers. Every batch says where the next one begins; that is all the state.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from hrm.data.packing import PADDING, Examples, Packed, joined, lay_out, pack
from hrm.data.plans import PLAN_CODES
from hrm.data.shards import ExampleManifest
from schemas.errors import DatasetDamaged, DatasetError, InvalidInput
from schemas.model import Model

_COLUMNS = ["tokens", "size", "prompt_tokens", "target_token", "weight", "stage", "plan"]


class BatchPlan(Model):
    """What batches are made of; another plan gives another order."""

    length: int = Field(ge=1)
    """Cells of a row."""
    rows: int = Field(ge=1)
    """Rows of a batch, of one process."""
    seed: int = 0
    groups_per_block: int = Field(default=16, ge=1)
    """Row groups that are shuffled and packed together."""
    stages: tuple[str, ...] = ()
    """Only examples of these stages of a curriculum; empty for all."""
    rank: int = Field(default=0, ge=0)
    """Which of `world` processes that share each batch this is."""
    world: int = Field(default=1, ge=1)


class Place(Model):
    """Where a batch begins."""

    epoch: int = Field(default=0, ge=0)
    block: int = Field(default=0, ge=0)
    row: int = Field(default=0, ge=0)
    """Rows of the block that are before it."""


class Batch(NamedTuple):
    packed: Packed
    after: Place
    """Where the next batch begins: handed in again, this is what comes next."""


class _Group(NamedTuple):
    path: Path
    number: int
    first_name: int
    """Number of its first example among all."""


def batches(
    folder: Path, manifest: ExampleManifest, plan: BatchPlan, *, start: Place | None = None, workers: int = 0
) -> Iterator[Batch]:
    """Batches without end, epoch after epoch, from a place on; `workers` processes read ahead.

    Every example is in each epoch as often as its weight says (1.5: once, and every other epoch, on average, twice).

    Raises:
        InvalidInput: an example is longer than a row, or the rank is not one of the world's.
        DatasetError: there is nothing to learn from.
        DatasetDamaged: a shard cannot be read.
    """
    _refuse_unfit(folder, manifest, plan)
    place = start or Place()
    waiting: list[Packed] = []
    wanted, held, idle = plan.rows * plan.world, 0, 0
    for at, rows in _in_order(folder, manifest, plan, start=place, workers=workers):
        taken = place.row if (at.epoch, at.block) == (place.epoch, place.block) else 0
        total = len(rows.tokens)
        idle = 0 if total else idle + 1
        if idle > _block_count(folder, manifest, plan):
            which = f" of the stages {', '.join(plan.stages)}" if plan.stages else ""
            raise DatasetError(
                f"{folder} holds nothing to learn from: there is no example{which}, or all weights are 0. "
                "Hand in tasks with weights"
            )
        while held + total - taken >= wanted:
            part = rows.part(taken, taken + wanted - held)
            taken += wanted - held
            whole = joined([*waiting, part])
            waiting, held = [], 0
            mine = whole.part(plan.rank * plan.rows, (plan.rank + 1) * plan.rows)
            yield Batch(mine, Place(epoch=at.epoch, block=at.block, row=taken))
        if taken < total:
            waiting.append(rows.part(taken, total))
            held += total - taken


def _refuse_unfit(folder: Path, manifest: ExampleManifest, plan: BatchPlan) -> None:
    if plan.rank >= plan.world:
        raise InvalidInput(f"rank {plan.rank} is none of {plan.world} processes")
    if manifest.layout.max_tokens > plan.length:
        raise InvalidInput(
            f"examples have up to {manifest.layout.max_tokens} tokens and rows {plan.length} cells: "
            "make the rows longer, or write shorter examples"
        )
    if not manifest.examples:
        raise DatasetError(
            f"{folder} holds no example. Hand in more tasks, or see in its manifest why they were left out"
        )


def _in_order(
    folder: Path, manifest: ExampleManifest, plan: BatchPlan, *, start: Place, workers: int
) -> Iterator[tuple[Place, Packed]]:
    """Blocks, each with its place, from the block of `start` on."""
    places = _places(_block_count(folder, manifest, plan), start)
    if not workers:
        for place in places:
            yield place, make_block(folder, manifest, plan, place)
        return
    # A child that is forked from a process with threads (pyarrow's, torch's) may never come back.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ahead: deque[tuple[Place, Future[Packed]]] = deque()
        try:
            while True:
                for place in islice(places, workers + 1 - len(ahead)):
                    ahead.append((place, pool.submit(make_block, folder, manifest, plan, place)))
                place, future = ahead.popleft()
                yield place, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _places(blocks: int, start: Place) -> Iterator[Place]:
    epoch, block = start.epoch, start.block
    while True:
        if block >= blocks:
            epoch, block = epoch + 1, 0
        yield Place(epoch=epoch, block=block)
        block += 1


def make_block(folder: Path, manifest: ExampleManifest, plan: BatchPlan, place: Place) -> Packed:
    """All rows of a block, shuffled; depends on nothing but its arguments and the shards.

    Raises:
        DatasetDamaged: a shard cannot be read.
    """
    groups = _groups(folder, manifest)
    order = np.random.default_rng([plan.seed, place.epoch]).permutation(len(groups))
    chosen = order[place.block * plan.groups_per_block :][: plan.groups_per_block]
    rng = np.random.default_rng([plan.seed, place.epoch, place.block])
    given, weights = _read([groups[number] for number in chosen], stages=plan.stages)
    times = np.floor(weights + rng.random(len(weights))).astype(np.int64)
    picked = rng.permutation(np.repeat(np.arange(len(weights)), times))
    rows = [[int(picked[at]) for at in row] for row in pack(given.sizes[picked], length=plan.length)]
    return lay_out([rows[at] for at in rng.permutation(len(rows))], given, length=plan.length)


def _block_count(folder: Path, manifest: ExampleManifest, plan: BatchPlan) -> int:
    return -(-len(_groups(folder, manifest)) // plan.groups_per_block)


def _groups(folder: Path, manifest: ExampleManifest) -> list[_Group]:
    found, first_name = [], 0
    for shard in manifest.shards:
        for number, first in enumerate(range(0, shard.rows, manifest.rows_per_group)):
            found.append(_Group(folder / shard.name, number, first_name + first))
        first_name += shard.rows
    return found


def _read(groups: list[_Group], *, stages: tuple[str, ...]) -> tuple[Examples, NDArray[np.float32]]:
    tables, names = [], []
    for group in groups:
        try:
            with pq.ParquetFile(group.path) as file:
                tables.append(file.read_row_group(group.number, columns=_COLUMNS, use_threads=False))
        except (pa.ArrowException, OSError) as error:
            raise DatasetDamaged(f"{group.path} cannot be read: {error}. Write the examples again") from error
        names.append(np.arange(group.first_name, group.first_name + len(tables[-1])))
    table = pa.concat_tables(tables)

    def column(name: str) -> NDArray[np.int64]:
        return np.asarray(table[name].to_numpy(), dtype=np.int64)

    tokens = [chunk.flatten().to_numpy() for chunk in table["tokens"].chunks]
    given = Examples(
        tokens=np.concatenate(tokens),
        sizes=column("size"),
        prompts=column("prompt_tokens"),
        targets=column("target_token"),
        names=np.concatenate(names),
        plans=_padded(table["plan"]),
    )
    weights: NDArray[np.float32] = table["weight"].to_numpy()
    if stages:
        weights = np.where(pc.is_in(table["stage"], value_set=pa.array(stages)).to_numpy(), weights, np.float32(0))
    return given, weights


def _padded(plans: pa.ChunkedArray) -> NDArray[np.int32]:
    """The lists of a column as an array, `PADDING` behind the last number of each."""
    sizes = pc.list_value_length(plans).to_numpy()
    array = np.full((len(plans), PLAN_CODES), PADDING, np.int32)
    array[np.arange(PLAN_CODES) < sizes[:, None]] = pc.list_flatten(plans).to_numpy()
    return array
