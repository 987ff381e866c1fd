"""Verify a dataset: choose tasks, find or rebuild their environments, and hand each to the verifier."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from extractors.acquire import acquire
from extractors.profile import profile_repository
from flows.progress import listener
from flows.settings import default_cache_dir
from schemas.errors import InvalidInput
from schemas.model import Model
from schemas.tasks import TaskInstance
from storage.layout import DatasetLayout
from storage.manifest import read_manifest
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


def verify_dataset(
    directory: Path,
    *,
    sample: int | None,
    sandbox: str,
    source: str | None,
    workers: int,
    cache_dir: Path | None = None,
) -> VerificationOutcome:
    """Verify all tasks of a dataset, or a sample chosen by the hash of their ids.

    Raises:
        DatasetError: the folder is no dataset, or a shard is damaged.
        InvalidInput: an environment is not stored here and its repository cannot be found without `source`.
    """
    chosen = tuple(load_tasks(directory, ids=choose_ids(directory, sample), check=True))
    backend = open_backend(sandbox, cache_dir=cache_dir or default_cache_dir())
    quarantined = {
        (one.repo, one.commit): frozenset(one.quarantined) for one in read_manifest(DatasetLayout(directory)).ingestions
    }
    groups: dict[tuple[str, str, str], list[TaskInstance]] = {}
    for task in chosen:
        groups.setdefault((task.repo, task.base_commit, task.image_name), []).append(task)
    found: list[Verification] = []
    for (repo, commit, _), tasks in sorted(groups.items()):
        listener().stage(f"environment of {repo}")
        image = environment_of(tasks[0], backend, source=source, cache_dir=cache_dir or default_cache_dir())
        listener().stage(f"clean tree of {repo}")
        verifier = Verifier(
            backend,
            image,
            test_command=tasks[0].test_command,
            quarantined=quarantined.get((repo, commit), frozenset()),
            limits=Limits(),
        )
        listener().stage("verify", total=len(tasks))
        found += _verify_all(verifier, tasks, workers)
    return VerificationOutcome(
        sandbox=backend.kind,
        verified=len(found),
        disagreeing={one.instance_id: one.disagreements for one in found if one.disagreements},
    )


def _verify_all(verifier: Verifier, tasks: Sequence[TaskInstance], workers: int) -> list[Verification]:
    found = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for verification in pool.map(verifier.verify, tasks):
            listener().advance(note=verification.instance_id)
            found.append(verification)
    return found


def choose_ids(directory: Path, sample: int | None) -> tuple[str, ...]:
    """The ids with the lowest hashes: the same sample every time, and a fair one."""
    ids = (summary.instance_id for summary in summarize_tasks(directory))
    by_hash = sorted(ids, key=lambda one: hashlib.sha256(one.encode()).hexdigest())
    return tuple(by_hash if sample is None else by_hash[:sample])


def environment_of(task: TaskInstance, backend: SandboxBackend, *, source: str | None, cache_dir: Path) -> str:
    """The name of the task's environment in this backend; built again from its recorded versions where it is not."""
    if backend.kind == task.validation.sandbox and backend.has(task.image_name):
        return task.image_name
    origin = source or task.provenance.url
    if origin.startswith("local/"):
        raise InvalidInput(
            f"The environment {task.image_name} is not stored for the {backend.kind} sandbox, and {task.repo} was "
            "ingested from a local path. Say where it is now with --source."
        )
    with tempfile.TemporaryDirectory(prefix="gymforge-verify-") as folder:
        checkout = acquire(origin, ref=task.base_commit, cache_dir=cache_dir, destination=Path(folder) / "tree")
        profile = profile_repository(checkout.path)
        environment = build_environment(
            checkout.path,
            checkout.ref,
            with_runner(profile),
            backend=backend,
            cache_dir=cache_dir,
            cutoff=None,
            lock=task.provenance.dependencies,
            python_version=task.provenance.python_version if backend.kind == task.validation.sandbox else None,
        )
    return environment.image_name
