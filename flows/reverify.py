"""Verify a dataset: choose tasks, find or rebuild their environments, and hand each to the verifier."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path

from extractors.acquire import acquire
from flows.progress import listener
from flows.settings import default_cache_dir
from schemas.errors import EnvironmentFailed, InvalidInput
from schemas.health import HealthCheck
from schemas.manifest import Ingestion
from schemas.model import Model
from schemas.tasks import TaskInstance
from storage.durable import refuse_unwritable
from storage.health import add_health, read_health
from storage.manifest import gymforge_version, open_for_reading, read_manifest
from task_registry import load_tasks, summarize_tasks
from validation.environment import build_environment
from validation.sandbox.protocol import Limits, SandboxBackend
from validation.sandbox.select import open_backend
from validation.suite import with_runner
from validation.verify import Verification, Verifier


class VerificationOutcome(Model):
    """What verifying a dataset gave."""

    sandbox: str
    verified: int
    disagreeing: Mapping[str, tuple[str, ...]]
    """Instance id to what speaks against it; empty when every task holds."""
    ids: tuple[str, ...]
    """Of the tasks that were verified, sorted."""


def verify_dataset(
    directory: Path,
    *,
    sample: int | None,
    sandbox: str,
    source: str | None,
    workers: int,
    record: bool = False,
    cache_dir: Path | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> VerificationOutcome:
    """Verify all tasks of a dataset, or a sample.

    `sample`: so many, those first that were checked least often or longest ago, and then by the hash of their ids.
    `record`: add the outcome to the dataset's history, from which the gate `health` quarantines tasks.

    Raises:
        DatasetError: the folder is no dataset, or of another schema.
        DatasetDamaged: a file in it is damaged.
        InvalidInput: an environment is not stored here and its repository cannot be found without `source`.
        StorageFailed: the outcome cannot be recorded.
    """
    layout = open_for_reading(directory)
    if record:
        refuse_unwritable(layout.root, instead="leave out --record")
    backend = open_backend(sandbox, cache_dir=cache_dir or default_cache_dir())
    ids = choose_ids(directory, sample, read_health(layout))
    found: list[Verification] = []
    for ingestion in read_manifest(layout).ingestions:
        own = load_tasks(directory, repo=ingestion.repo, ids=ids)
        tasks = (task for task in own if task.base_commit == ingestion.commit)
        first = next(tasks, None)
        if first is None:
            continue
        listener().stage(f"environment of {ingestion.repo}")
        image = environment_of(ingestion, backend, source=source, cache_dir=cache_dir or default_cache_dir())
        listener().stage(f"clean tree of {ingestion.repo}")
        verifier = Verifier(
            backend,
            image,
            test_command=first.test_command,
            environment=dict(variable.split("=", 1) for variable in first.provenance.environment),
            unrecorded=frozenset((*ingestion.quarantined, *ingestion.not_passing)),
            limits=Limits(),
        )
        listener().stage("verify", total=min(len(ids), ingestion.tasks))
        found += _verify_all(verifier, chain([first], tasks), workers)
    if record:
        moment, version = now(), gymforge_version()
        checks = [
            HealthCheck(
                instance_id=one.instance_id,
                checked_at=moment,
                sandbox=backend.kind,
                gymforge_version=version,
                disagreements=one.disagreements,
            )
            for one in sorted(found, key=lambda one: one.instance_id)
        ]
        add_health(layout, checks)
    return VerificationOutcome(
        sandbox=backend.kind,
        verified=len(found),
        disagreeing={one.instance_id: one.disagreements for one in found if one.disagreements},
        ids=tuple(sorted(one.instance_id for one in found)),
    )


def _verify_all(verifier: Verifier, tasks: Iterator[TaskInstance], workers: int) -> list[Verification]:
    """Verify task by task; only a few rows are in memory at a time."""
    found = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        while batch := tuple(islice(tasks, 4 * workers)):
            for verification in pool.map(verifier.verify, batch):
                listener().advance(note=verification.instance_id)
                found.append(verification)
    return found


def choose_ids(directory: Path, sample: int | None, history: Sequence[HealthCheck] = ()) -> tuple[str, ...]:
    """The ids that were checked least often, or longest ago; of those with the same history, with the lowest hashes."""
    times: dict[str, list[datetime]] = {}
    for check in history:
        times.setdefault(check.instance_id, []).append(check.checked_at)

    def turn(instance_id: str) -> tuple[int, datetime, str]:
        checked = times.get(instance_id, [])
        last = max(checked, default=datetime.min.replace(tzinfo=UTC))
        return len(checked), last, hashlib.sha256(instance_id.encode()).hexdigest()

    ordered = sorted((summary.instance_id for summary in summarize_tasks(directory)), key=turn)
    return tuple(ordered if sample is None else ordered[:sample])


def environment_of(ingestion: Ingestion, backend: SandboxBackend, *, source: str | None, cache_dir: Path) -> str:
    """The name of an ingestion's environment in this backend; built again as it was recorded where it is not stored.

    Raises:
        InvalidInput: it has to be built again, and the repository cannot be found without `source`.
        EnvironmentFailed: what was built is not what was recorded.
    """
    recorded = ingestion.environment
    same_kind = backend.kind is recorded.sandbox
    if same_kind and backend.has(recorded.image_name):
        return recorded.image_name
    origin = source or ingestion.url
    if origin.startswith("local/"):
        raise InvalidInput(
            f"The environment {recorded.image_name} is not stored for the {backend.kind} sandbox, and {ingestion.repo} "
            "was ingested from a local path. Say where it is now with --source."
        )
    with tempfile.TemporaryDirectory(prefix="gymforge-verify-") as folder:
        checkout = acquire(origin, ref=ingestion.commit, cache_dir=cache_dir, destination=Path(folder) / "tree")
        built = build_environment(
            checkout.path,
            # The name is part of the environment's hash, and another path to the repository may give another.
            checkout.ref.model_copy(update={"name": ingestion.repo}),
            with_runner(ingestion.profile),
            backend=backend,
            cache_dir=cache_dir,
            cutoff=recorded.cutoff,
            lock=recorded.dependencies,
            python_version=recorded.python_version if same_kind else None,
        )
    if same_kind and built.image_name != recorded.image_name:
        raise EnvironmentFailed(
            f"The environment of {ingestion.repo} was recorded as {recorded.image_name}, and is {built.image_name} "
            "when it is built again here. Compare Python, architecture and dependencies with those in manifest.json."
        )
    return built.image_name
