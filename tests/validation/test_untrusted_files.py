"""Folders that untrusted code filled are walked and deleted, however deep, long or closed they are."""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from validation.sandbox.untrusted_files import delete, walk

DEPTH = 3000


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "root").mkdir()
    yield tmp_path / "root"
    subprocess.run(["rm", "-rf", tmp_path / "root"], check=True)  # deeper than pytest can delete


@pytest.fixture
def nest() -> Iterator[Callable[[Path, Iterable[bytes]], int]]:
    """Make folders in each other; gives a descriptor of the innermost."""
    opened: list[int] = []

    def make(root: Path, names: Iterable[bytes]) -> int:
        descriptor = os.open(root, os.O_RDONLY)
        for name in names:
            os.mkdir(name, dir_fd=descriptor)
            inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        opened.append(descriptor)
        return descriptor

    yield make
    for descriptor in opened:
        os.close(descriptor)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_walk_sees_every_folder_once_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "a/link").symlink_to(tmp_path)
    (tmp_path / "a/b/file").touch()
    found = [(sorted(folder.folders), sorted(folder.others)) for folder in walk(tmp_path)]
    assert found[0] == (["a", "c"], [])
    assert sorted(found[1:]) == [([], []), ([], ["file"]), (["b"], ["link"])]
    upwards = [(sorted(folder.folders), sorted(folder.others)) for folder in walk(tmp_path, bottom_up=True)]
    assert upwards[-1] == found[0]
    assert sorted(upwards) == sorted(found)


@pytest.mark.parametrize("name", [b"d", b"\xff\n" * 100], ids=["short", "long"])
def test_any_depth_is_walked_with_a_descriptor_or_two_and_deleted(root: Path, nest, name: bytes) -> None:
    innermost = nest(root, [name] * DEPTH)
    os.close(os.open(b"\xfe" * 255, os.O_CREAT, dir_fd=innermost))
    os.mkfifo("pipe", dir_fd=innermost)
    before = open_descriptors()
    most = folders = others = 0
    for folder in walk(root):
        folders += 1
        others += len(folder.others)
        most = max(most, open_descriptors()) if folders % 100 == 0 else most
    assert (folders, others) == (DEPTH + 1, 2)
    assert most <= before + 2
    delete(root)
    assert not root.exists()
    assert open_descriptors() == before


def test_tame_folders_have_no_special_bits_and_are_open_to_their_owner(root: Path) -> None:
    (root / "closed").mkdir()
    (root / "closed").chmod(0o7055)
    for _ in walk(root, tame=True):
        pass
    assert (root / "closed").stat().st_mode & 0o7777 == 0o755


def test_closed_folders_are_deleted(root: Path) -> None:
    """By their owner, whom modes keep out, be it not root."""
    (root / "closed/in").mkdir(parents=True)
    (root / "closed/in/file").touch()
    (root / "closed/in").chmod(0)
    (root / "closed").chmod(0)
    delete(root)
    assert not root.exists()


def test_links_are_deleted_and_never_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/canary").touch()
    (root / "link").symlink_to(tmp_path / "outside")
    delete(root)
    assert not root.exists()
    (tmp_path / "root-link").symlink_to(tmp_path / "outside")
    delete(tmp_path / "root-link")
    assert (tmp_path / "outside/canary").exists()


def test_what_is_gone_already_is_no_error(tmp_path: Path) -> None:
    delete(tmp_path / "nothing")


def test_walk_that_comes_up_elsewhere_stops(root: Path, tmp_path: Path) -> None:
    """Somebody moved the folder that the walk was in: what is above it now is none of its business."""
    (root / "a/b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    steps = walk(root, bottom_up=True)
    next(steps)
    (root / "a/b").rename(tmp_path / "elsewhere/b")
    with pytest.raises(OSError, match="was moved"):
        next(steps)
