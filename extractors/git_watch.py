"""Watch one git process: what it says is kept up to a bound, and it ends with all it started when it goes too far."""

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

from extractors import git_limits

_LOOK_S = 0.25
# Looking at a large folder takes time itself; it may take this part of the whole.
_LOOKING_SHARE = 0.1
_PIECE_BYTES = 1024 * 1024
_KEPT_COMPLAINTS_BYTES = 64 * 1024


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
    stopped: str
    """Why it was ended before its time, and what to do next; empty where it ended by itself."""


def watch(process: "Popen[bytes]", bounds: Bounds) -> Watched:
    """Collect what `process`, the leader of a group of its own, says until it ends or breaks a bound.

    Whatever ends this call, nothing of the group outlives it.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    said: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    stderr = process.stderr.fileno()
    try:
        with selectors.DefaultSelector() as selector:
            for pipe in said:
                selector.register(pipe, selectors.EVENT_READ)
            stopped = _drain(selector, said, stderr, bounds)
        if not stopped:
            # Not collected yet: its number stays taken until its group is killed.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            stopped = _over(bounds.folders)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
    output, complaints = (bytes(text) for text in said.values())
    return Watched(process.returncode, output, complaints, stopped)


def _drain(selector: selectors.BaseSelector, said: dict[int, bytearray], stderr: int, bounds: Bounds) -> str:
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
        del said[stderr][:-_KEPT_COMPLAINTS_BYTES]
        if received > git_limits.MAX_SAID_BYTES:
            return f"it sent more than {_size(git_limits.MAX_SAID_BYTES)} of names and messages. Check its address"
        now = time.monotonic()
        if now > deadline:
            return (
                f"it took longer than {_duration(bounds.time_s)}, which is the limit. Check the network; "
                "where its server is slow, clone it by hand and give the clone's folder"
            )
        if now > next_look:
            if over := _over(bounds.folders):
                return over
            next_look = now + max(_LOOK_S, (time.monotonic() - now) / _LOOKING_SHARE)
    return ""


def _over(folders: Mapping[Path, int]) -> str:
    for folder, limit in folders.items():
        if size_of(folder) > limit:
            return f"it holds more than {_size(limit)}, which is the limit. Take the large parts out of it in a fork"
    return ""


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
