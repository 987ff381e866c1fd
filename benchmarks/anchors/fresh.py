"""Anchor "fresh": SWE-smith's protocol in a new container for each candidate, without any of its waiting.

What is left out against `swesmith.harness`: the polite stop that every container lets run out (15 s), the network of a
container, folders that are there already, and the reading of files back from the disk. So it is the least that
validation in fresh containers with whole suites takes.
"""

import io
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import Any, Self

from docker.errors import APIError, NotFound
from docker.utils.socket import frames_iter

from benchmarks.anchors import protocol
from benchmarks.anchors.figures import Figures, figures
from benchmarks.anchors.image import LABEL, build_image, engine, told, variables
from benchmarks.anchors.results import Measured, Measurement, Reference, Store, machine, work
from benchmarks.anchors.subject import Chosen, Subject
from schemas.errors import BaselineFailed, SandboxFailed

ANCHOR = "fresh"
_REFERENCE_LIMIT_S = 900
_MAX_LOG_BYTES = 256 * 1024 * 1024
_MEMORY = "10g"


def measure(
    subject: Subject, *, size: int = 20, seed: int = 0, workers: int = 1, tell: Callable[[str], None] = lambda _: None
) -> Figures:
    """Run what is missing of the sample, and sum up.

    Raises:
        GymforgeError: no engine answers, the image does not build, the suite does not run in it.
    """
    measurement = Measurement(subject, ANCHOR, size, seed, workers)
    with Store.open(measurement.path) as store:
        todo = measurement.left(store)
        if todo:
            with told(), FreshContainers(subject, name=str(measurement.path)) as anchor:
                store.begin(machine=machine(anchor.engine_version))
                store.append(anchor.read_reference().model_copy(update={"session": store.session}))
                work(store, todo, anchor.judge, workers=workers, tell=tell)
        return figures(measurement, store)


