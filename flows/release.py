"""Make a release: tasks of one or several datasets that pass every gate, in files of a fitting size, never changed."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from flows.progress import listener
from flows.reverify import verify_dataset
from flows.settings import default_workers
from schemas.errors import DatasetError, GymforgeError, InvalidInput, StorageFailed
from schemas.manifest import Ingestion, Release, ShardManifest
from schemas.model import Model
from schemas.tasks import RejectedCandidate
from storage.durable import require_usable
from storage.layout import DatasetLayout
from storage.lock import locked
from storage.manifest import gymforge_version, open_for_reading, write_manifest
from task_registry import Registry
from task_registry.gates import (
    BLOCKING,
    GATES,
    Facts,
    Finding,
    GateSettings,
    facts_of_text,
    gate,
    not_asked,
    rules_of,
)
from task_registry.splits import Splits


class ReleaseSettings(Model):
    datasets: tuple[str, ...] = Field(min_length=1)
    """Folders or URLs."""
    out: Path
    """A folder that is not there yet."""
    splits: Splits = Field(default_factory=Splits)
    gates: GateSettings = Field(default_factory=GateSettings)
    health: int = Field(default=0, ge=0)
    """Tasks of each dataset to run again before; what is found is kept in the dataset's history."""
    sandbox: str = "auto"
    """Where they run."""
    workers: int = Field(default_factory=default_workers, ge=1)


class _Dropped(NamedTuple):
    gate: str
    finding: Finding


def release_settings(
    datasets: Sequence[str],
    *,
    out: Path,
    shares: Sequence[str],
    seed: int,
    by_name: bool,
    licences: Sequence[str],
    benchmarks: Sequence[str],
    since: date | None,
    near: float,
    health: int,
    sandbox: str,
    workers: int | None,
) -> ReleaseSettings:
    """Settings from what the command line has: `shares` as `NAME=SHARE`; what is empty is the default.

    Raises:
        InvalidInput: one of them is wrong.
    """
    dealt: dict[str, float] = {}
    for share in shares:
        name, _, number = share.partition("=")
        try:
            dealt[name] = float(number)
        except ValueError:
            raise InvalidInput(f"--split {share} is not NAME=SHARE, as in train=0.9") from None
        if not name.isidentifier() or not name.isascii():
            raise InvalidInput(f"--split {share}: a split's name is letters, digits and underscores")
    try:
        splits = Splits(seed=seed, by_history=not by_name, **({"shares": dealt} if dealt else {}))
    except ValidationError as error:
        raise InvalidInput(f"--split: {error.errors(include_url=False)[0]['msg']}") from error
    gates = GateSettings(benchmarks=tuple(benchmarks), since=since, near=near)
    if licences:
        gates = gates.model_copy(update={"licences": tuple(licences)})
    return ReleaseSettings(
        datasets=tuple(datasets),
        out=out,
        splits=splits,
        gates=gates,
        health=health,
        sandbox=sandbox,
        workers=workers or default_workers(),
    )


def make_release(settings: ReleaseSettings) -> ShardManifest:
    """Ask every gate, and write what is left; the same datasets, histories and settings give the same bytes.

    The folder appears when all is in it: a release that was begun and not finished is no release, and the same command
    begins anew.

    Raises:
        InvalidInput: the folder is there already.
        DatasetError: another process makes it. Or a dataset cannot be read (DatasetDamaged), or is a release already.
        MissingExtra: a library that a gate needs is not installed.
        StorageFailed: the file system refuses.
    """
    out = settings.out.resolve()
    require_usable(out.parent, instead="name another folder with --out")
    with locked(out.with_name(f".{out.name}.lock"), held=f"{out} is being made by"):
        return _make(settings, out)


