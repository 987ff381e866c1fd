"""Count a dataset: what is in it, what was rejected and why, and what its runs took."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from flows.run_record import RunRecord
from schemas.errors import DatasetDamaged
from schemas.health import HealthCheck, HealthSummary
from schemas.manifest import FastPathAudit, ShardManifest
from schemas.model import Model
from storage.health import read_health
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest
from task_registry import load_rejected, summarize_tasks
from task_registry.gates.health import in_quarantine


class RepositoryCounts(Model):
    repo: str
    commit: str
    license_spdx: str
    sandbox: str
    tasks: int
    rejected: int
    quarantined: int
    """Tests that did not agree with themselves on the clean tree."""
    fast_path: FastPathAudit | None
    """What audits said to verdicts that were reached by affected tests; `None` where there were none of these."""


class DatasetCounts(Model):
    directory: Path
    tasks: int
    repositories: tuple[RepositoryCounts, ...]
    yields: Mapping[str, Mapping[str, int]]
    """Strategy to `accepted` or reason to number; the reasons of a release are those of its gates."""
    rejected: Mapping[str, int]
    """Reason to number of candidates that did not become tasks."""
    languages: Mapping[str, int]
    domains: Mapping[str, int]
    issue_styles: Mapping[str, int]
    splits: Mapping[str, int]
    """Of a release: split to number of tasks."""
    gates: Mapping[str, Mapping[str, int]]
    """Of a release: gate to reason to number of tasks that were left out."""
    not_checked: Mapping[str, str]
    """Of a release: gate that was not asked, and why."""
    health: HealthSummary
    runs: tuple[RunRecord, ...]


def count_dataset(directory: Path) -> DatasetCounts:
    """Count everything in a dataset folder.

    Raises:
        DatasetError: it is not one, or of another schema.
        DatasetDamaged: a file in it is damaged.
    """
    layout = open_for_reading(directory)
    manifest = read_manifest(layout)
    yields: dict[str, Counter[str]] = {}
    languages: Counter[str] = Counter()
    domains: Counter[str] = Counter()
    styles: Counter[str] = Counter()
    for task in summarize_tasks(directory):
        yields.setdefault(task.strategy, Counter())["accepted"] += 1
        languages[task.language] += 1
        styles[task.issue_style] += 1
        domains.update(task.domain)
    for row in load_rejected(directory):
        yields.setdefault(row.strategy, Counter())[row.reason] += 1
    rejected: Counter[str] = Counter()
    for one in manifest.ingestions:
        rejected.update(one.rejected)
    release = manifest.release
    return DatasetCounts(
        directory=directory,
        tasks=sum(one.tasks for one in manifest.ingestions),
        repositories=tuple(
            RepositoryCounts(
                repo=one.repo,
                commit=one.commit,
                license_spdx=one.license_spdx,
                sandbox=one.sandbox,
                tasks=one.tasks,
                rejected=sum(one.rejected.values()),
                quarantined=len(one.quarantined),
                fast_path=one.fast_path,
            )
            for one in manifest.ingestions
        ),
        yields={strategy: _sorted(counts) for strategy, counts in sorted(yields.items())},
        rejected=_sorted(rejected),
        languages=_sorted(languages),
        domains=_sorted(domains),
        issue_styles=_sorted(styles),
        splits=release.tasks if release else {},
        gates=release.dropped if release else {},
        not_checked=release.not_checked if release else {},
        health=health_of(layout, manifest),
        runs=run_records(layout),
    )


def health_of(layout: DatasetLayout, manifest: ShardManifest) -> HealthSummary:
    """How many tasks were rejected later: by a dataset's own history, or by those of the datasets of a release.

    Raises:
        DatasetDamaged: the history cannot be read.
    """
    tasks, release = sum(one.tasks for one in manifest.ingestions), manifest.release
    if release is not None:
        gone = sum(number for reasons in release.dropped.values() for number in reasons.values())
        return HealthSummary(
            accepted=tasks + gone,
            checked=release.checked,
            quarantined=sum(release.dropped.get("health", {}).values()),
            last_checked_at=release.last_checked_at,
        )
    checks = read_health(layout)
    own: dict[str, list[HealthCheck]] = {}
    for one in checks:
        own.setdefault(one.instance_id, []).append(one)
    return HealthSummary(
        accepted=tasks,
        checked=len(own),
        quarantined=sum(map(in_quarantine, own.values())),
        last_checked_at=max((one.checked_at for one in checks), default=None),
    )


def run_records(layout: DatasetLayout) -> tuple[RunRecord, ...]:
    """What the runs that filled a dataset folder took, by name.

    Raises:
        DatasetDamaged: a record cannot be read.
    """
    return tuple(_run_record(path) for path in sorted(layout.runs.glob("*.json")))


def _run_record(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DatasetDamaged(
            f"{path} cannot be read: {error.strerror}. Delete it: only a run's times belong there."
        ) from error
    except ValidationError as error:
        raise DatasetDamaged(
            f"{path} is damaged ({error.error_count()} fields cannot be read). It holds nothing but a run's times: "
            "delete it."
        ) from error


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