class FreshContainers:
    """Validates candidates of one subject; `judge` is thread-safe. A context manager, which closes connections."""

    def __init__(self, subject: Subject, *, name: str) -> None:
        """`name`: of this measurement; containers that a killed run of the same name left are removed."""
        self._name = name
        self._threads = threading.local()
        self._connections = ExitStack()
        self.engine_version = str(self._api.version()["Version"])
        for left in self._api.containers(all=True, filters={"label": f"{LABEL}={name}"}):
            self._remove(left["Id"])
        self.image = build_image(subject, self._api)
        self._script = protocol.script(protocol.shell_command(subject.test_command, variables(subject)))
        # The tighter of both limits: SWE-smith's, and the one that the product gives a suite.
        self._limit_s = min(protocol.limit_s(subject.suite_s), subject.baseline.suite_limit_s)
        self._reference: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()

    def read_reference(self) -> Reference:
        """Run the suite on the clean tree; must come first.

        Raises:
            BaselineFailed: no test passes.
        """
        began = monotonic()
        log, timed_out, _ = self._run(None, limit_s=_REFERENCE_LIMIT_S)
        self._reference = {} if timed_out else protocol.read_log(log)
        passed = sum(status == "PASSED" for status in self._reference.values())
        if not passed:
            raise BaselineFailed(
                f"No test passes in the anchors' image {self.image}. The end of the log:\n{log[-2000:]}"
            )
        return Reference(session=0, seconds=monotonic() - began, passed=passed)

    def judge(self, chosen: Chosen) -> Measured:
        """One candidate in a container of its own; as a fact, which tests its log does not tell of (`unread`)."""
        log, timed_out, phases_s = self._run(chosen, limit_s=self._limit_s)
        found = {} if timed_out else protocol.read_log(log)
        grade, unread = protocol.grade(self._reference, found), protocol.unread(self._reference, found)
        reason = "timed_out" if timed_out else "" if grade.failing else "no_test_failed"
        return Measured(
            session=0,
            position=chosen.position,
            id=chosen.id,
            started_s=0.0,
            ended_s=0.0,
            phases_s=phases_s,
            accepted=not reason,
            reason=reason,
            failing=grade.failing,
            passing=grade.passing,
            facts={} if timed_out or not unread else {"unread": unread},
        )

    @property
    def _api(self) -> Any:
        """The calling thread's own connection."""
        if not hasattr(self._threads, "api"):
            self._threads.api = self._connections.enter_context(engine())
        return self._threads.api

    def _run(self, chosen: Chosen | None, *, limit_s: float) -> tuple[str, bool, Mapping[str, float]]:
        """The log, whether the limit was reached, and the seconds of each phase."""
        phases_s: dict[str, float] = {}
        with _timed(phases_s, "start"):
            container = self._start()
        try:
            with _timed(phases_s, "apply"):
                if chosen is not None:
                    self._apply(container, chosen)
                self._put(container, protocol.SCRIPT_PATH, self._script)
            with _timed(phases_s, "tests"):
                log, timed_out = self._run_script(container, limit_s)
        finally:
            with _timed(phases_s, "clean_up"):
                self._remove(container)
        return log, timed_out, {phase: round(seconds, 4) for phase, seconds in phases_s.items()}

    def _start(self) -> str:
        host = self._api.create_host_config(mem_limit=_MEMORY, network_mode="none")
        made = self._api.create_container(
            self.image,
            command="tail -f /dev/null",
            user="root",
            detach=True,
            host_config=host,
            labels={LABEL: self._name},
        )
        self._api.start(made["Id"])
        return str(made["Id"])

    def _apply(self, container: str, chosen: Chosen) -> None:
        path = chosen.candidate.entity.path
        self._exec(container, ["git", "checkout", "--", path])
        self._put(container, protocol.PATCH_PATH, chosen.candidate.bug_patch)
        self._exec(container, ["git", "apply", "--verbose", protocol.PATCH_PATH])

    def _exec(self, container: str, command: list[str]) -> None:
        run = self._api.exec_create(container, command, user="root", workdir=protocol.WORK_TREE)["Id"]
        output = self._api.exec_start(run)
        if self._api.exec_inspect(run)["ExitCode"] != 0:
            raise SandboxFailed(f"{' '.join(command)} failed in a container: {output.decode(errors='replace')[-500:]}")

    def _put(self, container: str, path: str, text: str) -> None:
        archive = io.BytesIO()
        folder, _, name = path.rpartition("/")
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            content = text.encode()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        self._api.put_archive(container, folder or "/", archive.getvalue())

    def _run_script(self, container: str, limit_s: float) -> tuple[str, bool]:
        """Read the script's output to its end; past the limit the container is removed under it."""
        api, timed_out = self._api, threading.Event()

        def end() -> None:
            timed_out.set()
            with suppress(APIError), engine() as other:
                other.remove_container(container, force=True, v=True)

        timer = threading.Timer(limit_s, end)
        timer.start()
        log = bytearray()
        try:
            run = api.exec_create(container, ["/bin/bash", protocol.SCRIPT_PATH])["Id"]
            for chunk in _output(api.exec_start(run, socket=True)):
                if len(log) < _MAX_LOG_BYTES:
                    log += chunk
        except (APIError, OSError):
            if not timed_out.is_set():
                raise
        finally:
            timer.cancel()
        return log.decode(errors="replace"), timed_out.is_set()

    def _remove(self, container: str) -> None:
        with suppress(NotFound):
            try:
                self._api.remove_container(container, force=True, v=True)
            except APIError as error:
                if error.status_code != 409:  # it is being removed already
                    raise


def _output(stream: Any) -> Iterator[bytes]:
    """What a command prints, to its end, however long it is silent; the connection is closed, which the SDK leaves."""
    connection = getattr(stream, "_sock", stream)
    with closing(connection), closing(stream):
        connection.settimeout(None)
        yield from (chunk for _, chunk in frames_iter(stream, tty=False))


@contextmanager
def _timed(phases_s: dict[str, float], phase: str) -> Iterator[None]:
    began = monotonic()
    try:
        yield
    finally:
        phases_s[phase] = monotonic() - began
