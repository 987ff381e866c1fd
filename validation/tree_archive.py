"""Pack a checkout into tar archives that are the same bytes wherever and whenever it was made."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import EnvironmentFailed
from validation.sandbox.protocol import MIB

MAX_TREE_BYTES = 1024 * MIB
"""Larger checkouts are refused: every sandbox holds a copy."""
ARCHIVE_BYTES = 64 * MIB
"""An archive ends after the file that fills it."""


def tree_archives(tree: Path, modified_s: int) -> Iterator[bytes]:
    """Tar archives of a tree, in order, each small enough to be held in memory."""
    total_bytes = 0
    buffer = io.BytesIO()
    archive = tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed when full
    for path in _entries(tree):
        entry = tarfile.TarInfo(path.relative_to(tree).as_posix())
        entry.mtime = modified_s
        if path.is_symlink():
            entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
            archive.addfile(entry)
        elif path.is_dir():
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        elif path.is_file():
            status = path.stat()
            total_bytes += status.st_size
            if total_bytes > MAX_TREE_BYTES:
                message = f"the checkout holds more than {MAX_TREE_BYTES // MIB} MiB"
                raise EnvironmentFailed(f"{message}. Every sandbox holds a copy of it: choose a smaller repository")
            entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
            with path.open("rb") as file:
                archive.addfile(entry, file)
        if buffer.tell() > ARCHIVE_BYTES:
            archive.close()
            yield buffer.getvalue()
            buffer = io.BytesIO()
            archive = tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
    archive.close()
    yield buffer.getvalue()


def _entries(folder: Path) -> Iterator[Path]:
    """Everything under a folder, parents first, sorted; links are not followed."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path != folder:
            yield path
        if path.is_dir() and not path.is_symlink():
            waiting += sorted((inner for inner in path.iterdir() if inner.name != ".git"), reverse=True)
