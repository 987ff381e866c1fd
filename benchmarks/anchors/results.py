"""What was measured, kept a line a candidate as soon as it is done, so that a killed measurement goes on."""

import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, TypeAdapter, ValidationError

from benchmarks.anchors.subject import Chosen, Subject
from schemas.errors import DatasetDamaged, InvalidInput
from schemas.model import Model


class Session(Model):
    """One start of a measurement; a measurement that was stopped and went on has more than one."""

    kind: Literal["session"] = "session"
    number: int
    date: str
    machine: Mapping[str, str]


class Reference(Model):
    """The suite's run on the clean tree, which candidates are compared with; shared, so it counts in no ratio."""

    kind: Literal["reference"] = "reference"
    session: int
    seconds: float
    passed: int


class Measured(Model):
    """One candidate."""

    kind: Literal["candidate"] = "candidate"
    session: int
    position: int
    id: str
    started_s: float
    """Since the session's first candidate was begun."""
    ended_s: float
    phases_s: Mapping[str, float] = Field(default_factory=dict)
    """`start`, `apply`, `tests`, `clean_up`, where they are known apart."""
    accepted: bool
    reason: str = ""
    """Why it was rejected; empty where it was accepted."""
    failing: tuple[str, ...] = ()
    """Tests that the bug breaks, sorted, whether accepted or not."""
    passing: int = 0
    """How many tests still pass."""
    facts: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """What else is known of tests, by name of the fact; each anchor says which facts it gives."""

    load: float | None = None
    """Load average of the last minute at its end, on the whole machine: above the number of workers, others worked."""

    @property
    def seconds(self) -> float:
        """From its start to its end."""
        return self.ended_s - self.started_s


Record = Annotated[Session | Reference | Measured, Field(discriminator="kind")]
_RECORD: TypeAdapter[Session | Reference | Measured] = TypeAdapter(Record)


class Store:
    """The lines of one measurement: one anchor, sample seed and number of workers on one subject."""

    def __init__(self, path: Path, lines: Sequence[Session | Reference | Measured]) -> None:
        self.path = path
        self._lines = list(lines)
        self._lock = threading.Lock()
        self.session = 1 + sum(isinstance(line, Session) for line in lines)

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Read what is there, and keep other processes from writing to it.

        Raises:
            InvalidInput: another process has it open.
            DatasetDamaged: a line is not one of ours.
        """
        from filelock import FileLock, Timeout

        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InvalidInput(f"{path} is being written by another process; wait for it") from None
        with lock:
            yield cls(path, _read(path))

    def measured(self) -> Mapping[str, Measured]:
        """What is done, by candidate id."""
        return {line.id: line for line in self._lines if isinstance(line, Measured)}

    def of_kind(self, kind: type[Session] | type[Reference]) -> tuple[Session | Reference, ...]:
        """The lines of one kind, oldest first."""
        return tuple(line for line in self._lines if isinstance(line, kind))

    def append(self, line: Session | Reference | Measured) -> None:
        """Keep one line; it is on the disk when this returns. Thread-safe."""
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(line.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
            self._lines.append(line)

    def begin(self, *, machine: Mapping[str, str]) -> None:
        """Begin a session."""
        self.append(Session(number=self.session, date=datetime.now(UTC).date().isoformat(), machine=machine))


class Measurement(NamedTuple):
    """Which measurement: what its file is named after."""

    subject: Subject
    anchor: str
    size: int
    seed: int
    workers: int

    @property
    def path(self) -> Path:
        """Its lines. The folder stands for repository, commit and environment."""
        return self.subject.folder / f"{self.anchor}-seed{self.seed}-workers{self.workers}.jsonl"

    def sample(self) -> tuple[Chosen, ...]:
        return self.subject.sample(self.size, seed=self.seed)

    def left(self, store: Store) -> tuple[Chosen, ...]:
        """What is still to be done, in the sample's order."""
        done = store.measured()
        return tuple(one for one in self.sample() if one.id not in done)


def work(
    store: Store,
    todo: Sequence[Chosen],
    judge: Callable[[Chosen], Measured],
    *,
    workers: int,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Judge candidates side by side and keep each as soon as it is done; times count from here."""
    began = monotonic()

    def one(chosen: Chosen) -> None:
        started_s = monotonic() - began
        found = judge(chosen)
        line = found.model_copy(
            update={
                "session": store.session,
                "started_s": started_s,
                "ended_s": monotonic() - began,
                "load": load(),
            }
        )
        store.append(line)
        tell(f"{chosen.id}: {line.reason or 'accepted'}, {line.seconds:.1f} s")

    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(one, chosen) for chosen in todo]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()


def load() -> float:
    """Processes that want to run, in the mean of the last minute."""
    return round(os.getloadavg()[0], 2)


def machine(engine: str = "") -> Mapping[str, str]:
    """What the figures were taken on; `engine` is the Docker Engine's version."""
    models = {line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")}
    facts = {
        "cpus": str(len(os.sched_getaffinity(0))),
        "model": ", ".join(sorted(models)) or platform.machine(),
        "kernel": platform.release(),
        "memory_gib": str(round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)),
        "python": platform.python_version(),
    }
    return facts | ({"docker": engine} if engine else {})


def _cpu_lines() -> Sequence[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ()


def _read(path: Path) -> list[Session | Reference | Measured]:
    """All lines; a last one that was cut off by a kill is taken away."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with path.open("r+b") as file:
            file.truncate(len(whole))
    try:
        return [_RECORD.validate_json(line) for line in whole.splitlines()]
    except ValidationError as error:
        raise DatasetDamaged(
            f"{path} holds a line that is none of this benchmark's; delete the file\n{error}"
        ) from error
