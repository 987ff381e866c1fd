"""What a node of a Ray cluster does: have the environment, judge what the desk gives, tell the desk what was found."""

import platform
import socket
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, NamedTuple

from filelock import FileLock

from flows.bench import Bench, Brief, Job
from flows.settings import default_cache_dir
from schemas.errors import GymforgeError, SandboxUnavailable
from storage.manifest import gymforge_version
from validation.sandbox.protocol import ENV_DIR, SandboxBackend
from validation.sandbox.select import open_backend
from validation.validate import Proof

_PYTHON_S = 60.0
_IDLE_S = 0.05
_MOST_IDLE_S = 1.0
"""How long a worker waits before it asks again where there was nothing: between waves, and at the end of one."""
_QUICK_S = 5.0
"""Below this, a worker takes a job in advance: the way to the desk would be felt."""


class Found(NamedTuple):
    """What became of a job."""

    position: int
    packed: bytes
    """A `Proof` as compressed JSON."""


class Answer(NamedTuple):
    """What a desk gives a worker."""

    job: Job | None
    ask_again: bool
    """Where there is no job: whether there may be one later."""


class Collected(NamedTuple):
    """What a desk has for the driver."""

    found: list[Found]
    """New since the last time."""
    waiting: int
    """Jobs that nobody has taken."""
    open: int
    """These and those that somebody has."""


class Desk:
    """Gives jobs to workers, one at a time, and gathers what they find; its calls are one at a time.

    A job belongs to the worker that took it until that tells what it found, or is lost. What comes twice counts once.
    """

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._taken: dict[str, list[Job]] = {}
        """By worker, in the order in which it judges them."""
        self._begun: set[str] = set()
        self._lost: set[str] = set()
        self._deaths: Counter[int] = Counter()
        self._done: set[int] = set()
        self._found: list[Found] = []
        self._closed = False

    def add(self, jobs: Sequence[Job]) -> None:
        """Have these judged too."""
        self._waiting.extend(jobs)

    def begin(self, worker: str) -> Answer:
        """The first job of a worker; what it took before, and was kept from judging, is waiting again."""
        self._begun.add(worker)
        self._waiting.extendleft(reversed(self._taken.pop(worker, [])))
        return self.exchange(worker, None)

    def exchange(self, worker: str, found: Found | None) -> Answer:
        """Take what a worker found, and give it another job; also while it has one, unless few are left."""
        if found is not None:
            self._note(worker, found)
        if self._closed or worker in self._lost:  # a lost worker was only out of reach, and its jobs are another's
            return Answer(None, ask_again=False)
        taken = self._taken.setdefault(worker, [])
        if not self._waiting or (taken and len(self._waiting) <= len(self._taken)):
            return Answer(None, ask_again=True)
        taken.append(self._waiting.popleft())
        return Answer(taken[-1], ask_again=True)

    def lost(self, worker: str) -> int:
        """Have a dead worker's jobs done by others; returns how many workers have died at the one that it was at."""
        self._lost.add(worker)
        jobs = [job for job in self._taken.pop(worker, []) if job.position not in self._done]
        self._waiting.extendleft(reversed(jobs))
        if not jobs:
            return 0
        self._deaths[jobs[0].position] += 1
        return self._deaths[jobs[0].position]

    def close(self) -> frozenset[str]:
        """Give no more jobs; returns the workers that have ever asked for one."""
        self._closed = True
        self._waiting.clear()
        return frozenset(self._begun)

    def collect(self) -> Collected:
        """What was found since the last call, and what is left to do."""
        found, self._found = self._found, []
        waiting = len(self._waiting)
        return Collected(found, waiting, waiting + sum(map(len, self._taken.values())))

    def _note(self, worker: str, found: Found) -> None:
        if worker in self._taken:
            self._taken[worker] = [job for job in self._taken[worker] if job.position != found.position]
        if found.position not in self._done:
            self._done.add(found.position)
            self._found.append(found)
            if worker in self._lost:
                self._waiting = deque(job for job in self._waiting if job.position != found.position)


class Handed(NamedTuple):
    """What the driver hands to every worker by the object store: references, for Ray brings each to a node once."""

    brief: Any
    environment: tuple[Any, ...]
    """The pieces of the stored environment."""
    version: str
    """Of the driver's gymforge."""


class Worker:
    """One worker's share of a repository; called in a process on a node, where it ends when the desk is closed."""

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

        began, judged, judging_s = monotonic(), 0, 0.0
        with _named():
            bench = _bench(self._handed)
            preparing_s = monotonic() - began
            idle_s = _IDLE_S
            answers = deque([self._desk.begin.remote(self.name)])
            while answers:
                answer: Answer = ray.get(answers.popleft())
                if answer.job is None:
                    if answer.ask_again and not answers:
                        sleep(idle_s)
                        idle_s = min(2 * idle_s, _MOST_IDLE_S)
                        answers.append(self._desk.exchange.remote(self.name, None))
                    continue
                given, idle_s = monotonic(), _IDLE_S
                found = Found(answer.job.position, _packed(bench.judge(answer.job)))
                took_s = monotonic() - given
                judged, judging_s = judged + 1, judging_s + took_s
                answers.append(self._desk.exchange.remote(self.name, found))
                if len(answers) == 1 and took_s < _QUICK_S:  # so that the next one is here when this one is judged
                    answers.append(self._desk.exchange.remote(self.name, None))
        return Share(judged, judging_s, preparing_s, monotonic() - began)


def _packed(proof: Proof) -> bytes:
    return zlib.compress(proof.model_dump_json().encode(), level=1)


class Share(NamedTuple):
    """What a worker did, and the seconds that it took."""

    judged: int
    judging_s: float
    preparing_s: float
    """Until it had the environment and what else it judges by."""
    whole_s: float


class _Held:
    """The bench of this process, which may be given to several workers in turn."""

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
