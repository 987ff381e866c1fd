"""Verify one repository's tasks again, behind a boundary: what fails there is told, and stops no other repository."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from extractors.acquire import acquire
from flows.progress import listener
from schemas.errors import BaselineFailed, EnvironmentFailed, GymforgeError, InvalidInput, SandboxFailed
from schemas.manifest import Ingestion
from schemas.model import Model
from schemas.printable import printable
from schemas.tasks import TaskInstance
from task_registry import load_tasks
from validation.environment import build_environment
from validation.sandbox.protocol import Limits, SandboxBackend
from validation.sandbox.select import AUTO, open_backend
from validation.suite import with_runner
from validation.verify import Verification, Verifier


class Asked(NamedTuple):
    """How tasks are to be verified."""

    directory: Path
    sandbox: str
    """`auto` for the kind in which each repository's tasks were made."""
    source: str | None
    workers: int
    cache_dir: Path
    certain: bool
    """Whether only what is certain counts, since it is kept for good."""

    def kind(self, ingestion: Ingestion) -> str:
        return ingestion.environment.sandbox if self.sandbox == AUTO else self.sandbox


class Unchecked(Model):
    """Tasks of one repository and commit of which nothing can be said."""

    repo: str
    commit: str
    ids: tuple[str, ...]
    """Sorted."""
    reason: str


class _Broke(NamedTuple):
    """A task whose sandboxes died, which says nothing about it."""

    instance_id: str
    reason: str


_UNDECIDED = "one run speaks against them, and the one after does not"


class Checked(NamedTuple):
    """What became of one repository's tasks."""

    found: list[Verification]
    unchecked: list[Unchecked]
    stopped: bool
    """Whether the repository's other tasks would fare no better."""


def check_tasks(asked: Asked, ingestion: Ingestion, ids: Sequence[str]) -> Checked:
    """Verify tasks of one repository and commit; raises nothing.

    Where only what is certain counts: nothing is said of tasks that were made in another kind of sandbox, nor where the
    clean tree is not what it was; and against a task only what a second run says too, of another clean tree, alone.

    The one broad catch: whatever it raises is the repository's own affair, and is written down.
    """
    found: list[Verification] = []
    lost: dict[str, list[str]] = {}
    stopped = False
    try:
        verifier = _open_verifier(asked, ingestion, ids)
        listener().stage("verify", total=len(ids))
        for one in _verify_all(
            verifier, tasks_of(asked.directory, ingestion, ids), asked.workers, certain=asked.certain
        ):
            listener().advance(note=one.instance_id)
            if isinstance(one, _Broke):
                lost.setdefault(one.reason, []).append(one.instance_id)
            else:
                found.append(one)
        doubtful = [one.instance_id for one in found if one.disagreements] if asked.certain else []
        if doubtful:
            listener().stage("verify again", total=len(doubtful))
            first = {one.instance_id: one for one in found}
            verifier = _open_verifier(asked, ingestion, doubtful)
            for one in _verify_all(verifier, tasks_of(asked.directory, ingestion, doubtful), 1, certain=True):
                listener().advance(note=one.instance_id)
                if isinstance(one, _Broke) or not one.disagreements:
                    found.remove(first[one.instance_id])
                    lost.setdefault(_UNDECIDED, []).append(one.instance_id)
    except Exception as error:  # noqa: BLE001 - see above
        stopped = True
        if asked.certain:  # what speaks against a task was not confirmed, or the clean tree says that nothing counts
            found = [] if isinstance(error, BaselineFailed) else [one for one in found if not one.disagreements]
        kept = {one.instance_id for one in found}.union(*lost.values())
        lost.setdefault(told(error), []).extend(one for one in ids if one not in kept)
    unchecked = [
        Unchecked(repo=ingestion.repo, commit=ingestion.commit, ids=tuple(sorted(names)), reason=reason)
        for reason, names in lost.items()
    ]
    return Checked(found, unchecked, stopped)


def told(error: Exception) -> str:
    """An error in words; one that nobody foresaw with its class."""
    return str(error) if isinstance(error, GymforgeError) else printable(f"Unforeseen {type(error).__name__}: {error}")


def tasks_of(directory: Path, ingestion: Ingestion, ids: Iterable[str]) -> Iterator[TaskInstance]:
    """Those of the tasks that an ingestion made."""
    found = load_tasks(directory, repo=ingestion.repo, ids=ids)
    return (task for task in found if task.base_commit == ingestion.commit)


def _open_verifier(asked: Asked, ingestion: Ingestion, ids: Sequence[str]) -> Verifier:
    kind, recorded = asked.kind(ingestion), ingestion.environment.sandbox
    if asked.certain and kind != recorded:
        raise InvalidInput(
            f"its tasks were made in the {recorded} sandbox, and only what they give there is recorded. Leave out "
            "--sandbox, or --record."
        )
    backend = open_backend(kind, cache_dir=asked.cache_dir)
    first = next(tasks_of(asked.directory, ingestion, ids[:1]))
    listener().stage(f"environment of {ingestion.repo}")
    image = environment_of(ingestion, backend, source=asked.source, cache_dir=asked.cache_dir)
    listener().stage(f"clean tree of {ingestion.repo}")
    verifier = Verifier(
        backend,
        image,
        test_command=first.test_command,
        environment=dict(variable.split("=", 1) for variable in first.provenance.environment),
        unrecorded=frozenset((*ingestion.quarantined, *ingestion.not_passing)),
        limits=Limits(),
    )
    if asked.certain:
        verifier.require_baseline(first)
    return verifier


def _verify_all(
    verifier: Verifier, tasks: Iterator[TaskInstance], workers: int, *, certain: bool
) -> Iterator[Verification | _Broke]:
    """Verify task by task; only a few rows are in memory at a time."""

    def verify(task: TaskInstance) -> Verification | _Broke:
        try:
            found = verifier.verify(task)
        except SandboxFailed as error:
            return _Broke(task.instance_id, str(error))
        if certain:  # also by what a further run of the clean tree told meanwhile
            verifier.require_baseline(task)
        return found

    with ThreadPoolExecutor(max_workers=workers) as pool:
        while batch := tuple(islice(tasks, 4 * workers)):
            yield from pool.map(verify, batch)


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
