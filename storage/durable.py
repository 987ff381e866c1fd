"""Files that are whole or absent: temporary name, flush, fsync, rename, fsync of the folder."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from schemas.errors import GymforgeError, StorageFailed

TEMPORARY_SUFFIX = ".tmp"


def temporary_name(path: Path) -> Path:
    """Where a file is written before it gets its name: hidden, beside it, no reader's glob finds it."""
    return path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")


def open_temporary(path: Path) -> BinaryIO:
    """The file that gets the name `path` when it is published, new and empty.

    What stood in its place is taken away, and never written to: it may be a link that leads out of the folder.
    """
    temporary = temporary_name(path)
    temporary.unlink(missing_ok=True)
    return temporary.open("xb")  # where somebody puts a link there meanwhile, this fails: it follows none


def publish(path: Path) -> None:
    """Give the finished temporary file its name, so that after a power cut it is there whole or not at all."""
    temporary = temporary_name(path)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by `content`, atomically and durably.

    Raises:
        StorageFailed: the file system refused (full, read-only, no permission).
    """
    with refusals_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_temporary(path) as file:
            file.write(content)
        publish(path)


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed writer left under temporary names in one folder."""
    for leftover in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_unwritable(folder: Path, *, instead: str = "choose another folder with --out") -> None:
    """See that a folder, or the nearest one above it that is there, takes new files; changes nothing.

    Raises:
        StorageFailed: it does not (read-only, no permission, a file in the way).
    """
    with refusals_named(folder, instead=instead):
        absolute = folder.absolute()
        nearest = next(path for path in (absolute, *absolute.parents) if path.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is a file")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{nearest} is read-only for this user")


def require_usable(folder: Path, *, instead: str) -> None:
    """Make a folder where it is not there, and see that it takes new files; `instead` says what else could be done.

    Raises:
        StorageFailed: it cannot be made, or does not.
    """
    with refusals_named(folder, instead=instead):
        folder.mkdir(parents=True, exist_ok=True)
    refuse_unwritable(folder, instead=instead)


@contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """Make a folder with its parents; those that were made and hold nothing at the end are taken away again.

    Raises:
        StorageFailed: the file system refused.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with refusals_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with suppress(OSError):  # the first that holds something, and all above it, stay
            for path in made:
                path.rmdir()


@contextmanager
def refusals_named(path: Path, *, instead: str = "choose another folder with --out") -> Iterator[None]:
    """Turn an error of the file system into one that names the path and says what next."""
    try:
        yield
    except GymforgeError:  # some are OSErrors too
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.EEXIST, errno.ENOTDIR) and error.filename not in (None, str(path)):
            reason = f"{error.filename}: {reason}"
        raise StorageFailed(
            f"cannot write {path}: {reason}. Free space or {instead}, then run the same "
            "command again: what is finished is kept."
        ) from error
