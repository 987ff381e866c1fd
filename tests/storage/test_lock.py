"""A lock is a file of its folder: nothing that stands in its place is written to."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import DatasetError, StorageFailed
from storage.layout import DatasetLayout
from storage.lock import locked, refuse_held

HELD = "it is held by"


def bind(path: Path, _victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize(
    "put",
    [
        lambda lock, victim: lock.symlink_to(victim),
        lambda lock, victim: lock.symlink_to(victim.with_name("nothing")),
        lambda lock, victim: lock.hardlink_to(victim),
        lambda lock, _: os.mkfifo(lock),
        lambda lock, _: lock.mkdir(),
        bind,
    ],
    ids=["link", "dangling-link", "hard-link", "pipe", "folder", "socket"],
)
def test_lock_that_is_no_file_of_the_folder_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    layout = DatasetLayout(Path("d"))
    put(layout.lock, tmp_path / "victim")
    with pytest.raises(DatasetError, match=r"d/\.gymforge\.lock is a link or no regular file.*Delete it"):
        refuse_held(layout.lock, held=HELD)
    with pytest.raises(DatasetError, match="is a link or no regular file"), locked(layout.lock, held=HELD):
        pass
    assert (tmp_path / "victim").read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "victim"]
    assert layout.lock.is_symlink() or layout.lock.exists()


def test_a_file_system_without_locks_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    lock = tmp_path / "lock"
    with pytest.raises(StorageFailed, match=r"lock: No locks available"), locked(lock, held=HELD):
        pass
    lock.touch()
    with pytest.raises(StorageFailed, match=r"lock: No locks available"):
        refuse_held(lock, held=HELD)


def test_file_of_a_killed_writer_is_taken_over_and_its_text_replaced(tmp_path: Path) -> None:
    layout = DatasetLayout(tmp_path)
    layout.lock.write_text("process 1 on a machine with a name that is much longer than it could be here, in truth\n")
    refuse_held(layout.lock, held=HELD)
    with locked(layout.lock, held=HELD):
        assert layout.lock.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert not layout.lock.exists()
