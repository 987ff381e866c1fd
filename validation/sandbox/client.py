"""The host's side of a sandbox: speak the agent's frames over any transport."""

import contextlib
import json
import os
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from schemas.errors import SandboxFailed
from validation.sandbox.protocol import ENV_DIR, MIB, TESTBED, CommandResult, Limits

AGENT_PATH = Path(__file__).parent / "agent.py"

HOME = "/home/gym"
SHARED = ("/tmp", "/dev/shm")  # noqa: S108 - paths inside the sandbox
"""Folders that any user of a sandbox may write to."""

COMMAND_ENVIRONMENT: Mapping[str, str] = {
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "PATH": "/env/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TMPDIR": "/tmp",  # noqa: S108 - a path inside the sandbox
    "TZ": "UTC",
    "VIRTUAL_ENV": "/env",
}
"""All that a command sees of the environment, beside what `run` passes."""

MAX_OPEN_FILES = 4096

_COUNTS_PER_NAMESPACE = (5, 14)
"""Linux before this counts all processes of the host's user against RLIMIT_NPROC, in and out of sandboxes."""

_FRAME = struct.Struct(">IQ")
_MAX_HEADER_BYTES = 64 * 1024
_MAX_ERRNO = 4096
_INTERRUPTED = "The sandbox was left in the middle of a command. Open a fresh one."
_START_S = 60.0
_FILE_S = 300.0
_FOREVER_S = 1e6
_GRACE_S = 120.0
"""What the agent may take beyond a command's own limit, to kill and collect it on a busy machine."""


class Transport(Protocol):
    """A two-way byte stream to an agent."""

    def send(self, data: bytes | memoryview) -> None:
        """Write all of `data`. Raises OSError when the agent is gone."""
        ...

    def receive(self, timeout_s: float) -> bytes:
        """Some bytes; empty at the end of the stream. Raises TimeoutError when none came in time."""
        ...

    def oom_kills(self) -> int | None:
        """How often the kernel killed in the sandbox for want of memory; None where that is not seen from outside."""
        ...

    def died_of_memory(self) -> bool:
        """Whether the agent itself was killed for want of memory; asked when it is gone."""
        ...

    def post_mortem(self) -> str:
        """What is known about why the agent is gone, for an error's message."""
        ...


class AgentConfig(NamedTuple):
    """What the agent is told when it starts."""

    rlimits: Mapping[str, int]
    """`resource.RLIMIT_` name to the limit of each command."""
    watchdog: Mapping[str, Any] | None
    """Limits that the agent enforces by looking, where no control group does."""

    def to_json(self) -> str:
        """The agent's only argument."""
        return json.dumps(self._asdict(), sort_keys=True)


