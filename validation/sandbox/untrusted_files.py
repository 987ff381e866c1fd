"""Walk and delete folders that untrusted code filled: of any depth, with names and paths of any length."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Folder(NamedTuple):
    """Where a walk stands."""

    descriptor: int
    """Open until the walk goes on; names are looked up below it, for whole paths may be longer than any path can be."""
    status: os.stat_result
    folders: tuple[str, ...]
    others: tuple[str, ...]
    """Everything else; links are never followed."""


def walk(root: Path, *, tame: bool = False, bottom_up: bool = False) -> Iterator[Folder]:
    """Every folder below `root` and itself; `tame` takes special bits away from each and gives the owner all rights.

    Holds one descriptor however deep it is: it comes back up by `..`, and sees that it arrives where it was.

    Raises:
        OSError: a folder cannot be opened, or was moved meanwhile.
    """
    descriptor = _enter(os.fspath(root), None, tame)
    try:
        above = [_look(descriptor)]
        waiting = [list(above[0].folders)]
        if not bottom_up:
            yield above[-1]
        while above:
            if waiting[-1]:
                descriptor = _replaced(descriptor, _enter(waiting[-1].pop(), descriptor, tame))
                above.append(_look(descriptor))
                waiting.append(list(above[-1].folders))
                if not bottom_up:
                    yield above[-1]
                continue
            if bottom_up:
                yield above[-1]._replace(descriptor=descriptor)
            above.pop()
            waiting.pop()
            if above:
                descriptor = _replaced(descriptor, os.open("..", _FOLDER, dir_fd=descriptor))
                if not os.path.samestat(os.fstat(descriptor), above[-1].status):
                    raise OSError(errno.ESTALE, "a folder was moved while the files were looked at", os.fspath(root))
    finally:
        os.close(descriptor)


def delete(root: Path) -> None:
    """Delete a folder of untrusted files; links in it are removed, never followed.

    What cannot be deleted is left: nothing that somebody built may end another's run.
    """
    with suppress(OSError):
        for folder in walk(root, tame=True, bottom_up=True):
            for name in folder.others:
                with suppress(OSError):
                    os.unlink(name, dir_fd=folder.descriptor)
            for name in folder.folders:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=folder.descriptor)
        root.rmdir()


def _enter(name: str, parent: int | None, tame: bool) -> int:
    if tame:
        # Only so can a folder that its owner may not read be changed without following a link in its place.
        place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            mode = stat.S_IMODE(os.fstat(place).st_mode)
            if mode != mode & 0o777 | 0o700:
                os.chmod(f"/proc/self/fd/{place}", mode & 0o777 | 0o700)  # noqa: PTH101 - a descriptor, no path
        finally:
            os.close(place)
    return os.open(name, _FOLDER, dir_fd=parent)


def _look(descriptor: int) -> Folder:
    folders: list[str] = []
    others: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            (folders if entry.is_dir(follow_symlinks=False) else others).append(entry.name)
    return Folder(descriptor, os.fstat(descriptor), tuple(folders), tuple(others))


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new
