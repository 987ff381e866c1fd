"""Files that one process holds at a time; the kernel lets go of them when it dies, however it dies."""

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import DatasetError
from storage.durable import refusals_named

_LOOK_EVERY_S = 0.05
_GONE_BEFORE_GIVING_UP = 1000
"""So often the folder may be gone before its place is taken for one where none can be made: in /proc, below a file."""


@contextmanager
def locked(lock: Path, *, held: str, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only one who holds `lock`, a file that is made with its folder and is gone afterwards.

    `held`: what another holder does, for the message; it ends in who it is.

    Raises:
        DatasetError: another process holds it, and still does after `wait_s`. Or the lock is no file of this folder.
        StorageFailed: the folder cannot be written to.
    """
    descriptor = _take_lock(lock, held, give_up_at=time.monotonic() + wait_s)
    try:
        with suppress(OSError):  # on a full disk nobody can read who holds it, and it is held all the same
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        with suppress(OSError):  # the disk may have turned read-only, or the folder may be gone
            if os.path.samestat(os.fstat(descriptor), lock.stat()):  # somebody's may be in its place
                lock.unlink()  # a dataset at rest holds nothing but what was released
        os.close(descriptor)


def refuse_held(lock: Path, *, held: str) -> None:
    """See that no process holds a lock now; takes nothing.

    Raises:
        DatasetError: one does; the message names it. Or the lock is no file of this folder.
    """
    try:
        descriptor = _open_lock(lock, os.O_RDONLY)
    except OSError:
        return
    try:
        with refusals_named(lock):
            if not _take(descriptor, fcntl.LOCK_SH):
                raise _refusal(descriptor, held)
    finally:
        os.close(descriptor)


def _refusal(descriptor: int, held: str) -> DatasetError:
    owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
    return DatasetError(f"{held} {owner}. Wait until it has finished, or choose another folder with --out.")


def _open_lock(lock: Path, flags: int) -> int:
    """The lock's file; never one that lies elsewhere, since its owner's name is written into it."""
    try:
        # Not blocking: a pipe in its place would wait for a reader.
        descriptor = os.open(lock, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise _no_lock_file(lock) from None
        raise
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
        os.close(descriptor)
        raise _no_lock_file(lock)
    return descriptor


def _no_lock_file(lock: Path) -> DatasetError:
    return DatasetError(
        f"{lock} is a link or no regular file, and so no lock of gymforge's. Delete it, or choose another "
        "folder with --out."
    )


def _take_lock(lock: Path, held: str, *, give_up_at: float) -> int:
    gone = 0
    while True:
        with refusals_named(lock):
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
                descriptor = _open_lock(lock, os.O_RDWR | os.O_CREAT)
            except (FileNotFoundError, FileExistsError):
                gone += 1
                if gone < _GONE_BEFORE_GIVING_UP:
                    continue  # its last owner took a folder away between two calls, or while it was looked at
                raise
        taken = False
        try:
            with refusals_named(lock):
                if not _take(descriptor, fcntl.LOCK_EX):
                    if time.monotonic() >= give_up_at:
                        raise _refusal(descriptor, held)
                    time.sleep(_LOOK_EVERY_S)
                elif _is_at(lock, descriptor):
                    os.ftruncate(descriptor, 0)
                    taken = True
        finally:
            if not taken:
                os.close(descriptor)
        if taken:
            return descriptor
        # Somebody holds it; or its last owner took the file away between our two calls. Begin again.


def _take(descriptor: int, how: int) -> bool:
    """Take the lock, if nobody holds it."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(lock: Path, descriptor: int) -> bool:
    """Whether the open file is the one that lies there."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False
