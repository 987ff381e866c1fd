"""Who may write to a dataset folder: one process, as long as it lives."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from schemas.errors import DatasetError
from storage.durable import refusals_named
from storage.layout import DatasetLayout


@contextmanager
def locked(layout: DatasetLayout) -> Iterator[None]:
    """Be the only writer; the lock's file is gone afterwards.

    Raises:
        DatasetError: another process writes; the message names it.
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
        DatasetError: one does; the message names it.
    """
    try:
        descriptor = os.open(layout.lock, os.O_RDONLY)
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


def _take_lock(layout: DatasetLayout) -> int:
    while True:
        with refusals_named(layout.lock):
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o644)
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
