"""Tokens that are read and packed per CPU-second, beside reading the same shards with pyarrow alone.

    python -m benchmarks.loading DIR --repository CLONE --examples 20000 --json

The tasks of the dataset in DIR, all of one repository that CLONE is a clone of, become examples again and again, each
time with other lines around the edit, until there are as many as asked for. One process, one thread; the best of
several rounds, CPU time.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.anchors.results import machine
from extractors.diff import apply_patch
from hrm.data.example import ExampleLayout
from hrm.data.packing import PADDING
from hrm.data.shards import ExampleManifest, TrainingTask, write_examples
from hrm.data.source import BatchPlan, batches
from hrm.tokenizer.encoding import Tokenizer
from schemas.tasks import TaskInstance
from task_registry import load_tasks

LENGTH = 4_096
"""Cells of a row: twice the longest example."""
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--repository", type=Path, required=True, metavar="CLONE")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-benchmark-") as scratch:
        found = measure(list(load_tasks(options.directory)), options.repository, Path(scratch), options.examples)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<44}{value}")


def measure(tasks: list[TaskInstance], repository: Path, folder: Path, examples: int) -> dict[str, Any]:
    texts = {task.instance_id: bugged_files(task, repository) for task in tasks}
    start = time.process_time()
    manifest = write_examples(
        (TrainingTask(task) for task in again(tasks, examples)),
        folder,
        files=lambda task: texts[task.instance_id.partition("#")[0]],
        tokenizer=Tokenizer.bundled(),
        layout=ExampleLayout(max_tokens=LENGTH // 2),
    )
    writing = time.process_time() - start
    full: list[float] = []
    return {
        "machine": machine(),
        "tasks": len(tasks),
        "examples": manifest.examples,
        "left out": {reason.value: count for reason, count in manifest.left_out.items()},
        "tokens an example, mean": round(manifest.tokens / manifest.examples),
        "megabytes of shards": round(sum((folder / one.name).stat().st_size for one in manifest.shards) / 1e6, 1),
        "million tokens per CPU-second, written": round(manifest.tokens / 1e6 / writing, 2),
        "million tokens per CPU-second, pyarrow alone": best(manifest, lambda: read_alone(folder, manifest)),
        "million tokens per CPU-second, batches": best(manifest, lambda: full.append(read_batches(folder, manifest))),
        "cells of batches that hold a token": round(full[-1], 3),
    }


def again(tasks: list[TaskInstance], count: int) -> Iterator[TaskInstance]:
    """The tasks over and over, under other names, for the lines that are shown are drawn by the name."""
    for number in range(count):
        task = tasks[number % len(tasks)]
        yield task.model_copy(update={"instance_id": f"{task.instance_id}#{number // len(tasks)}"})


def bugged_files(task: TaskInstance, repository: Path) -> Mapping[str, str]:
    """The files that the task edits, with the bug in them."""
    paths = {edit.path for edit in task.edit_targets}
    clean = {
        path: subprocess.check_output(["git", "-C", repository, "show", f"{task.base_commit}:{path}"]) for path in paths
    }
    return {path: apply_patch(content, task.bug_patch).decode() for path, content in clean.items()}


def read_alone(folder: Path, manifest: ExampleManifest) -> None:
    for shard in manifest.shards:
        table = pq.read_table(folder / shard.name, columns=["tokens"], use_threads=False)
        for chunk in table["tokens"].chunks:
            chunk.flatten().to_numpy()


def read_batches(folder: Path, manifest: ExampleManifest) -> float:
    """One epoch of batches; gives how full they are."""
    held = cells = 0
    for batch in islice(batches(folder, manifest, BatchPlan(length=LENGTH, rows=8)), 1_000_000):
        if batch.after.epoch:
            break
        held += int((batch.packed.documents != PADDING).sum())
        cells += batch.packed.documents.size
    return held / cells


def best(manifest: ExampleManifest, read: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        read()
        seconds.append(time.process_time() - start)
    return round(manifest.tokens / 1e6 / min(seconds), 1)


if __name__ == "__main__":
    main()
