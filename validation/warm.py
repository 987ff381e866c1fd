"""Keep a test server warm: one after another, each replaced when it ends or has run enough jobs."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

from schemas.errors import SandboxFailed, SandboxUnavailable
from validation.channel import SuiteRun
from validation.sandbox.protocol import Limits, SandboxBackend
from validation.server import TestServer, open_server
from validation.suite import SuiteOptions

MAX_JOBS = 1000
"""Jobs of one sandbox: whatever may pile up in it, unseen, does not do so without end."""


class Ground(NamedTuple):
    """What every test server of a repository starts from."""

    backend: SandboxBackend
    image: str
    test_command: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables of the repository's profile."""
    limits: Limits


class WarmServer:
    """A test server whenever one is needed; a context manager, for one thread."""

    def __init__(self, ground: Ground, *, max_jobs: int = MAX_JOBS) -> None:
        self._ground = ground
        self._max_jobs = max_jobs
        self._stack = ExitStack()
        self._server: TestServer | None = None
        self.opened = 0
        """Sandboxes that were opened so far."""
        self.stages_s: defaultdict[str, float] = defaultdict(float)
        """Seconds by stage of all jobs so far, and of opening sandboxes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    @property
    def server(self) -> TestServer:
        """The server at hand; a new one where there is none that takes jobs.

        Raises:
            SandboxFailed: it does not come up.
        """
        if self._server is not None and (self._server.ended or self._server.jobs >= self._max_jobs):
            self.drop()
        if self._server is None:
            ground = self._ground
            began = monotonic()
            self._server = self._stack.enter_context(
                open_server(
                    ground.backend,
                    ground.image,
                    limits=ground.limits,
                    test_command=ground.test_command,
                    environment=ground.environment,
                )
            )
            self.opened += 1
            self.stages_s["open"] += monotonic() - began
        return self._server

    def run(self, edits: Mapping[str, bytes], options: SuiteOptions) -> SuiteRun:
        """See `TestServer.run`; after a failure, the next run has a fresh server.

        Raises:
            SandboxUnavailable: not the sandbox was lost, but what sandboxes come from.
        """
        server, began = self.server, monotonic()
        try:
            run = server.run(edits, options)
        except SandboxFailed:
            self._server = None
            with self._stack:  # the sandbox's own way out is to see the error: it knows an engine that went away
                raise
        for stage, seconds in server.stages_s.items():
            self.stages_s[stage] += seconds
        self.stages_s["host"] += monotonic() - began - sum(server.stages_s.values())
        return run

    def drop(self) -> None:
        """End the server at hand."""
        self._server = None
        with suppress(SandboxUnavailable):  # with an engine that is gone, the server is gone too
            self._stack.close()
