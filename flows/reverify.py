"""Verify a dataset: choose tasks, hand each repository's to the verifier, and keep what they gave."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows.progress import listener
from flows.recheck import Asked, Unchecked, check_tasks, tasks_of
from flows.settings import default_cache_dir
from schemas.errors import DatasetError
from schemas.health import HealthCheck
from schemas.manifest import Ingestion
from schemas.model import Model
from storage.durable import refuse_unwritable
from storage.health import add_health, read_health
from storage.layout import DatasetLayout
from storage.manifest import gymforge_version, open_for_reading, read_manifest
from task_registry import summarize_tasks
from task_registry.gates.health import in_quarantine
from validation.sandbox.select import AUTO, open_backend
from validation.verify import Verification


class VerificationOutcome(Model):
    """What verifying a dataset gave."""

    sandbox: str
    """Kinds of sandbox in which tasks ran."""
    verified: int
    disagreeing: Mapping[str, tuple[str, ...]]
    """Instance id to what speaks against it; empty when every task holds."""
    ids: tuple[str, ...]
    """Of the tasks that were verified, sorted."""
    unchecked: tuple[Unchecked, ...] = ()
    """Tasks that were to be verified and could not."""

    @property
    def left_over(self) -> int:
        """How many tasks could not be verified."""
        return sum(len(one.ids) for one in self.unchecked)


def verify_dataset(
    directory: Path,
    *,
    sample: int | None,
    sandbox: str,
    source: str | None,
    workers: int,
    record: bool = False,
    quarantined: bool = False,
    cache_dir: Path | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> VerificationOutcome:
    """Verify all tasks of a dataset, or a sample; a repository that cannot be had stops no other.

    `sample`: so many, those first that were checked least often or longest ago, and then by the hash of their ids.
    `sandbox`: its kind; `auto` for the one in which each repository's tasks were made.
    `quarantined`: only those that the gate `health` keeps out.
    `record`: add what a repository's tasks gave to the dataset's history as soon as it is known. The gate `health`
    quarantines tasks by it, so it is told only what is certain: nothing of another kind of sandbox, nothing where the
    clean tree itself is not what it was, and that a task does not hold when two runs say so.

    Raises:
        DatasetError: the folder is no dataset, or of another schema; or a release, in which nothing is recorded.
        DatasetDamaged: a file in it is damaged.
        SandboxUnavailable, MissingExtra: the sandbox that was asked for is not there.
        StorageFailed: the outcome cannot be recorded.
    """
    if record:
        _refuse_unrecordable(DatasetLayout(directory))
    layout = open_for_reading(directory)
    asked = Asked(directory, sandbox, source, workers, cache_dir or default_cache_dir(), certain=record)
    if sandbox != AUTO:
        open_backend(sandbox, cache_dir=asked.cache_dir)
    found: list[Verification] = []
    unchecked: list[Unchecked] = []
    kinds: set[str] = set()
    waiting = in_turn(directory, read_health(layout), quarantined=quarantined)
    # What cannot be had is asked for each time, for it was checked least often; others come in its place.
    while wanted := waiting[: None if sample is None else max(0, sample - len(found))]:
        waiting = waiting[len(wanted) :]
        for ingestion, ids in _by_ingestion(layout, wanted):
            checked = check_tasks(asked, ingestion, ids)
            if checked.found:
                kinds.add(asked.kind(ingestion))
                if record:
                    add_health(layout, _as_checks(checked.found, asked.kind(ingestion), now()))
            if checked.stopped:
                waiting = [one for one in waiting if _of(one) != _of(ids[0])]
            for one in checked.unchecked:
                listener().fact(f"{one.repo}: {len(one.ids)} tasks could not be checked: {one.reason}")
            found += checked.found
            unchecked += checked.unchecked
    return VerificationOutcome(
        sandbox=" and ".join(sorted(kinds)),
        verified=len(found),
        disagreeing={one.instance_id: one.disagreements for one in found if one.disagreements},
        ids=tuple(sorted(one.instance_id for one in found)),
        unchecked=tuple(unchecked),
    )


def _refuse_unrecordable(layout: DatasetLayout) -> None:
    """Before any work: what could be recorded only at its end, in vain."""
    if read_manifest(layout).release is not None:
        raise DatasetError(
            f"{layout.root} is a release, which nothing is recorded in. Give --record with a dataset that it was made "
            "of, or leave it out."
        )
    refuse_unwritable(layout.root, instead="leave out --record")


def _as_checks(found: Sequence[Verification], kind: str, moment: datetime) -> list[HealthCheck]:
    version = gymforge_version()
    return [
        HealthCheck(
            instance_id=one.instance_id,
            checked_at=moment,
            sandbox=kind,
            gymforge_version=version,
            disagreements=one.disagreements,
        )
        for one in sorted(found, key=lambda one: one.instance_id)
    ]


def in_turn(directory: Path, history: Sequence[HealthCheck] = (), *, quarantined: bool = False) -> list[str]:
    """All ids, those first that were checked least often or longest ago; of the same history, by their hashes."""
    checks: dict[str, list[HealthCheck]] = {}
    for check in history:
        checks.setdefault(check.instance_id, []).append(check)

    def turn(instance_id: str) -> tuple[int, datetime, str]:
        own = checks.get(instance_id, ())
        last = max((check.checked_at for check in own), default=datetime.min.replace(tzinfo=UTC))
        return len(own), last, hashlib.sha256(instance_id.encode()).hexdigest()

    found = (summary.instance_id for summary in summarize_tasks(directory))
    if quarantined:
        found = (one for one in found if in_quarantine(checks.get(one, ())))
    return sorted(found, key=turn)


def _by_ingestion(layout: DatasetLayout, wanted: Sequence[str]) -> Iterator[tuple[Ingestion, list[str]]]:
    """Repositories and commits that have some of these tasks, and which."""
    for ingestion in read_manifest(layout).ingestions:
        ids = [task.instance_id for task in tasks_of(layout.root, ingestion, wanted)]
        if ids:
            yield ingestion, ids


def _of(instance_id: str) -> str:
    """Its repository and commit, as it names them."""
    return instance_id.rpartition(".")[0]
