"""The local sandbox: bubblewrap around the agent, limits by a control group, environments in a cache folder."""

import contextlib
import functools
import os
import select
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO

from schemas.errors import SandboxFailed, SandboxUnavailable
from schemas.repo import SandboxKind
from validation.sandbox import bubblewrap
from validation.sandbox.bubblewrap import AGENT_INSIDE, Mount
from validation.sandbox.cgroups import Group, Hierarchy, find_hierarchy, make_group
from validation.sandbox.client import AGENT_PATH, AgentSandbox, agent_config, writable_folders
from validation.sandbox.interpreters import find_interpreters, own_interpreter
from validation.sandbox.packing import STORED_TESTBED, copy_testbed, pack
from validation.sandbox.protocol import ENV_DIR, Limits, PlatformInfo, Sandbox
from validation.sandbox.store import EnvironmentStore

_END_S = 5.0


class LocalBackend:
    """Sandboxes of this machine's own kernel and programs; implements `SandboxBackend`.

    A sandbox lives no longer than the thread that opened it.
    """

    kind = SandboxKind.LOCAL

    def __init__(self, *, cache_dir: Path, use_cgroups: bool = True) -> None:
        """`use_cgroups`: whether to look for a writable control group; without one the agent watches its limits.

        Raises:
            SandboxUnavailable: bubblewrap is missing or cannot isolate here.
        """
        self._bubblewrap = bubblewrap.find_bubblewrap()
        self._hierarchy: Hierarchy | None = find_hierarchy() if use_cgroups else None
        self._store = EnvironmentStore(cache_dir / "environments", self._bubblewrap.path)
        try:
            self._agent = own_interpreter()
        except LookupError as error:
            raise SandboxUnavailable(
                f"The local sandbox needs a CPython outside the home folder's top: {error}"
            ) from error

    @property
    def limits_by_kernel(self) -> bool:
        """Whether a control group holds memory and processes; else the agent looks for itself, which is weaker."""
        return self._hierarchy is not None

    def platform(self) -> PlatformInfo:
        """See `SandboxBackend.platform`."""
        found = find_interpreters()
        return PlatformInfo(
            interpreters=tuple(item.interpreter for item in found),
            machine=self._agent.machine,
            libc=self._agent.libc,
        )

    def open(
        self, image: str | None = None, *, limits: Limits | None = None, building: bool = False
    ) -> AbstractContextManager[Sandbox]:
        """See `SandboxBackend.open`; `building` starts from nothing, so it takes no `image`."""
        if building and image is not None:
            raise ValueError("A sandbox that builds starts empty: leave out the image, or `building`")
        return self._open(image, limits or Limits(), building)

    def store(self, sandbox: Sandbox, image: str) -> int:
        """See `SandboxBackend.store`."""
        return self._store.add(sandbox, image)

    def send(self, image: str, sink: Callable[[bytes], object]) -> None:
        """See `SandboxBackend.send`."""
        with self.open(image) as sandbox:
            pack(sandbox, sink)

    def receive(self, pieces: Iterable[bytes], image: str) -> int:
        """See `SandboxBackend.receive`."""
        return self._store.receive(pieces, image)

    def has(self, image: str) -> bool:
        """See `SandboxBackend.has`."""
        return self._store.holds(image)

    def remove(self, image: str) -> None:
        """See `SandboxBackend.remove`."""
        self._store.remove(image)

    @contextlib.contextmanager
    def _open(self, image: str | None, limits: Limits, building: bool) -> Iterator[Sandbox]:
        mounts = [Mount(str(AGENT_PATH), AGENT_INSIDE), *_interpreter_mounts(self._agent.prefix)]
        if image is not None:
            stored = self._store.find(image)
            mounts.append(Mount(str(stored / STORED_TESTBED[1:]), STORED_TESTBED))
            mounts.append(Mount(str(stored / "env"), ENV_DIR))
        with ExitStack() as stack:
            group = self._make_group(stack, limits)
            process = stack.enter_context(self._start(mounts, limits, building, group))
            sandbox = AgentSandbox(process)
            try:
                sandbox.wait_ready()
            except SandboxFailed as error:
                error.transient = True  # no code has run in it yet: the machine is short of something
                raise
            if image is not None:
                copy_testbed(sandbox)
            try:
                yield sandbox
            finally:
                sandbox.close()

    def _make_group(self, stack: ExitStack, limits: Limits) -> Group | None:
        if self._hierarchy is None:
            return None
        try:
            return stack.enter_context(make_group(self._hierarchy, limits))
        except OSError as error:
            raise SandboxFailed(f"No control group could be made for a sandbox: {error}", transient=True) from error

    @contextlib.contextmanager
    def _start(self, mounts: list[Mount], limits: Limits, building: bool, group: Group | None) -> Iterator["_Process"]:
        tmpfs = writable_folders(limits, building=building)
        config = agent_config(limits, enforced_by_kernel=group is not None, filesystems=tuple(tmpfs))
        etc_fds = bubblewrap.open_etc_files()
        arguments = bubblewrap.sandbox_arguments(mounts, tmpfs=tmpfs, etc_fds=etc_fds)
        agent = [self._agent.interpreter.path, "-I", "-S", "-B", AGENT_INSIDE, config.to_json()]
        command = [self._bubblewrap.path, *arguments, "--as-pid-1", "--", *agent]
        with tempfile.TemporaryFile() as errors:
            try:
                popen = subprocess.Popen(
                    group.enter_command(command) if group else command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={},
                    cwd="/",
                    pass_fds=etc_fds,
                    bufsize=0,
                )
            except OSError as error:
                raise SandboxFailed(f"bubblewrap did not start: {error}", transient=True) from error
            finally:
                for fd in etc_fds:
                    os.close(fd)
            process = _Process(popen, errors, group)
            try:
                yield process
            finally:
                process.end()


