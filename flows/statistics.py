"""Count a dataset: what is in it, what was rejected and why, and what its runs took."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from flows.run_record import RunRecord
from schemas.errors import DatasetDamaged
from schemas.manifest import FastPathAudit
from schemas.model import Model
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest
from task_registry import load_rejected, summarize_tasks


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
    """Strategy to `accepted` or reason to number."""
    rejected: Mapping[str, int]
    languages: Mapping[str, int]
    domains: Mapping[str, int]
    issue_styles: Mapping[str, int]
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
    rejected: Counter[str] = Counter()
    for row in load_rejected(directory):
        yields.setdefault(row.strategy, Counter())[row.reason] += 1
        rejected[row.reason] += 1
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
        runs=run_records(layout),
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