def _make(settings: ReleaseSettings, out: Path) -> ShardManifest:
    from storage.release import Source, write_dropped, write_release

    if out.exists():
        raise InvalidInput(f"{out} is there already, and releases are never changed. Name a new folder with --out.")
    for dataset in settings.datasets:
        if "://" not in dataset:
            open_for_reading(Path(dataset))
        elif settings.health:
            raise InvalidInput(f"{dataset} is a URL, and its tasks cannot be run again there. Say --health 0.")
    registry = Registry.open(*settings.datasets, splits=settings.splits)
    if any(not held.ingestion.shards and held.shards for held in registry.held):
        raise DatasetError("One of the datasets is a release already. Release the datasets that it was made of.")
    _check_health(settings)
    listener().stage("gates")
    facts = registry.facts()
    not_checked = not_asked(facts, settings.gates)
    rules = rules_of(settings.gates)
    dropped = _ask_gates(facts, settings.gates)
    told = [name for name in GATES if name not in not_checked or any(one.gate == name for one in dropped.values())]
    listener().stage("write")
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    layout = DatasetLayout(unfinished)
    try:
        layout.root.mkdir()
        shards = write_release(
            layout,
            [Source(held.place, shard, held.ingestion.repo) for held in registry.held for shard in held.shards],
            splits=sorted(settings.splits.shares),
            dealt=registry.dealt,
            dropped=dropped.keys(),
        )
        rejected = write_dropped(layout, _rejected_rows(facts, dropped))
        manifest = ShardManifest(
            gymforge_version=gymforge_version(),
            ingestions=_ingestions(registry, facts, dropped),
            release=Release(
                sources=tuple(sorted(registry.versions.values())),
                shares=settings.splits.shares,
                splits_seed=settings.splits.seed,
                splits_by_history=settings.splits.by_history,
                tasks={
                    split: sum(shard.rows for shard in shards if shard.split == split)
                    for split in sorted(settings.splits.shares)
                },
                dropped=_counted(dropped, told),
                not_checked=not_checked,
                checked=sum(bool(one.checks) for one in facts),
                last_checked_at=max((check.checked_at for one in facts for check in one.checks), default=None),
                rules=rules,
                shards=shards,
                rejected_shards=rejected,
            ),
        )
        write_manifest(layout, manifest)
        layout.root.rename(out)
    except GymforgeError:  # some are OSErrors too
        raise
    except OSError as error:
        raise StorageFailed(f"cannot write {out}: {error.strerror}. Free space, or name another folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def _check_health(settings: ReleaseSettings) -> None:
    """Run tasks again where that can be done; a release needs none of it, and says how many were checked."""
    for dataset in settings.datasets if settings.health else ():
        try:
            outcome = verify_dataset(
                Path(dataset),
                sample=settings.health,
                sandbox=settings.sandbox,
                source=None,
                workers=settings.workers,
                record=True,
            )
        except GymforgeError as error:
            listener().fact(f"{dataset}: no task could be run again: {error}")
            continue
        unchecked = f", {outcome.left_over} could not be run again" if outcome.unchecked else ""
        listener().fact(
            f"{dataset}: {outcome.verified} tasks run again, {len(outcome.disagreeing)} do not hold{unchecked}"
        )


def _ask_gates(facts: Sequence[Facts], settings: GateSettings) -> Mapping[str, _Dropped]:
    left = {task.instance_id: task for task in facts}
    dropped: dict[str, _Dropped] = {}
    for name in GATES:
        found = gate(name)(tuple(left.values()), settings)
        for instance_id, finding in found.items():
            del left[instance_id]
            dropped[instance_id] = _Dropped(name, finding)
        listener().fact(f"{name}: {len(found)} tasks stay out, {len(left)} are left")
    return dropped


def _ingestions(registry: Registry, facts: Sequence[Facts], dropped: Mapping[str, _Dropped]) -> tuple[Ingestion, ...]:
    """What the manifests say of each repository, with what the release has of it."""
    left = Counter((one.repo, one.base_commit) for one in facts if one.instance_id not in dropped)
    found = []
    for ingestion in (held.ingestion for held in registry.held):
        tasks = left[ingestion.repo, ingestion.commit]
        fields: dict[str, object] = {"shards": (), "rejected_shards": (), "tasks": tasks}
        if not tasks:  # perhaps for what its tests are called
            fields |= {"quarantined": {}, "not_passing": ()}
        found.append(ingestion.model_copy(update=fields))
    return tuple(found)


def _counted(dropped: Mapping[str, _Dropped], told: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in told}
    for one in dropped.values():
        counts[one.gate][one.finding.reason] += 1
    return {name: dict(sorted(found.items())) for name, found in counts.items()}


def _rejected_rows(facts: Sequence[Facts], dropped: Mapping[str, _Dropped]) -> list[RejectedCandidate]:
    details = [facts_of_text(name, one.finding.detail) for name, one in dropped.items()]
    secret = {name for asked in BLOCKING for name in gate(asked)(details, GateSettings())}
    return [
        RejectedCandidate(
            repo=one.repo,
            base_commit=one.base_commit,
            candidate_id=one.instance_id,
            strategy=one.strategy,
            path="",
            entity=one.entity,
            stage="release",
            reason=f"{dropped[one.instance_id].gate}_{dropped[one.instance_id].finding.reason}",
            detail="" if one.instance_id in secret else dropped[one.instance_id].finding.detail,
            bug_patch="",  # a release is given away: nothing of a secret, or of what may not be passed on, is in it
        )
        for one in facts
        if one.instance_id in dropped
    ]
