"""A sandbox that isolates nothing because it runs nothing: files in a dict, results from a callable. For tests."""

import pickle
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from schemas.errors import SandboxFailed
from schemas.repo import SandboxKind
from validation.sandbox.protocol import ENV_DIR, MIB, TESTBED, CommandResult, Interpreter, Limits, PlatformInfo, Sandbox


class FakeCall(NamedTuple):
    """What a script is told about a command, as `Sandbox.run` was told."""

    command: tuple[str, ...]
    stdin: bytes
    environment: Mapping[str, str]
    cwd: str
    timeout_s: float
    idle_timeout_s: float | None
    files: dict[str, bytes]
    """The sandbox's files by absolute path; the script may change them."""


_NEW_FILE = 0o644

Script = Callable[[FakeCall], CommandResult]


def result(
    exit_code: int | None = 0,
    *,
    stdout: bytes = b"",
    stderr: bytes = b"",
    channel: bytes = b"",
    timed_out: bool = False,
    out_of_memory: bool = False,
) -> CommandResult:
    """A `CommandResult` for a script to return."""
    return CommandResult(
        exit_code=exit_code,
        stdout=stdout,
        stderr=stderr,
        channel=channel,
        timed_out=timed_out,
        out_of_memory=out_of_memory,
        truncated=False,
        duration_s=0.0,
    )


class FakeSandbox:
    """Implements `Sandbox`; every command is answered by the script and recorded in `calls`."""

    def __init__(
        self, script: Script, *, files: Mapping[str, bytes] | None = None, modes: Mapping[str, int] | None = None
    ) -> None:
        self.files: dict[str, bytes] = dict(files or {})
        self.modes: dict[str, int] = dict(modes or {})
        """Permissions by absolute path; 0644 where there are none."""
        self.calls: list[FakeCall] = []
        self.closed = False
        self._script = script

    @contextmanager
    def converse(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = TESTBED,
        max_output_bytes: int = 4 * MIB,
        max_channel_bytes: int = 64 * MIB,
    ) -> Iterator["FakeConversation"]:
        """See `Sandbox.converse`: each word is one call of the script, whose channel is what is heard then."""

        def answer(data: bytes) -> CommandResult:
            return self.run(
                command,
                timeout_s=0,
                stdin=data,
                environment=environment,
                cwd=cwd,
                max_output_bytes=max_output_bytes,
                max_channel_bytes=max_channel_bytes,
            )

        talk = FakeConversation(answer)
        try:
            yield talk
        finally:
            talk.result = talk.result or result(-9)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        cwd: str = TESTBED,
        idle_timeout_s: float | None = None,
        max_output_bytes: int = 4 * MIB,  # noqa: ARG002 - the script's own affair
        max_channel_bytes: int = 64 * MIB,
    ) -> CommandResult:
        """See `Sandbox.run`."""
        self._require_open()
        call = FakeCall(tuple(command), stdin, dict(environment or {}), cwd, timeout_s, idle_timeout_s, self.files)
        self.calls.append(call)
        answer = self._script(call)
        if len(answer.channel) <= max_channel_bytes:
            return answer
        killed = {"exit_code": -9, "truncated": True, "channel": answer.channel[:max_channel_bytes]}
        return answer.model_copy(update=killed)

    def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """See `Sandbox.put`."""
        self._require_open()
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path of a file in the sandbox")
        self.modes[path] = self.modes.get(path, _NEW_FILE) if mode is None else mode
        self.files[path] = content

    def get(self, path: str, *, max_bytes: int = 64 * MIB) -> bytes:
        """See `Sandbox.get`."""
        self._require_open()
        if path not in self.files:
            raise FileNotFoundError(f"no such regular file in the sandbox: {path}")
        content = self.files[path]
        if len(content) > max_bytes:
            raise SandboxFailed(f"{path} in the sandbox has more than {max_bytes} bytes; ask for more with max_bytes")
        return content

    def _require_open(self) -> None:
        if self.closed:
            raise SandboxFailed("The sandbox is closed. Open a fresh one.")


