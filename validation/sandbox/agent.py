"""Run commands inside a sandbox, as its PID 1, for the host at the other end of stdin and stdout.

One file, standard library only, Python 3.8 or newer: it is mounted or copied into every sandbox.
As PID 1 of its namespace it cannot be killed from inside, adopts every orphan, and can kill all
others at once. Frames both ways: a header (sizes of JSON and payload), JSON, payload.
"""

# ruff: noqa: B905, PTH103, PTH104, PTH108, PTH120, PTH123, PTH208, S606, UP031 - it runs on Python 3.8 too

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import time
from typing import Any, NamedTuple

FRAME = struct.Struct(">IQ")
CHANNEL_FD = 9
"""Descriptor of the channel in a command: above those that programs take first, one that any shell can name."""
_LOW_FDS = 10
_NEW_FILE = 0o644
_PIECE = 1 << 20
_F_SETPIPE_SZ = 1031
_PR_SET_DUMPABLE = 4
_WATCH_S = 0.05
_KILL_PATIENCE_S = 60.0
_KEYCTL = {"x86_64": 250, "aarch64": 219}
"""Number of the system call `keyctl` by machine."""
_JOIN_SESSION_KEYRING = 1
_OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


class HostGoneError(Exception):
    """The host closed its end, or said that it will."""


