"""The facts of a dataset's card, counted from its rows."""

from collections import Counter
from pathlib import Path

import polars as pl

from flows.statistics import health_of
from storage.card import write_card
from storage.card_facts import CardFacts, Example
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest
from task_registry import Registry


def make_card(directory: Path, *, name: str = "") -> Path:
    """Write the card of a dataset or release, and its figures; returns the card's path.

    `name`: for people; by default the folder's.

    Raises:
        DatasetError, DatasetDamaged: the folder cannot be read.
        MissingExtra: a library that cards need is not installed.
        StorageFailed: the file system refuses.
    """
    layout = open_for_reading(directory)
    manifest = read_manifest(layout)
    write_card(layout, manifest, card_facts(layout, name=name or directory.resolve().name))
    return layout.card


def card_facts(layout: DatasetLayout, *, name: str) -> CardFacts:
    """Everything that a card tells beyond the manifest."""
    registry = Registry.open(layout.root)
    manifest = read_manifest(layout)
    is_release = manifest.release is not None
    rows = registry.scan().select(
        "instance_id",
        "repo",
        "language",
        "strategy",
        "issue_style",
        "domains",
        "stage",
        pl.col("split") if is_release else pl.lit("train").alias("split"),
        pl.col("complexity").struct.field("score").alias("score"),
        pl.col("FAIL_TO_PASS").list.len().alias("failing"),
    )
    frame = rows.collect().sort("instance_id")

    def counted(column: str) -> dict[str, int]:
        return dict(sorted(Counter(frame[column].to_list()).items()))

    return CardFacts(
        name=name,
        tasks=counted("split"),
        repos=counted("repo"),
        languages=counted("language"),
        strategies=counted("strategy"),
        domains=dict(sorted(Counter(label for labels in frame["domains"].to_list() for label in labels).items())),
        stages=counted("stage"),
        issue_styles=counted("issue_style"),
        complexity=tuple(sorted(frame["score"].to_list())),
        tests_failing=tuple(sorted(frame["failing"].to_list())),
        health=health_of(layout, manifest),
        example=_example(registry, frame),
    )


def _example(registry: Registry, frame: pl.DataFrame) -> Example | None:
    """The task of median complexity; of several, the one whose id comes first."""
    if frame.is_empty():
        return None
    chosen = frame.sort("score", "instance_id")["instance_id"][(frame.height - 1) // 2]
    task = registry.get(chosen)
    return Example(
        instance_id=task.instance_id,
        problem_statement=task.problem_statement,
        goal=task.plan.goal,
        patch=task.patch,
    )
