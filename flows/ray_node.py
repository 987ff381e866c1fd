"""What a node of a Ray cluster does: have the environment, judge what the desk gives, tell the desk what was found."""

import platform
import socket
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple

from filelock import FileLock

from flows.bench import Bench, Brief, Job
from flows.settings import default_cache_dir
from schemas.errors import GymforgeError, SandboxUnavailable
from storage.manifest import gymforge_version
from validation.sandbox.protocol import ENV_DIR, SandboxBackend
from validation.sandbox.select import open_backend

_PYTHON_S = 60.0


class Found(NamedTuple):
    """What became of a job."""

    position: int
    packed: bytes
    """A `Proof` as compressed JSON."""


class Collected(NamedTuple):
    """What a desk has for the driver."""

    found: list[Found]
    """New since the last time."""
    waiting: int
    """Jobs that nobody has taken."""
    open: int
    """These and those that somebody is at."""


class Desk:
    """Gives the jobs of one wave to workers, one at a time, and gathers what they find; its calls are one at a time.

    A job belongs to the worker that took it until that tells what it found, or is lost. What comes twice counts once.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = deque(jobs)
        self._taken: dict[str, Job] = {}
        """By worker."""
        self._lost: set[str] = set()
        self._deaths: Counter[int] = Counter()
        self._done: set[int] = set()
        self._found: list[Found] = []

    def exchange(self, worker: str, found: Found | None) -> Job | None:
        """Take what a worker found for its job, and give it another; `None` when there is none.

        A worker that says nothing about its job gets it again: it was kept from judging it.
        """
        if found is not None:
            self._taken.pop(worker, None)
            if found.position not in self._done:
                self._done.add(found.position)
                self._found.append(found)
                if worker in self._lost:
                    self._waiting = deque(job for job in self._waiting if job.position != found.position)
        if worker in self._lost:  # it was only out of reach, and its job is another's
            return None
        if worker not in self._taken and self._waiting:
            self._taken[worker] = self._waiting.popleft()
        return self._taken.get(worker)

    def lost(self, worker: str) -> int:
        """Have a dead worker's job taken by another; returns how many workers have died at that job."""
        self._lost.add(worker)
        job = self._taken.pop(worker, None)
        if job is None or job.position in self._done:
            return 0
        self._waiting.appendleft(job)
        self._deaths[job.position] += 1
        return self._deaths[job.position]

    def close(self) -> None:
        """Give no more jobs."""
        self._waiting.clear()

    def collect(self) -> Collected:
        """What was found since the last call, and what is left to do."""
        found, self._found = self._found, []
        return Collected(found, len(self._waiting), len(self._waiting) + len(self._taken))


class Handed(NamedTuple):
    """What the driver hands to every worker by the object store: references, for Ray brings each to a node once."""

    brief: Any
    environment: tuple[Any, ...]
    """The pieces of the stored environment."""
    version: str
    """Of the driver's gymforge."""


class Worker:
    """One worker's share of a wave; called in a process on a node, where it ends when the desk has nothing more."""

    def __init__(self, name: str, handed: Handed, desk: Any) -> None:
        self.name = name
        self._handed = handed
        self._desk = desk

    def __call__(self) -> "Share":
        """Judge what the desk gives.

        Raises:
            GymforgeError: this node cannot judge; the message names it.
        """
        import ray

        began, judged, judging_s, found = monotonic(), 0, 0.0, None
        with _named():
            bench = _bench(self._handed)
            preparing_s = monotonic() - began
            while True:
                job: Job | None = ray.get(self._desk.exchange.remote(self.name, found))
                if job is None:
                    return Share(judged, judging_s, preparing_s, monotonic() - began)
                given = monotonic()
                proof = bench.judge(job)
                found = Found(job.position, zlib.compress(proof.model_dump_json().encode(), level=1))
                judged += 1
                judging_s += monotonic() - given


class Share(NamedTuple):
    """What a worker did of a wave, and the seconds that it took."""

    judged: int
    judging_s: float
    preparing_s: float
    """Until it had the environment and what else it judges by."""
    whole_s: float


class _Held:
    """The bench of this process: it stays warm from wave to wave."""

    of: Any = None
    """The brief that it was made from, by reference."""
    bench: Bench | None = None


def _bench(handed: Handed) -> Bench:
    if _Held.bench is not None and _Held.of == handed.brief:
        return _Held.bench
    if _Held.bench is not None:
        _Held.bench.close()
        _Held.bench = None
    if handed.version != gymforge_version():
        raise SandboxUnavailable(
            f"gymforge {gymforge_version()} is installed there, and {handed.version} on the driver's machine: install "
            "the same on every node."
        )
    import ray

    brief: Brief = ray.get(handed.brief)
    _Held.bench, _Held.of = Bench(brief, prepared(brief, handed)), handed.brief
    return _Held.bench


def prepared(brief: Brief, handed: Handed) -> SandboxBackend:
    """A sandbox backend of this node that holds the environment; where it does not yet, the driver's is stored in it.

    Raises:
        SandboxUnavailable: this node has no such sandbox, or the environment does not run in it.
        StorageFailed: there is no room for the environment.
    """
    import ray

    cache_dir, info = default_cache_dir(), brief.environment
    backend = open_backend(info.sandbox.value, cache_dir=cache_dir)
    locks = cache_dir / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{info.key}.{info.sandbox.value}.received.lock"):
        if not backend.has(info.image_name):
            backend.receive((ray.get(piece) for piece in handed.environment), info.image_name)
            try:
                _require_python(backend, brief)
            except BaseException:
                backend.remove(info.image_name)
                raise
    return backend


def _require_python(backend: SandboxBackend, brief: Brief) -> None:
    """See that the environment's interpreter runs here and is the one that it was made for."""
    wanted = brief.environment.python_version
    command = [f"{ENV_DIR}/bin/python", "-I", "-c", "import platform; print(platform.python_version())"]
    with backend.open(brief.environment.image_name) as sandbox:
        result = sandbox.run(command, timeout_s=_PYTHON_S)
    found = result.stdout.decode(errors="replace").strip()
    if result.exit_code != 0 or found != wanted:
        found = found or result.stderr.decode(errors="replace").strip()[-200:] or "none"
        raise SandboxUnavailable(
            f"The environment needs CPython {wanted} where the driver's machine has it, and finds {found} "
            f"({platform.machine()}): install the same on every node, or use Docker sandboxes with one base image."
        )


@contextmanager
def _named() -> Iterator[None]:
    """Errors inside name this node."""
    try:
        yield
    except GymforgeError as error:
        named = type(error)(f"Node {socket.gethostname()}: {error}")
        named.transient = error.transient
        raise named from error
