"""What every sandbox offers: an isolated machine with a work tree, that runs commands and forgets them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pydantic import Field

from schemas.model import Model
from schemas.repo import SandboxKind

TESTBED = "/testbed"
"""The repository's tree inside a sandbox; writable, fresh in every sandbox."""
ENV_DIR = "/env"
"""The environment (a virtual environment for Python) inside a sandbox; read-only except while it is built."""

MIB = 1024 * 1024


class Limits(Model):
    """Bounds on everything that runs in one sandbox, counted over the whole tree of processes."""

    memory_bytes: int = Field(default=2048 * MIB, ge=64 * MIB)
    """Memory of all processes and all writable file systems together."""
    disk_bytes: int = Field(default=1024 * MIB, ge=16 * MIB)
    """Size of each writable file system (`/testbed`, `/tmp`, the home)."""
    processes: int = Field(default=256, ge=8)


class CommandResult(Model):
    """What a command did, as seen from outside its process."""

    exit_code: int | None
    """Exit status; negative for a signal; `None` where it was killed for time."""
    stdout: bytes
    stderr: bytes
    channel: bytes
    """What the command wrote to the descriptor in `GYMFORGE_CHANNEL_FD`, in order; no print reaches it."""
    timed_out: bool
    out_of_memory: bool
    truncated: bool
    """Whether output beyond the limit was dropped (the middle; head and tail are kept). The channel is never cut in the
    middle: beyond its limit the command is killed."""
    duration_s: float


class Conversation(Protocol):
    """A command that is talked with: words go to its stdin, its channel is read as it comes."""

    def say(self, data: bytes) -> None:
        """Write to the command's stdin; the channel's limit counts from here anew.

        Raises:
            SandboxFailed: the sandbox died, or the command has ended.
        """
        ...

    def hear(self, *, timeout_s: float) -> bytes:
        """The next bytes of the channel, at least one.

        Raises:
            SandboxFailed: the command ended (its result says how), or the sandbox died.
            TimeoutError: nothing came in time; the conversation can only be left.
        """
        ...

    @property
    def out_of_memory(self) -> bool:
        """Whether a process was killed for want of memory since the last word, where that is seen from outside."""
        ...

    @property
    def result(self) -> CommandResult | None:
        """What became of the command, once it has ended; its channel is empty here."""
        ...


class Sandbox(Protocol):
    """One isolated machine. State (files) lasts from `run` to `run`; processes do not."""

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
        """Run `command` and return when it ends, or is killed; whatever it left running is killed too.

        `idle_timeout_s`: also kill it when the channel was silent for that long.
        `max_output_bytes`: what is kept of each of stdout and stderr.
        `max_channel_bytes`: past it the command is killed, and the result is `truncated`.

        Raises:
            SandboxFailed: the sandbox itself died; it cannot be used again.
        """
        ...

    def converse(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = TESTBED,
        max_output_bytes: int = 4 * MIB,
        max_channel_bytes: int = 64 * MIB,
    ) -> AbstractContextManager[Conversation]:
        """Start `command` and talk with it; leaving kills it with everything that it started.

        Meanwhile the sandbox takes no other request.

        Raises:
            SandboxFailed: the sandbox died; it cannot be used again.
        """
        ...

    def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """Write a file (absolute path inside); makes folders on the way; never follows a symlink out of the sandbox.

        `mode`: its permissions. `None` keeps those of a regular file that is replaced, so that a program stays one;
        else it is 0644.
        """
        ...

    def get(self, path: str, *, max_bytes: int = 64 * MIB) -> bytes:
        """Read a regular file from inside.

        Raises:
            FileNotFoundError: there is no such regular file.
            SandboxFailed: it is larger than `max_bytes`, or the sandbox died.
        """
        ...


class SandboxBackend(Protocol):
    """One kind of sandbox on this machine. Opening needs no lock; several may be open at once."""

    kind: SandboxKind

    def platform(self) -> "PlatformInfo":
        """What code inside runs on: interpreters found, architecture, libc."""
        ...

    def open(
        self, image: str | None = None, *, limits: Limits | None = None, building: bool = False
    ) -> AbstractContextManager[Sandbox]:
        """A fresh sandbox with nothing left of any other.

        `image` is a stored environment's name: `/env` and `/testbed` are as stored (`/testbed` a private,
        writable copy). Without one, both are empty. `building` makes `/env` writable too.

        Raises:
            SandboxFailed: it did not start.
            FileNotFoundError: no environment of that name is stored.
        """
        ...

    def store(self, sandbox: Sandbox, image: str) -> int:
        """Keep `/env` and `/testbed` of a building sandbox under a name, atomically; returns the size in bytes."""
        ...

    def send(self, image: str, sink: Callable[[bytes], object]) -> None:
        """Give a stored environment to `sink`, piece by piece, for `receive` on another machine.

        Raises:
            FileNotFoundError: no environment of that name is stored.
            SandboxFailed: the sandbox that it is read in died.
        """
        ...

    def receive(self, pieces: Iterable[bytes], image: str) -> int:
        """Keep under a name, atomically, what `send` of a backend of this kind gave; returns the size in bytes.

        Raises:
            SandboxFailed: the pieces are no such environment, or break off.
        """
        ...

    def has(self, image: str) -> bool:
        """Whether an environment of that name is stored and complete."""
        ...

    def remove(self, image: str) -> None:
        """Forget a stored environment; no error where there is none."""
        ...


class Interpreter(Model):
    version: str
    """`3.11.7`."""
    path: str
    """Absolute path inside the sandbox."""


class PlatformInfo(Model):
    interpreters: tuple[Interpreter, ...]
    """CPython interpreters inside, newest first."""
    machine: str
    """`x86_64`, `aarch64`."""
    libc: str
    """`glibc 2.36` or `musl 1.2`."""
