"""Talk to a test server: one warm sandbox that runs job after job, each on a tree that is proven clean."""

import base64
import json
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from schemas.errors import SandboxFailed
from validation.channel import ChannelReader, SuiteRun, clean_text
from validation.sandbox.client import HOME, SHARED
from validation.sandbox.protocol import ENV_DIR, MIB, TESTBED, CommandResult, Conversation, Limits, SandboxBackend
from validation.suite import COVERAGE_CHANNEL_BYTES, SuiteOptions, program, pytest_arguments, runner_settings

BYTECODE = "/dev/shm/gymforge-bytecode"  # noqa: S108 - a path inside the sandbox
READY_S = 1800.0
"""For loading the whole suite once."""
GRACE_S = 60.0
"""What killing, cleaning and telling may take beyond a job's own limits."""

SERVERS_OWN = b"!"
"""What a line begins with that the server says for itself; no worker's record does."""

_SIZE = struct.Struct(">I")


class TestServer:
    """Runs jobs one after another; when a job leaves traces, or takes the server down, it can only be left."""

    __test__ = False

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._lines = deque[bytes]()
        self._begun = bytearray()
        """Of a line that is not whole."""
        self.forks = False
        """Whether workers are forked from a process that has everything loaded; else they are started anew."""
        self.why_not = ""
        """Why they are not forked, or find pytest's code cold."""
        self.ended = ""
        """Why it takes no more jobs; empty while it does."""
        self.jobs = 0
        self.stages_s: dict[str, float] = {}
        """Seconds by stage of the newest job."""

    def start(self, settings: Mapping[str, Any]) -> None:
        """Hand over the settings, and wait until the suite was loaded once.

        Raises:
            SandboxFailed: it does not come up.
        """
        self._say(settings)
        record = self._next_record(time.monotonic() + READY_S)
        if record["e"] != "ready":
            self.ended = f"The test server did not come up: {record.get('why')}"
            raise SandboxFailed(self.ended)
        self.forks, self.why_not = bool(record["forks"]), str(record["why"])

    def run(self, edits: Mapping[str, bytes], options: SuiteOptions) -> SuiteRun:
        """Run a part of the suite on the tree with `edits` (path to whole new content).

        The tree is clean again when this returns; else `ended` says why it is not.

        Raises:
            SandboxFailed: the server is gone, and no word of its about this job may be trusted.
        """
        if self.ended:
            raise SandboxFailed(self.ended)
        self.jobs += 1
        job = runner_settings(options)
        job["edits"] = {
            f"{TESTBED}/{path}": base64.b64encode(content).decode() for path, content in sorted(edits.items())
        }
        began = time.monotonic()
        try:
            self._say(job)
            return self._listen(began, began + options.suite_limit_s + options.exit_grace_s)
        except (SandboxFailed, TimeoutError) as error:
            self.ended = self.ended or f"The test server ended: {error}"
            raise SandboxFailed(self.ended) from error

    def _listen(self, began: float, suite_deadline: float) -> SuiteRun:
        reader = ChannelReader()
        done: SuiteRun | None = None
        while True:
            line = self._next_line(suite_deadline + GRACE_S)
            record = _server_record(line)
            if record is None:
                reader.feed(line)
                if reader.done and done is None:
                    done = reader.suite_run(_result(reader, time.monotonic() - began))
                continue
            if record["e"] == "dirty":
                self.ended = f"The sandbox cannot be used again: {record.get('why')}"
            self.stages_s = {stage: float(seconds) for stage, seconds in dict(record.get("stages_s", {})).items()}
            if done is None:
                raise SandboxFailed(self.ended or "the test server said nothing of its job")
            files = {f"the file {clean_text(path)}" for path in record.get("left", ())}
            return done._replace(
                out_of_memory=self._talk.out_of_memory or bool(record.get("out_of_memory")), left=done.left | files
            )

    def _say(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message).encode()
        self._talk.say(_SIZE.pack(len(data)) + data)

    def _next_record(self, deadline: float) -> dict[str, Any]:
        record = _server_record(self._next_line(deadline))
        if record is None:
            raise SandboxFailed("The test server did not come up: it says what it was not asked")
        return record

    def _next_line(self, deadline: float) -> bytes:
        while not self._lines:
            data = self._talk.hear(timeout_s=max(0.0, deadline - time.monotonic()))
            self._begun += data
            if b"\n" in data:
                *whole, rest = bytes(self._begun).split(b"\n")
                self._lines.extend(whole)
                self._begun = bytearray(rest)
        return self._lines.popleft()


@contextmanager
def open_server(
    backend: SandboxBackend,
    image: str,
    *,
    limits: Limits,
    test_command: Sequence[str],
    environment: Mapping[str, str],
) -> Iterator[TestServer]:
    """A test server in a fresh sandbox, ready for jobs.

    Raises:
        SandboxFailed: it does not come up.
    """
    command = [
        f"{ENV_DIR}/bin/python",
        "-I",
        "-S",
        "-c",
        program("pytest_supervisor", "pytest_zygote", "pytest_server"),
    ]
    settings = {
        "programs": {
            "worker": program("pytest_sources", "pytest_state", "pytest_trace", "pytest_worker"),
            "zygote": program(
                "pytest_sources", "pytest_state", "pytest_trace", "pytest_warmup", "pytest_zygote", "pytest_worker"
            ),
        },
        "args": pytest_arguments(test_command),
        "roots": [TESTBED, HOME, *SHARED],
        "bytecode": BYTECODE,
        "fork": True,
    }
    with (
        backend.open(image, limits=limits) as sandbox,
        sandbox.converse(
            command, environment=environment, max_output_bytes=MIB, max_channel_bytes=COVERAGE_CHANNEL_BYTES
        ) as talk,
    ):
        server = TestServer(talk)
        try:
            server.start(settings)
        except TimeoutError as error:
            raise SandboxFailed(f"The test server did not come up: {error}") from error
        yield server


def _server_record(line: bytes) -> dict[str, Any] | None:
    """What the server says for itself; `None` for a record of the job's."""
    if not line.startswith(SERVERS_OWN):
        return None
    record: dict[str, Any] = json.loads(line[len(SERVERS_OWN) :])
    if "why" in record:
        record["why"] = clean_text(record["why"])
    return record


def _result(reader: ChannelReader, duration_s: float) -> CommandResult:
    """What a command's result would be, for a job that is a part of one."""
    return CommandResult(
        exit_code=reader.exit_code,
        stdout=b"",
        stderr=b"",
        channel=b"",
        timed_out=False,
        out_of_memory=False,
        truncated=False,
        duration_s=duration_s,
    )