class Host:
    """The host's end of the conversation."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd

    def read(self, size: int) -> bytearray:
        data = bytearray()
        while len(data) < size:
            piece = os.read(self.read_fd, min(size - len(data), _PIECE))
            if not piece:
                raise HostGoneError
            data += piece
        return data

    def next_request(self) -> tuple[dict[str, Any], int]:
        json_bytes, payload_bytes = FRAME.unpack(bytes(self.read(FRAME.size)))
        return json.loads(self.read(json_bytes)), payload_bytes

    def send(self, header: dict[str, Any], *payload: bytes | bytearray) -> None:
        text = json.dumps(header).encode()
        size_bytes = sum(len(part) for part in payload)
        for part in (FRAME.pack(len(text), size_bytes) + text, *payload):
            view = memoryview(part)
            while view:
                view = view[os.write(self.write_fd, view) :]


class Bounded:
    """Bytes of a stream, of which at most `limit_bytes` are kept: the head and the tail."""

    def __init__(self, limit_bytes: int) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._head_bytes = limit_bytes // 2
        self._tail_bytes = limit_bytes - self._head_bytes
        self._total = 0

    def add(self, data: bytes) -> None:
        self._total += len(data)
        room = self._head_bytes - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * self._tail_bytes + _PIECE:
            del self._tail[: len(self._tail) - self._tail_bytes]

    @property
    def truncated(self) -> bool:
        return self._total > self._head_bytes + self._tail_bytes

    def kept(self) -> bytes:
        excess = len(self._tail) - self._tail_bytes
        return bytes(self._head + (self._tail[excess:] if excess > 0 else self._tail))


class Pipes(NamedTuple):
    """The agent's ends, and below them the command's."""

    stdin: int
    stdout: int
    stderr: int
    channel: int
    child: tuple[int, int, int, int]


class Run:
    """One command: started, watched, killed with everything that it left."""

    def __init__(
        self, host: Host, request: dict[str, Any], stdin: bytearray, config: dict[str, Any], wake: int
    ) -> None:
        self._host = host
        self._request = request
        self._config = config
        self._wake = wake
        self._stdin = memoryview(stdin)
        self._talks = request["talks"]
        self._stdin_open = True
        self._told_to_stop = False
        self._stdout = Bounded(request["max_output_bytes"])
        self._stderr = Bounded(request["max_output_bytes"])
        self._channel_bytes = 0
        self._status: int | None = None
        self._timed_out = False
        self._channel_full = False
        self._out_of_memory = False
        self._heard = 0.0

    def execute(self) -> None:
        """Run the command and send its result."""
        oom_before = oom_kills()
        began = time.monotonic()
        pipes = make_pipes()
        self._pid = start(self._request, pipes, self._config)
        try:
            self._watch(pipes, began)
        finally:
            kill_others(self._reaped)
        duration_s = time.monotonic() - began
        self._drain(pipes)
        for fd in (pipes.stdin, pipes.stdout, pipes.stderr, pipes.channel):
            if fd >= 0:
                os.close(fd)
        out, err = self._stdout.kept(), self._stderr.kept()
        oom_after = oom_kills()
        result = {
            "exit_code": None if self._timed_out else exit_code(self._status),
            "timed_out": self._timed_out,
            "out_of_memory": self._out_of_memory or (oom_after or 0) > (oom_before or 0),
            "truncated": self._stdout.truncated or self._stderr.truncated or self._channel_full,
            "duration_s": duration_s,
            "stdout_bytes": len(out),
        }
        self._host.send(result, out, err)

    def _reaped(self, pid: int, status: int) -> None:
        if pid == self._pid and self._status is None:
            self._status = status

    def _watch(self, pipes: Pipes, began: float) -> None:
        """Move bytes until the command ended, broke a limit or ran out of time."""
        poller = self._poller(pipes)
        deadline = began + self._request["timeout_s"]
        idle_s = self._request["idle_timeout_s"]
        self._heard = began
        while not self._ended():
            until = deadline if idle_s is None else min(deadline, self._heard + idle_s)
            wait_s = until - time.monotonic()
            if wait_s <= 0:
                self._timed_out = True
                return
            if self._config["watchdog"]:
                wait_s = min(wait_s, _WATCH_S)
            for fd, event in poller.poll(wait_s * 1000 + 1):
                self._handle(fd, event, pipes, poller)
            reap(self._reaped)

    def _poller(self, pipes: Pipes) -> select.poll:
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._host.read_fd, select.POLLIN if self._talks else 0)  # its hang-up is always told
        for fd in (pipes.stdout, pipes.stderr, pipes.channel):
            poller.register(fd, select.POLLIN)
        poller.register(pipes.stdin, select.POLLOUT)
        return poller

    def _ended(self) -> bool:
        if self._status is not None or self._channel_full or self._told_to_stop:
            return True
        broken = broken_limit(self._config["watchdog"]) if self._config["watchdog"] else ""
        self._out_of_memory = broken == "memory"
        return bool(broken)

    def _handle(self, fd: int, event: int, pipes: Pipes, poller: select.poll) -> None:
        if fd == self._wake:
            os.read(fd, 4096)
        elif fd == self._host.read_fd:
            if not event & select.POLLIN:
                raise HostGoneError
            self._listen(pipes, poller)
        elif fd == pipes.stdin:
            self._feed(fd, event, poller)
        elif self._take(fd, pipes) == 0:
            poller.unregister(fd)
        elif fd == pipes.channel:
            self._heard = time.monotonic()

    def _listen(self, pipes: Pipes, poller: select.poll) -> None:
        """Take one word of the host's in the middle of a command that it talks with."""
        request, payload_bytes = self._host.next_request()
        if request["op"] == "say":
            self._stdin = memoryview(bytes(self._stdin) + self._host.read(payload_bytes))
            self._channel_bytes = 0
            if self._stdin_open:
                poller.register(pipes.stdin, select.POLLOUT)
        elif request["op"] == "stop":
            self._told_to_stop = True
        else:
            raise HostGoneError

    def _feed(self, fd: int, event: int, poller: select.poll) -> None:
        """Write what the command's stdin takes; closed when nobody reads, or all is written and no more can come."""
        try:
            if event & select.POLLOUT and self._stdin:
                self._stdin = self._stdin[os.write(fd, self._stdin[:_PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._stdin = self._stdin[:0]
        if event & (select.POLLERR | select.POLLHUP):
            self._stdin_open = False
        elif self._stdin:
            return
        poller.unregister(fd)
        if not (self._stdin_open and self._talks):
            # The number stays taken, so that no later file of this run can be confused with it.
            os.dup2(self._wake, fd, inheritable=False)

    def _take(self, fd: int, pipes: Pipes) -> int:
        """Read once from a pipe of the command; 0 at its end."""
        try:
            data = os.read(fd, _PIECE)
        except BlockingIOError:
            return -1
        if fd == pipes.stdout:
            self._stdout.add(data)
        elif fd == pipes.stderr:
            self._stderr.add(data)
        elif data and not self._channel_full:
            self._channel_bytes += len(data)
            self._channel_full = self._channel_bytes > self._request["max_channel_bytes"]
            if not self._channel_full:
                self._host.send({"event": "channel"}, data)
        return len(data)

    def _drain(self, pipes: Pipes) -> None:
        """Read what dead writers left in the pipes: at most what a pipe holds."""
        for fd in (pipes.stdout, pipes.stderr, pipes.channel):
            while self._take(fd, pipes) > 0:
                pass


def make_pipes() -> Pipes:
    stdin_read, stdin_write = os.pipe()
    readers, writers = [], []
    for _ in range(3):
        read_fd, write_fd = os.pipe()
        with contextlib.suppress(OSError):  # a limit on pipe memory: the default size is slower, nothing else
            fcntl.fcntl(read_fd, _F_SETPIPE_SZ, _PIECE)
        os.set_blocking(read_fd, False)
        readers.append(read_fd)
        writers.append(write_fd)
    os.set_blocking(stdin_write, False)
    return Pipes(stdin_write, readers[0], readers[1], readers[2], (stdin_read, *writers))  # type: ignore[arg-type]


def start(request: dict[str, Any], pipes: Pipes, config: dict[str, Any]) -> int:
    """Fork and exec the command in a session of its own; the child's failure is exit status 126 or 127."""
    pid = os.fork()
    if pid:
        for fd in pipes.child:
            os.close(fd)
        return pid
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for source, target in zip(pipes.child, (0, 1, 2, CHANNEL_FD)):
            os.dup2(source, target)
        set_limits(config["rlimits"])
        # Where memory runs out, the kernel takes commands before it takes the agent. Writing that needs a process
        # whose /proc entry is its own again; nobody is there to look into it, for no command outlives its run.
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        os.umask(0o022)
        os.chdir(request["cwd"])
        environment = {**request["environment"], "GYMFORGE_CHANNEL_FD": str(CHANNEL_FD)}
        os.execvpe(request["command"][0], request["command"], environment)
    except OSError as error:
        message = "gymforge: cannot run {!r} in {!r}: {}\n".format(request["command"][0], request["cwd"], error)
        os.write(2, message.encode("utf-8", "backslashreplace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    finally:
        os._exit(125)


def set_limits(rlimits: dict[str, int]) -> None:
    for name, value in rlimits.items():
        which = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(which)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (limit, limit))


def exit_code(status: int | None) -> int:
    """Exit status as the host sees it; a command that was killed before it was reaped died of SIGKILL."""
    if status is None:
        return -signal.SIGKILL
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def reap(reaped: Any) -> bool:
    """Collect the dead; whether any child is still alive."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        reaped(pid, status)


def kill_others(reaped: Any) -> None:
    """Kill every process of the namespace except this one, until none is left."""
    deadline = time.monotonic() + _KILL_PATIENCE_S
    pause_s = 0.0005
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            if not reap(reaped):
                return
        reap(reaped)
        if time.monotonic() > deadline:
            os._exit(3)  # unkillable processes: the namespace dies with its PID 1
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)


def oom_kills() -> int | None:
    """How often the kernel killed in this sandbox's control group; None where that cannot be seen from inside."""
    for path in _OOM_FILES:
        try:
            with open(path) as file:
                counts = dict(line.split() for line in file)
        except OSError:
            continue
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return None


def broken_limit(watchdog: dict[str, Any]) -> str:
    """`memory`, `processes` or nothing: the limit that the namespace is over, where no control group holds it."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    if len(pids) > watchdog["processes"]:
        return "processes"
    files_bytes = 0
    for path in watchdog["filesystems"]:
        usage = os.statvfs(path)
        files_bytes += (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    limit: int = watchdog["memory_bytes"]
    # Resident sizes count shared pages again and again; the exact sum is slow, so it is asked only then.
    if files_bytes + sum(map(resident_bytes, pids)) <= limit:
        return ""
    return "memory" if files_bytes + sum(map(proportional_bytes, pids)) > limit else ""


def resident_bytes(pid: int) -> int:
    try:
        with open("/proc/%d/statm" % pid) as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int:
    try:
        with open("/proc/%d/smaps_rollup" % pid) as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident_bytes(pid)


def put(request: dict[str, Any], host: Host, size_bytes: int) -> dict[str, Any]:
    """Write a file beside its place and rename it there, so that a link in its place is replaced, not followed."""
    path = request["path"]
    left = size_bytes
    temporary = f"{os.path.dirname(path)}/.gymforge-{time.monotonic_ns()}"
    fd = -1
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        while left:
            piece = host.read(min(left, _PIECE))
            left -= len(piece)
            view = memoryview(piece)
            while view:
                view = view[os.write(fd, view) :]
        os.fchmod(fd, mode_in_place(path) if request["mode"] is None else request["mode"])
        os.rename(temporary, path)
    except OSError as error:
        if fd >= 0:
            os.unlink(temporary)
        while left:
            left -= len(host.read(min(left, _PIECE)))
        return failure(error)
    finally:
        if fd >= 0:
            os.close(fd)
    return {}


def mode_in_place(path: str) -> int:
    """The permissions of the regular file in this place; those of a new file where there is none."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return _NEW_FILE
    return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else _NEW_FILE


def get(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Read a regular file; a link, a pipe or a device in its place is no such file."""
    try:
        fd = os.open(request["path"], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return failure(error), b""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return {"errno": errno.ENOENT, "error": "not a regular file"}, b""
    with open(fd, "rb") as file:
        content = file.read(request["max_bytes"] + 1)
    if len(content) > request["max_bytes"]:
        return {"errno": errno.EFBIG, "error": "more than %d bytes" % request["max_bytes"]}, b""
    return {}, content


def failure(error: OSError) -> dict[str, Any]:
    return {"errno": error.errno, "error": error.strerror}


def serve(host: Host, config: dict[str, Any], wake: int) -> None:
    """Answer requests until the host says or shows that it is done."""
    host.send({"agent": 1})
    while True:
        request, payload_bytes = host.next_request()
        if request["op"] == "run":
            Run(host, request, host.read(payload_bytes), config, wake).execute()
        elif request["op"] == "put":
            host.send(put(request, host, payload_bytes))
        elif request["op"] == "get":
            header, content = get(request)
            host.send(header, content)
        elif request["op"] == "end":
            raise HostGoneError
        elif request["op"] in ("say", "stop"):
            host.read(payload_bytes)  # for a command that has ended meanwhile
        else:
            raise ValueError(request["op"])


def main() -> None:
    """Take the standard streams away from commands, become unreadable to them, and serve."""
    null = os.open("/dev/null", os.O_RDWR)
    while null < _LOW_FDS - 1:  # keep low numbers taken: a command's streams are duplicated over them
        null = os.open("/dev/null", os.O_RDWR)
    host = Host(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _LOW_FDS), fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _LOW_FDS))
    os.dup2(null, 0, inheritable=False)
    os.dup2(null, 1, inheritable=False)
    libc = ctypes.CDLL(None)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_DUMPABLE)")
    if (
        os.uname().machine in _KEYCTL
    ):  # leave the host's session keyring; where keyctl is forbidden, commands lack it too
        libc.syscall(_KEYCTL[os.uname().machine], _JOIN_SESSION_KEYRING, None)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    try:
        serve(host, json.loads(sys.argv[1]), wake_read)
    except (HostGoneError, BrokenPipeError):
        os._exit(0)


if __name__ == "__main__":
    main()
