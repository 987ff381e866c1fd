"""The facts of a report, counted from a dataset's rows, manifest and run records."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from flows.card import card_facts
from flows.progress import listener
from flows.statistics import run_records
from schemas.code import CandidateRejection
from schemas.manifest import ShardManifest
from schemas.reports import Rejection
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest
from storage.report.facts import ReportFacts, ReportTask, RunTimes
from storage.report.folder import refuse_foreign
from storage.report.site import Site, require_libraries, write_report
from task_registry import Registry
from task_registry.catalog import split_in
from task_registry.curriculum import stage_of

_WORK = ("acquire", "environment", "baseline", "synthesize", "impact", "validate", "assemble", "write")
"""Stages of a run, in their order."""
_AT_FINISH = {Rejection.INVARIANT_BROKEN, Rejection.ISSUE_LEAKS}


def make_report(directory: Path, *, out: Path | None = None) -> Site:
    """Write the report of a dataset or release: a static site, whole or not at all.

    `out`: a folder that is not there, is empty, or holds an earlier report; by default `report` in the dataset's.

    Raises:
        DatasetError, DatasetDamaged: the dataset cannot be read.
        InvalidInput: the folder holds something else.
        MissingExtra: a library that reports need is not installed.
        StorageFailed: the file system refuses.
    """
    layout = DatasetLayout(directory)
    where = (out or layout.report).resolve()
    require_libraries()
    listener().stage("read")
    open_for_reading(directory)
    refuse_foreign(where)
    manifest = read_manifest(layout)
    facts = report_facts(layout, name=directory.resolve().name)
    listener().stage("write", total=sum(facts.counts.tasks.values()))
    return write_report(where, manifest, facts, _tasks(Registry.open(directory), manifest))


def report_facts(layout: DatasetLayout, *, name: str) -> ReportFacts:
    """Everything that a report tells beyond the manifest and the rows."""
    manifest = read_manifest(layout)
    counts = card_facts(layout, name=name)
    return ReportFacts(
        counts=counts,
        lost=_lost(manifest),
        tried={} if manifest.release else _tried(layout, manifest, accepted=counts.strategies),
        times=_times(layout),
    )


def _tasks(registry: Registry, manifest: ShardManifest) -> Iterator[ReportTask]:
    for task in registry.tasks():
        split = split_in(registry.dealt, task.repo) if manifest.release else ""
        yield ReportTask(task, stage_of(task.complexity), split)
        listener().advance()


def _lost(manifest: ShardManifest) -> Mapping[str, Mapping[str, int]]:
    """What did not become a task, by stage and reason, as the manifest counts it."""
    found: dict[str, Counter[str]] = {"synthesis": Counter(), "validation": Counter(), "finish": Counter()}
    for ingestion in manifest.ingestions:
        for reason, number in ingestion.rejected.items():
            found[_stage_of_reason(reason)][reason] += number
    if manifest.release:
        found["release"] = Counter(
            {
                f"{gate}: {reason}": number
                for gate, reasons in manifest.release.dropped.items()
                for reason, number in reasons.items()
            }
        )
    return {stage: dict(sorted(reasons.items())) for stage, reasons in found.items()}


def _stage_of_reason(reason: str) -> str:
    if reason in set(CandidateRejection):
        return "synthesis"
    return "finish" if reason in _AT_FINISH else "validation"


def _tried(layout: DatasetLayout, manifest: ShardManifest, *, accepted: Mapping[str, int]) -> Mapping[str, int]:
    paths = [layout.root / shard.path for shard in manifest.rejected_shards()]
    rejected = pl.scan_parquet(paths, glob=False).group_by("strategy").len().collect().rows() if paths else []
    return dict(sorted((Counter(accepted) + Counter(dict(rejected))).items()))


def _times(layout: DatasetLayout) -> RunTimes | None:
    runs = run_records(layout)
    if not runs:
        return None
    named = {name for run in runs for name in run.stages_s}
    order = sorted(named, key=lambda one: (_WORK.index(one) if one in _WORK else len(_WORK), one))
    return RunTimes(
        runs=len(runs),
        seconds=sum(run.seconds for run in runs),
        stages_s={name: sum(run.stages_s.get(name, 0.0) for run in runs) for name in order},
    )