class FakeConversation:
    """Implements `Conversation`; an answer with an exit status other than 0 ends it."""

    def __init__(self, answer: Callable[[bytes], CommandResult]) -> None:
        self.result: CommandResult | None = None
        self.out_of_memory = False
        self._answer = answer
        self._heard: list[CommandResult] = []

    def say(self, data: bytes) -> None:
        """See `Conversation.say`."""
        if self.result is not None:
            raise SandboxFailed(f"The command in the sandbox ended with {self.result.exit_code}.")
        self._heard.append(self._answer(data))

    def hear(self, *, timeout_s: float) -> bytes:
        """See `Conversation.hear`."""
        if self.result is not None:
            raise SandboxFailed(f"The command in the sandbox ended with {self.result.exit_code}.")
        while self._heard and self._heard[0].exit_code == 0 and not self._heard[0].channel:
            self._heard.pop(0)
        if not self._heard:
            raise TimeoutError(f"the command in the sandbox said nothing for {timeout_s:.1f} s")
        answer = self._heard.pop(0)
        if answer.exit_code != 0:
            self.result = answer.model_copy(update={"channel": b""})
            raise SandboxFailed(f"The command in the sandbox ended with {answer.exit_code}.")
        return answer.channel


class FakeBackend:
    """Implements `SandboxBackend` with `FakeSandbox`es that share a script; stored environments are dicts of files."""

    def __init__(self, script: Script, *, kind: SandboxKind = SandboxKind.LOCAL) -> None:
        self.kind = kind
        self.opened: list[FakeSandbox] = []
        self.images: dict[str, dict[str, bytes]] = {}
        self._script = script
        self._modes: dict[str, dict[str, int]] = {}

    def platform(self) -> PlatformInfo:
        """See `SandboxBackend.platform`: the interpreter that runs this program."""
        interpreter = Interpreter(version=platform.python_version(), path="/usr/bin/python3")
        return PlatformInfo(interpreters=(interpreter,), machine=platform.machine(), libc="glibc 2.36")

    def open(
        self,
        image: str | None = None,
        *,
        limits: Limits | None = None,  # noqa: ARG002 - nothing holds
        building: bool = False,  # noqa: ARG002 - everything is writable
    ) -> AbstractContextManager[Sandbox]:
        """See `SandboxBackend.open`."""
        return self._open(image)

    def store(self, sandbox: Sandbox, image: str) -> int:
        """See `SandboxBackend.store`."""
        if not isinstance(sandbox, FakeSandbox):
            raise TypeError(f"{type(sandbox).__name__} is not a sandbox of this backend")
        kept = {path: data for path, data in sandbox.files.items() if path.startswith((f"{ENV_DIR}/", f"{TESTBED}/"))}
        self.images[image] = kept
        self._modes[image] = {path: mode for path, mode in sandbox.modes.items() if path in kept}
        return sum(map(len, kept.values()))

    def send(self, image: str, sink: Callable[[bytes], object]) -> None:
        """See `SandboxBackend.send`."""
        if image not in self.images:
            raise FileNotFoundError(f"No environment {image!r} is stored; build it first")
        sink(pickle.dumps((self.images[image], self._modes.get(image, {}))))

    def receive(self, pieces: Iterable[bytes], image: str) -> int:
        """See `SandboxBackend.receive`."""
        try:
            self.images[image], self._modes[image] = pickle.loads(b"".join(pieces))  # noqa: S301 - of `send`
        except (EOFError, pickle.UnpicklingError) as error:
            raise SandboxFailed(f"The environment could not be stored: {error}") from error
        return sum(map(len, self.images[image].values()))

    def has(self, image: str) -> bool:
        """See `SandboxBackend.has`."""
        return image in self.images

    def remove(self, image: str) -> None:
        """See `SandboxBackend.remove`."""
        self.images.pop(image, None)
        self._modes.pop(image, None)

    @contextmanager
    def _open(self, image: str | None) -> Iterator[Sandbox]:
        if image is not None and image not in self.images:
            raise FileNotFoundError(f"No environment {image!r} is stored; build it first")
        sandbox = FakeSandbox(
            self._script,
            files=self.images[image] if image is not None else None,
            modes=self._modes.get(image) if image is not None else None,
        )
        self.opened.append(sandbox)
        try:
            yield sandbox
        finally:
            sandbox.closed = True
