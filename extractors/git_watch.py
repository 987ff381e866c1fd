"""Watch one git process: what it says is kept up to a bound, and it ends with all it started when it goes too far."""

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from extractors import git_limits

_LOOK_S = 0.25
# Looking at a large folder takes time itself; it may take this part of the whole.
_LOOKING_SHARE = 0.1
_PIECE_BYTES = 1024 * 1024
_KEPT_COMPLAINTS_BYTES = 64 * 1024


class Bound(StrEnum):
    TIME = "time"
    SIZE = "size"
    SAID = "said"
    PROCESSES = "processes"


class Stopped(NamedTuple):
    bound: Bound
    advice: str
    """What went too far, and what to do next."""


class Bounds(NamedTuple):
    """How far one git command may go."""

    time_s: float
    folders: Mapping[Path, int] = {}
    """Bytes that may lie in a folder."""


class Watched(NamedTuple):
    """What a git process gave."""

    status: int
    stdout: bytes
    stderr: bytes
    """Its end, where it was long."""
    stopped: Stopped | None
    """Set where it was ended before its time."""


class _Group(NamedTuple):
    leader: int
    stderr: int


def watch(process: "Popen[bytes]", bounds: Bounds) -> Watched:
    """Collect what `process`, the leader of a group of its own, says until it ends or breaks a bound.

    Whatever ends this call, nothing of the group outlives it.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    said: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    group = _Group(process.pid, process.stderr.fileno())
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in said:
                selector.register(pipe, selectors.EVENT_READ)
            stopped = _drain(selector, said, group, bounds)
        if not stopped:
            # Not collected yet: its number stays taken until its group is killed.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            stopped = _over(bounds.folders)
    finally:
        end_group(process)
    output, complaints = (bytes(text) for text in said.values())
    return Watched(process.returncode, output, complaints, stopped)


def end_group(process: "Popen[bytes]") -> None:
    """Kill all that is left of the group of `process`, its leader, and collect that; close its pipes."""
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()


def _drain(
    selector: selectors.BaseSelector, said: dict[int, bytearray], group: _Group, bounds: Bounds
) -> Stopped | None:
    """Read both pipes to their ends; returns why it was given up before."""
    deadline = time.monotonic() + bounds.time_s
    next_look = 0.0
    received = 0
    while selector.get_map():
        for key, _ in selector.select(_LOOK_S):
            piece = os.read(key.fd, _PIECE_BYTES)
            if not piece:
                selector.unregister(key.fd)
            received += len(piece)
            said[key.fd] += piece
        del said[group.stderr][:-_KEPT_COMPLAINTS_BYTES]
        if received > git_limits.MAX_SAID_BYTES:
            what = f"it sent more than {_size(git_limits.MAX_SAID_BYTES)} of names and messages"
            return Stopped(Bound.SAID, f"{what}, which is the limit. Check its address")
        now = time.monotonic()
        if now > deadline:
            what = f"it took longer than {_duration(bounds.time_s)}, which is the limit"
            advice = "Check the network; where its server is slow, clone it by hand and give the clone's folder"
            return Stopped(Bound.TIME, f"{what}. {advice}")
        if now > next_look:
            if over := _crowded(group.leader) or _over(bounds.folders):
                return over
            next_look = now + max(_LOOK_S, (time.monotonic() - now) / _LOOKING_SHARE)
    return None


def _crowded(leader: int) -> Stopped | None:
    """Git starts itself again and again where a server that it wants contents from has plain files alone."""
    if _session_size(leader) <= git_limits.MAX_PROCESSES:
        return None
    what = f"git started more than {git_limits.MAX_PROCESSES} processes for it, which is the limit"
    advice = "Its server cannot give single files; clone it by hand and give the clone's folder"
    return Stopped(Bound.PROCESSES, f"{what}. {advice}")


def _session_size(leader: int) -> int:
    """Processes of a session; 0 where this system has no `/proc`."""
    total = 0
    proc = Path("/proc")
    # Not `glob`: it stops with an error at a process that ends meanwhile.
    for folder in [one for one in proc.iterdir() if one.name.isdigit()] if proc.is_dir() else []:
        with contextlib.suppress(OSError):
            # PID (NAME) STATE PARENT GROUP SESSION; a name may hold anything.
            total += (folder / "stat").read_bytes().rpartition(b")")[2].split()[3] == b"%d" % leader
    return total


def _over(folders: Mapping[Path, int]) -> Stopped | None:
    for folder, limit in folders.items():
        if size_of(folder) > limit:
            what = f"it holds more than {_size(limit)}, which is the limit"
            return Stopped(Bound.SIZE, f"{what}. Take the large parts out of it in a fork")
    return None


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder that may change meanwhile; links are not followed."""
    total = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                total += Path(inside, name).lstat().st_size
    return total


def _size(size_bytes: int) -> str:
    gib = 1024**3
    return f"{size_bytes // gib} GiB" if size_bytes >= gib else f"{size_bytes // 1024**2} MiB"


def _duration(time_s: float) -> str:
    return f"{time_s / 60:.0f} minutes" if time_s >= 120 else f"{time_s:g} seconds"
