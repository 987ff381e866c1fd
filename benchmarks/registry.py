"""Time a registry of many tasks: opening it, one task by id, conditions and samples.

    python -m benchmarks.registry DIR --tasks 1000000 --json

The dataset in DIR (`gymforge ingest` makes one) is copied row by row, under the names of made-up repositories of 500
tasks each, until there are as many tasks as asked for; its shards are written as the product writes them. Times are of
one process with cold footers, and files that the system has just written. Nothing is compared: what a user would do
instead, polars' `scan_parquet(...).filter(...)`, is timed beside it.
"""

import argparse
import hashlib
import json
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.anchors.results import load, machine
from schemas.manifest import Ingestion, Shard, ShardManifest
from storage.arrow_schema import TASK_SCHEMA
from storage.layout import DatasetLayout
from storage.manifest import read_manifest, write_manifest
from storage.shards import parquet_writer
from task_registry import Registry

TASKS_A_REPOSITORY = 500
LOOKUPS = 200
WHERE = "language = 'python' AND complexity.score > 0.5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-benchmark-") as scratch:
        found = measure(options.directory, options.folder or Path(scratch), options.tasks)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<28}{value}")


def measure(template: Path, folder: Path, tasks: int) -> dict[str, Any]:
    ids = write_many(template, folder, tasks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    registry, open_s = timed(lambda: Registry.open(folder))
    chosen = random.Random(0).sample(ids, LOOKUPS)
    first_s = [timed(lambda one=one: registry.get(one))[1] for one in chosen]
    again_s = [timed(lambda one=one: registry.get(one))[1] for one in chosen]
    lookup_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    shards = sorted(map(str, (folder / "data").glob("*.parquet")))
    plain_s = [
        timed(lambda one=one: pl.scan_parquet(shards).filter(pl.col("instance_id") == one).collect())[1]
        for one in chosen[:5]
    ]
    matching, where_s = timed(lambda: len(registry.ids(WHERE)))
    drawn, sample_s = timed(lambda: len(registry.sample(1000, seed=0, weight="complexity.score")))
    return {
        "machine": machine(),
        "load": load(),
        "tasks": len(ids),
        "repositories": len(registry.held),
        "gib": round(sum(Path(one).stat().st_size for one in shards) / 2**30, 2),
        "open_s": round(open_s, 2),
        "get_ms": spread(first_s),
        "get_again_ms": spread(again_s),
        "get_mib": round(lookup_mib),
        "polars_filter_ms": spread(plain_s),
        "where": WHERE,
        "where_matches": matching,
        "where_s": round(where_s, 2),
        "sample": drawn,
        "sample_s": round(sample_s, 2),
    }


def write_many(template: Path, folder: Path, tasks: int) -> list[str]:
    """Fill the folder; returns all ids."""
    manifest = read_manifest(DatasetLayout(template))
    paths = [template / shard.path for one in manifest.ingestions for shard in one.shards]
    rows = pa.concat_tables([pq.read_table(path) for path in paths]).select(TASK_SCHEMA.names)
    layout, made, ids = DatasetLayout(folder), [], []
    layout.data.mkdir(parents=True)
    for number in range(-(-tasks // TASKS_A_REPOSITORY)):
        repo, commit = f"made-up/r{number}", hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()
        count = min(TASKS_A_REPOSITORY, tasks - len(ids))
        digests = [hashlib.sha256(f"{number} {one}".encode()).hexdigest()[:10] for one in range(count)]
        own = sorted(f"made-up__r{number}.{commit[:8]}.op_change__{digest}" for digest in digests)
        table = rows.take([(number + one) % rows.num_rows for one in range(count)])
        for name, values in (("instance_id", own), ("repo", [repo] * count), ("base_commit", [commit] * count)):
            table = table.set_column(TASK_SCHEMA.get_field_index(name), TASK_SCHEMA.field(name), pa.array(values))
        path = layout.task_shard(repo, commit, 0)
        with path.open("wb") as file, parquet_writer(file, TASK_SCHEMA) as writer:
            writer.write_table(table.cast(TASK_SCHEMA))
        shard = Shard(path=layout.relative(path), sha256="0" * 64, size_bytes=path.stat().st_size, rows=count)
        changes = {"repo": repo, "commit": commit, "tasks": count, "shards": (shard,), "rejected_shards": ()}
        made.append(Ingestion.model_validate(manifest.ingestions[0].model_dump() | changes))
        ids += own
    write_manifest(layout, ShardManifest(gymforge_version="0", ingestions=tuple(made)))
    return ids


def timed(work: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * one for one in seconds)
    return {
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        "max": round(ordered[-1], 2),
    }


if __name__ == "__main__":
    main()
