"""Who may write to a dataset folder: one process, as long as it lives."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from schemas.errors import DatasetError
from storage.durable import refusals_named
from storage.layout import DatasetLayout


@contextmanager
def locked(layout: DatasetLayout) -> Iterator[None]:
    """Be the only writer; the lock's file is gone afterwards.

    Raises:
        DatasetError: another process writes; the message names it. Or the lock is no file of this folder.
        StorageFailed: the folder cannot be written to.
    """
    descriptor = _take_lock(layout)
    try:
        with refusals_named(layout.lock):
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        with suppress(OSError):  # the disk may have turned read-only, or the folder may be gone
            layout.lock.unlink()  # a dataset at rest holds nothing but what was released
        os.close(descriptor)


def refuse_held(layout: DatasetLayout) -> None:
    """See that no process writes to the folder now; takes nothing.

    Raises:
        DatasetError: one does; the message names it. Or the lock is no file of this folder.
    """
    try:
        descriptor = _open_lock(layout, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _held(layout, descriptor) from None
    finally:
        os.close(descriptor)


def _held(layout: DatasetLayout, descriptor: int) -> DatasetError:
    owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
    return DatasetError(
        f"{layout.root} is being written to by {owner}. Wait until it has finished, or choose another folder with "
        "--out."
    )


def _open_lock(layout: DatasetLayout, flags: int) -> int:
    """The lock's file; never one that lies elsewhere, since its owner's name is written into it."""
    try:
        # Not blocking: a pipe in its place would wait for a reader.
        descriptor = os.open(layout.lock, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # a link, a folder, a socket
            raise _no_lock_file(layout) from None
        raise
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
        os.close(descriptor)
        raise _no_lock_file(layout)
    return descriptor


def _no_lock_file(layout: DatasetLayout) -> DatasetError:
    return DatasetError(
        f"{layout.lock} is a link or no regular file, and so no lock of gymforge's. Delete it, or choose another "
        "folder with --out."
    )


def _take_lock(layout: DatasetLayout) -> int:
    while True:
        with refusals_named(layout.lock):
            descriptor = _open_lock(layout, os.O_RDWR | os.O_CREAT)
        try:
            # The kernel releases it when the process dies, however it dies: no stale lock to clean up.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), layout.lock.stat()):
                os.ftruncate(descriptor, 0)
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError:
            refusal = _held(layout, descriptor)
            os.close(descriptor)
            raise refusal from None
        os.close(descriptor)  # its last owner took the file away between our two calls: begin again