def writable_folders(limits: Limits, *, building: bool) -> dict[str, int]:
    """Each writable file system of a sandbox and its size in bytes.

    The sum leaves memory to processes: files alone must never fill it, or the kernel would kill the agent.
    """
    budget = limits.memory_bytes - max(limits.memory_bytes // 8, 32 * MIB)
    small = min(limits.disk_bytes, budget // 16)
    folders = [TESTBED, "/tmp", *([ENV_DIR] if building else [])]  # noqa: S108 - a path inside the sandbox
    large = min(limits.disk_bytes, (budget - 2 * small) // len(folders))
    return {**dict.fromkeys(folders, large), HOME: small, "/dev/shm": small}  # noqa: S108 - a path inside the sandbox


def agent_config(limits: Limits, *, enforced_by_kernel: bool, filesystems: Sequence[str]) -> AgentConfig:
    """Configuration for `limits`; the agent watches memory and processes itself where the kernel does not."""
    # A core limit of 1 stops even the host's crash handler, which 0 does not where core_pattern is a pipe.
    rlimits = {"CORE": 1, "NOFILE": MAX_OPEN_FILES}
    if enforced_by_kernel:
        return AgentConfig(rlimits, None)
    watchdog = {
        "memory_bytes": limits.memory_bytes,
        "processes": limits.processes,
        "filesystems": list(filesystems),
    }
    rlimits["AS"] = limits.memory_bytes
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    if release >= _COUNTS_PER_NAMESPACE:
        rlimits["NPROC"] = limits.processes
    return AgentConfig(rlimits, watchdog)


class AgentSandbox:
    """A sandbox whose PID 1 is the agent; implements the `Sandbox` protocol. For one thread at a time."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._buffer = bytearray()
        self._dead = ""

    def close(self) -> None:
        """Tell the agent to end, and refuse all further requests.

        Saying it is surer than closing the pipe: a process that was forked meanwhile may hold the pipe open.
        """
        if not self._dead:
            with contextlib.suppress(SandboxFailed):
                self._send_frame({"op": "end"}, b"")
            self._dead = "The sandbox is closed. Open a fresh one."

    def wait_ready(self) -> None:
        """Wait for the agent's greeting.

        Raises:
            SandboxFailed: it did not come; the message holds what the sandbox printed.
        """
        self._receive_frame(time.monotonic() + _START_S, max_payload_bytes=0)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        cwd: str = TESTBED,
        idle_timeout_s: float | None = None,
        max_output_bytes: int = 4 * MIB,
        max_channel_bytes: int = 64 * MIB,
    ) -> CommandResult:
        """See `Sandbox.run`."""
        channel = bytearray()
        return self.stream(
            command,
            channel.extend,
            timeout_s=timeout_s,
            stdin=stdin,
            environment=environment,
            cwd=cwd,
            idle_timeout_s=idle_timeout_s,
            max_output_bytes=max_output_bytes,
            max_channel_bytes=max_channel_bytes,
        ).model_copy(update={"channel": bytes(channel)})

    def stream(
        self,
        command: Sequence[str],
        sink: Callable[[bytes], object],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        cwd: str = TESTBED,
        idle_timeout_s: float | None = None,
        max_output_bytes: int = 4 * MIB,
        max_channel_bytes: int = 64 * MIB,
    ) -> CommandResult:
        """As `run`, but the channel goes to `sink` piece by piece as it comes, and is empty in the result."""
        request = _run_request(command, environment, cwd, max_output_bytes, max_channel_bytes)
        request |= {"timeout_s": timeout_s, "idle_timeout_s": idle_timeout_s}
        oom_before = self._transport.oom_kills()
        began = time.monotonic()
        self._send_frame(request, stdin)
        deadline = began + timeout_s + _GRACE_S
        largest_bytes = max(2 * max_output_bytes, max_channel_bytes)
        left_bytes = max_channel_bytes
        try:
            header, payload = self._receive_frame(deadline, max_payload_bytes=largest_bytes)
            while header.get("event") == "channel":
                left_bytes -= len(payload)
                if left_bytes < 0:
                    raise self._died("its agent sent more on the channel than was asked for")
                sink(payload)
                header, payload = self._receive_frame(deadline, max_payload_bytes=largest_bytes)
            return self._finished(header, payload, oom_before)
        except SandboxFailed:
            # The agent itself fell to the memory limit: that is an answer about this command, the sandbox's last.
            if not (self._oom_since(oom_before) or self._transport.died_of_memory()):
                raise
            return _killed_with_its_sandbox(time.monotonic() - began)

    @contextlib.contextmanager
    def converse(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = TESTBED,
        max_output_bytes: int = 4 * MIB,
        max_channel_bytes: int = 64 * MIB,
    ) -> Iterator["_Talk"]:
        """See `Sandbox.converse`."""
        request = _run_request(command, environment, cwd, max_output_bytes, max_channel_bytes)
        request |= {"timeout_s": _FOREVER_S, "idle_timeout_s": None, "talks": True}
        talk = _Talk(self, self._transport.oom_kills(), max(2 * max_output_bytes, max_channel_bytes))
        self._send_frame(request, b"")
        try:
            yield talk
        finally:
            talk.leave()

    def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """See `Sandbox.put`.

        Raises:
            OSError: the file cannot be written there (the disk is full, a folder has this name, ...).
            SandboxFailed: the sandbox died.
        """
        self._ask({"op": "put", "path": _absolute(path), "mode": mode}, content)

    def get(self, path: str, *, max_bytes: int = 64 * MIB) -> bytes:
        """See `Sandbox.get`."""
        return self._ask({"op": "get", "path": _absolute(path), "max_bytes": max_bytes}, b"")

    def _ask(self, request: Mapping[str, Any], payload: bytes) -> bytes:
        self._send_frame(request, payload)
        largest_bytes = request.get("max_bytes", 0)
        header, answer = self._receive_frame(time.monotonic() + _FILE_S, max_payload_bytes=largest_bytes)
        if "errno" in header and (type(header["errno"]) is not int or not 0 < header["errno"] < _MAX_ERRNO):
            raise self._died("its agent broke the protocol: an error without a number")
        self._dead = ""
        if "errno" not in header:
            return answer
        header.setdefault("error", "")
        missing = request["op"] == "get" and header["error"] != f"more than {request.get('max_bytes')} bytes"
        if missing:
            raise FileNotFoundError(
                header["errno"], f"no such regular file in the sandbox ({header['error']})", request["path"]
            )
        if request["op"] == "get":
            raise SandboxFailed(f"{request['path']} in the sandbox has {header['error']}; ask for more with max_bytes")
        raise OSError(header["errno"], os.strerror(header["errno"]), request["path"])

    def _oom_since(self, before: int | None) -> bool:
        after = self._transport.oom_kills()
        return before is not None and after is not None and after > before

    def _send_frame(self, header: Mapping[str, Any], payload: bytes) -> None:
        if self._dead:
            raise SandboxFailed(self._dead)
        self._dead = _INTERRUPTED  # until the whole answer is here
        self._send(header, payload)

    def _send_word(self, op: str, payload: bytes) -> None:
        """A word in the middle of a command that is talked with."""
        if self._dead != _INTERRUPTED:
            raise SandboxFailed(self._dead or "No command is talked with")
        self._send({"op": op}, payload)

    def _has_word(self, timeout_s: float) -> bool:
        """Whether the agent says anything in this time."""
        if self._buffer:
            return True
        try:
            self._buffer += self._receive_some(timeout_s)
        except TimeoutError:
            return False
        return True

    def _send(self, header: Mapping[str, Any], payload: bytes) -> None:
        text = json.dumps(header).encode()
        try:
            self._transport.send(_FRAME.pack(len(text), len(payload)) + text)
            if payload:
                self._transport.send(memoryview(payload))
        except OSError as error:
            raise self._died(f"it does not take requests any more ({error})") from error

    def _receive_frame(self, deadline: float, *, max_payload_bytes: int) -> tuple[dict[str, Any], bytes]:
        """One frame of an agent that may have been taken over: of a bounded size, in time, or none."""
        if time.monotonic() > deadline:
            raise self._died("it did not answer in time")
        json_bytes, payload_bytes = _FRAME.unpack(self._receive(_FRAME.size, deadline))
        if json_bytes > _MAX_HEADER_BYTES or payload_bytes > max_payload_bytes:
            raise self._died(f"its agent broke the protocol: a frame of {json_bytes} and {payload_bytes} bytes")
        try:
            header = json.loads(self._receive(json_bytes, deadline))
        except (ValueError, RecursionError):
            raise self._died("its agent broke the protocol: a header that is not JSON") from None
        if not isinstance(header, dict):
            raise self._died("its agent broke the protocol: a header that is not an object")
        return header, self._receive(payload_bytes, deadline)

    def _finished(self, header: dict[str, Any], payload: bytes, oom_before: int | None) -> CommandResult:
        answer = self._read_result(header, payload)
        self._dead = ""
        return answer.model_copy(update={"out_of_memory": answer.out_of_memory or self._oom_since(oom_before)})

    def _read_result(self, header: dict[str, Any], payload: bytes) -> CommandResult:
        stdout_bytes = header.pop("stdout_bytes", None)
        if type(stdout_bytes) is not int or not 0 <= stdout_bytes <= len(payload):
            raise self._died("its agent broke the protocol: a result without its output")
        fields = {"stdout": payload[:stdout_bytes], "stderr": payload[stdout_bytes:], "channel": b""}
        try:
            return CommandResult.model_validate({**header, **fields}, strict=True)
        except ValueError:
            raise self._died("its agent broke the protocol: a result that is none") from None

    def _receive(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            try:
                self._buffer += self._receive_some(max(0.0, deadline - time.monotonic()))
            except TimeoutError as error:
                raise self._died("it did not answer in time") from error
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return data

    def _receive_some(self, timeout_s: float) -> bytes:
        try:
            piece = self._transport.receive(timeout_s)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._died(f"the connection broke ({error})") from error
        if not piece:
            raise self._died("its agent ended")
        return piece

    def _died(self, how: str) -> SandboxFailed:
        details = self._transport.post_mortem()
        self._dead = f"The sandbox died: {how}. Open a fresh one." + (f"\n{details}" if details else "")
        return SandboxFailed(self._dead)


class _Talk:
    """The host's side of a command that is talked with; implements `Conversation`."""

    # ruff: noqa: SLF001 - one half of the sandbox's own conversation with its agent
    def __init__(self, sandbox: AgentSandbox, oom_before: int | None, largest_bytes: int) -> None:
        self._sandbox = sandbox
        self._oom_before = self._oom_before_word = oom_before
        self._largest_bytes = largest_bytes
        self.result: CommandResult | None = None

    def say(self, data: bytes) -> None:
        """See `Conversation.say`."""
        self._require_going()
        self._oom_before_word = self._sandbox._transport.oom_kills()
        self._sandbox._send_word("say", data)

    @property
    def out_of_memory(self) -> bool:
        """See `Conversation.out_of_memory`."""
        return self._sandbox._oom_since(self._oom_before_word)

    def hear(self, *, timeout_s: float) -> bytes:
        """See `Conversation.hear`."""
        self._require_going()
        if not self._sandbox._has_word(timeout_s):
            raise TimeoutError(f"the command in the sandbox said nothing for {timeout_s:.1f} s")
        payload = self._next(time.monotonic() + _START_S)
        if payload is None:
            raise self._ended()
        return payload

    def leave(self) -> None:
        """Have the command ended, and wait for its result; a sandbox that does not give it is dead."""
        with contextlib.suppress(SandboxFailed):
            if self.result is None:
                self._sandbox._send_word("stop", b"")
                deadline = time.monotonic() + _GRACE_S
                while self._next(deadline) is not None:
                    pass

    def _next(self, deadline: float) -> bytes | None:
        """A piece of the channel; `None` where the result came instead."""
        header, payload = self._sandbox._receive_frame(deadline, max_payload_bytes=self._largest_bytes)
        if header.get("event") == "channel":
            return payload
        self.result = self._sandbox._finished(header, payload, self._oom_before)
        return None

    def _require_going(self) -> None:
        if self.result is not None:
            raise self._ended()

    def _ended(self) -> SandboxFailed:
        assert self.result is not None
        said = (self.result.stdout + self.result.stderr)[-2000:].decode("utf-8", "replace")
        return SandboxFailed(f"The command in the sandbox ended with {self.result.exit_code}. It said: {said}")


def _run_request(
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    cwd: str,
    max_output_bytes: int,
    max_channel_bytes: int,
) -> dict[str, Any]:
    return {
        "op": "run",
        "talks": False,
        "command": list(command),
        "environment": {**COMMAND_ENVIRONMENT, **(environment or {})},
        "cwd": cwd,
        "max_output_bytes": max_output_bytes,
        "max_channel_bytes": max_channel_bytes,
    }


def _absolute(path: str) -> str:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError(f"{path!r} is not an absolute path of a file in the sandbox")
    return path


def _killed_with_its_sandbox(duration_s: float) -> CommandResult:
    return CommandResult(
        exit_code=-9,
        stdout=b"",
        stderr=b"",
        channel=b"",
        timed_out=False,
        out_of_memory=True,
        truncated=False,
        duration_s=duration_s,
    )