class _Process:
    """A bwrap process as the transport to the agent inside."""

    def __init__(self, popen: subprocess.Popen[bytes], errors: IO[bytes], group: Group | None) -> None:
        assert popen.stdin is not None
        assert popen.stdout is not None
        self._popen = popen
        self._stdin = popen.stdin
        self._stdout = popen.stdout
        self._errors = errors
        self._group = group
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)

    def send(self, data: bytes | memoryview) -> None:
        """See `Transport.send`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._stdin.fileno(), view) :]

    def receive(self, timeout_s: float) -> bytes:
        """See `Transport.receive`."""
        if not self._poll.poll(timeout_s * 1000):
            raise TimeoutError
        return os.read(self._stdout.fileno(), 1 << 20)

    def oom_kills(self) -> int | None:
        """See `Transport.oom_kills`."""
        return self._group.oom_kills() if self._group else None

    def died_of_memory(self) -> bool:
        """See `Transport.died_of_memory`; the counter tells."""
        return False

    def post_mortem(self) -> str:
        """See `Transport.post_mortem`."""
        self.end()
        self._errors.seek(0)
        text = self._errors.read(4000).decode(errors="replace").strip()
        return f"bwrap: exit status {self._popen.returncode}\n{text}".strip()

    def end(self) -> None:
        """Close the agent's stdin, on which it takes its namespace down; by force where that does not help."""
        if not self._stdin.closed:
            self._stdin.close()
        try:
            self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            if self._group:
                self._group.kill()
            self._popen.kill()
            self._popen.wait()
        self._stdout.close()


@functools.cache
def _interpreter_mounts(agent_prefix: Path) -> tuple[Mount, ...]:
    """The folders of all interpreters that do not lie in `/usr`, each at its own place."""
    prefixes = sorted({agent_prefix, *(item.prefix for item in find_interpreters())})
    return tuple(Mount(str(path), str(path)) for path in prefixes if not path.is_relative_to("/usr"))
