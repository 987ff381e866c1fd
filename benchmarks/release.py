"""Time writing a release beside raw pyarrow: reading the same shards and writing the same rows with the same options.

    python -m benchmarks.release DIR --tasks 100000 --rounds 3 --json

The dataset in DIR is copied until there are as many tasks as asked for (see `benchmarks.registry`). Raw pyarrow reads
all shards and writes their rows to one file, in the order of the shards. Both are timed in turn, by the clock. Beside
it, what ingestion pays once for a task: `write_tasks`, which checks and seals every row, and pyarrow with the same rows
as a table in memory already.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.anchors.results import load, machine
from benchmarks.registry import write_many
from schemas.tasks import SCHEMA_VERSION, TaskInstance
from storage.arrow_schema import TASK_SCHEMA
from storage.content import seal
from storage.layout import DatasetLayout
from storage.release import RELEASE_OPTIONS, Source, write_release
from storage.shards import ROWS_PER_GROUP, parquet_writer, write_tasks
from task_registry import Registry
from task_registry.splits import Splits

_INGESTED = 500
"""Tasks that are looked at for what ingestion pays."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-benchmark-") as scratch:
        found = measure(options.directory, Path(scratch), options.tasks, options.rounds)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<24}{value}")


def measure(template: Path, folder: Path, tasks: int, rounds: int) -> dict[str, Any]:
    write_many(template, folder / "dataset", tasks)
    registry = Registry.open(folder / "dataset")
    sources = [Source(held.place, shard, held.ingestion.repo) for held in registry.held for shard in held.shards]
    ours_s, raw_s = [], []
    for _ in range(rounds):
        ours_s.append(timed(lambda: ours(folder / "release", sources)))
        raw_s.append(timed(lambda: raw(folder / "raw.parquet", sources)))
        size_bytes = sum(path.stat().st_size for path in (folder / "release" / "data").iterdir())
        shutil.rmtree(folder / "release")
    tasks_of_one = [as_of_now(task) for task in islice(Registry.open(template).tasks(), _INGESTED)]
    first = tasks_of_one[0]
    own = [one for one in tasks_of_one if (one.repo, one.base_commit) == (first.repo, first.base_commit)]
    ingested_s = [timed(partial(ingest, folder / f"ingested-{number}", own)) for number in range(rounds)]
    table = pq.read_table(next((folder / "ingested-0" / "data").iterdir()))
    table_s = [timed(lambda: pq.write_table(table, folder / "table.parquet")) for _ in range(rounds)]
    return {
        "machine": machine(),
        "load": load(),
        "tasks": tasks,
        "mib": round(size_bytes / 2**20, 1),
        "release_s": [round(one, 2) for one in sorted(ours_s)],
        "raw_pyarrow_s": [round(one, 2) for one in sorted(raw_s)],
        "ratio": round(statistics.median(ours_s) / statistics.median(raw_s), 2),
        "ingested_tasks": len(own),
        "ingested_ms_per_task": round(1000 * statistics.median(ingested_s) / len(own), 2),
        "pyarrow_ms_per_task": round(1000 * statistics.median(table_s) / len(own), 2),
    }


def as_of_now(task: TaskInstance) -> TaskInstance:
    """Sealed as this version seals it, whichever wrote it."""
    return seal(task.model_copy(update={"schema_version": SCHEMA_VERSION}))


def ingest(folder: Path, tasks: list[TaskInstance]) -> None:
    folder.mkdir()
    write_tasks(DatasetLayout(folder), repo=tasks[0].repo, commit=tasks[0].base_commit, tasks=tasks)


def ours(folder: Path, sources: list[Source]) -> None:
    splits = Splits()
    dealt = {source.repo: splits.split_of(source.repo) for source in sources}
    write_release(DatasetLayout(folder), sources, splits=sorted(splits.shares), dealt=dealt, dropped=frozenset())


def raw(path: Path, sources: list[Source]) -> None:
    with path.open("wb") as file, parquet_writer(file, TASK_SCHEMA, **RELEASE_OPTIONS) as writer:
        for source in sources:
            table = pq.read_table(source.place.path(source.shard.path))
            writer.write_table(pa.table(table, schema=TASK_SCHEMA), row_group_size=ROWS_PER_GROUP)


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
