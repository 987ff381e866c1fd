"""The local store takes archives that it does not trust, whole or not at all."""

import contextlib
import errno
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import InvalidInput, SandboxFailed
from validation.sandbox import store
from validation.sandbox.bubblewrap import find_bubblewrap
from validation.sandbox.fake import FakeSandbox, result

pytestmark = pytest.mark.sandbox
SANDBOX = FakeSandbox(lambda _call: result())


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "environments"
    subprocess.run(["rm", "-rf", tmp_path / "environments"], check=True)  # deeper than pytest can delete


@pytest.fixture
def environments(root: Path) -> store.EnvironmentStore:
    return store.EnvironmentStore(root, find_bubblewrap().path)


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the next sandbox send this archive, as a sandbox whose agent was taken over could."""

    def set_archive(*entries: tarfile.TarInfo, data: bytes = b"spoiled", cut_bytes: int | None = None) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for entry in entries:
                entry.size = len(data) if entry.isreg() else 0
                tar.addfile(entry, io.BytesIO(data))
        monkeypatch.setattr(store, "pack", lambda _sandbox, sink: sink(buffer.getvalue()[:cut_bytes]))

    return set_archive


def entry(name: str, **attributes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("name", ["../../canary", "/canary", "env/../../../canary"])
def test_names_that_climb_out_write_nothing_outside(
    environments: store.EnvironmentStore, send: Callable[..., None], tmp_path: Path, name: str
) -> None:
    (tmp_path / "canary").write_text("untouched")
    send(entry(name if name != "/canary" else str(tmp_path / "canary")))
    with contextlib.suppress(SandboxFailed):
        environments.add(SANDBOX, "name")
    assert (tmp_path / "canary").read_text() == "untouched"


def test_writing_through_a_link_out_reaches_nothing(
    environments: store.EnvironmentStore, send: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "target").mkdir()
    send(entry("env/out", type=tarfile.SYMTYPE, linkname=str(tmp_path / "target")), entry("env/out/canary"))
    with pytest.raises(SandboxFailed):
        environments.add(SANDBOX, "name")
    assert list((tmp_path / "target").iterdir()) == []
    assert not environments.folder("name").exists()


def test_hard_link_to_a_host_file_is_refused(
    environments: store.EnvironmentStore, send: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    send(entry("env/stolen", type=tarfile.LNKTYPE, linkname=str(tmp_path / "secret")))
    with pytest.raises(SandboxFailed):
        environments.add(SANDBOX, "name")


def test_set_user_id_bits_are_taken_away(environments: store.EnvironmentStore, send: Callable[..., None]) -> None:
    send(entry("env/tool", mode=0o6755))
    environments.add(SANDBOX, "name")
    assert stat.S_IMODE((environments.find("name") / "env/tool").stat().st_mode) == 0o755


def test_cut_archive_stores_nothing(
    environments: store.EnvironmentStore, send: Callable[..., None], root: Path
) -> None:
    send(entry("env/a"), entry("env/b"), data=b"x" * 5000, cut_bytes=7000)
    with pytest.raises(SandboxFailed):
        environments.add(SANDBOX, "name")
    assert list(root.iterdir()) == []


def test_size_is_the_sum_of_the_files(environments: store.EnvironmentStore, send: Callable[..., None]) -> None:
    send(entry("env/a"), entry("gymforge/testbed/b"), data=b"x" * 700)
    assert environments.add(SANDBOX, "name") == 1400


def test_storing_again_replaces(environments: store.EnvironmentStore, send: Callable[..., None], root: Path) -> None:
    for data in (b"old", b"new"):
        send(entry("env/a"), data=data)
        environments.add(SANDBOX, "name")
    assert (environments.find("name") / "env/a").read_bytes() == b"new"
    assert len(list(root.iterdir())) == 1


@pytest.mark.parametrize("folders", [["d" * 200] * 19 + ["e" * 140], ["d"] * 1990], ids=["long-names", "many-folders"])
def test_paths_that_are_longer_than_the_hosts_can_be_are_stored_and_removed(
    environments: store.EnvironmentStore, send: Callable[..., None], root: Path, folders: list[str]
) -> None:
    longest = "/".join(["gymforge/testbed", *folders, "f" * 80])
    assert len(longest) < 4096 < len(f"{root}/.partial-12345-123456789012/{longest}")
    send(entry("env/tool"), entry(longest), entry(longest[:-1], mode=0o4755), data=b"x" * 100)
    assert environments.add(SANDBOX, "name") == 300
    assert environments.holds("name")
    environments.remove("name")
    assert list(root.iterdir()) == []


def test_folders_deeper_than_any_path_can_name_are_stored_and_removed(
    environments: store.EnvironmentStore, send: Callable[..., None], root: Path
) -> None:
    """Links within an archive let it nest folders further than one path reaches."""
    below = "d/" * 1500
    send(
        entry(f"env/{below}", type=tarfile.DIRTYPE),
        entry("env/link", type=tarfile.SYMTYPE, linkname=below),
        entry(f"env/link/{below}", type=tarfile.DIRTYPE),
        entry("env/link/further", type=tarfile.SYMTYPE, linkname=below),
        entry(f"env/link/further/{below}/file"),
    )
    environments.add(SANDBOX, "name")
    assert environments.holds("name")
    environments.remove("name")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("place", ["inventory", "env", "gymforge", "gymforge/testbed"])
def test_link_in_a_place_that_the_host_uses_is_refused(
    environments: store.EnvironmentStore, send: Callable[..., None], root: Path, tmp_path: Path, place: str
) -> None:
    """The host writes the one, and mounts the others."""
    (tmp_path / "canary").write_text("untouched")
    target = tmp_path / "canary" if place == "inventory" else tmp_path
    send(
        entry("env/a" if place == "gymforge" else "gymforge/a"),
        entry(place, type=tarfile.SYMTYPE, linkname=str(target)),
    )
    with pytest.raises(SandboxFailed, match="could not be stored"):
        environments.add(SANDBOX, "name")
    assert list(root.iterdir()) == []
    assert (tmp_path / "canary").read_text() == "untouched"


def test_file_system_that_fails_while_storing_is_told(
    environments: store.EnvironmentStore, send: Callable[..., None], monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    def fail(_folder: Path) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(store, "_make_tame", fail)
    send(entry("env/a"))
    with pytest.raises(SandboxFailed, match=rf"could not be stored in {root}: Input/output error"):
        environments.add(SANDBOX, "name")
    assert list(root.iterdir()) == []


def test_leftover_that_cannot_be_deleted_is_left_and_ends_no_run(
    environments: store.EnvironmentStore, send: Callable[..., None], root: Path, tmp_path: Path, dead: int
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/canary").write_text("untouched")
    root.mkdir()
    (root / f".trash-{dead}-abc").symlink_to(tmp_path / "elsewhere")
    send(entry("env/a"))
    environments.add(SANDBOX, "name")
    assert environments.holds("name")
    assert (tmp_path / "elsewhere/canary").read_text() == "untouched"


@pytest.fixture
def dead() -> int:
    """The id of a process that is no more."""
    process = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(process, 0)
    return process


def test_what_a_killed_run_left_is_swept(
    environments: store.EnvironmentStore, send: Callable[..., None], root: Path, dead: int
) -> None:
    stray = root / f".partial-{dead}-abc"
    (stray / "env").mkdir(parents=True)
    (stray / "env").chmod(0o500)
    send(entry("env/a"))
    environments.add(SANDBOX, "name")
    assert [path.name for path in root.iterdir()] == ["name"]


def test_names_stay_apart_and_inside(environments: store.EnvironmentStore, root: Path) -> None:
    names = ["gymforge/a:b", "gymforge/a_b", "gymforge%2fa:b", "../up", "a/../../up"]
    folders = {environments.folder(name) for name in names if not name.startswith(".")}
    assert len(folders) == 4
    assert all(folder.parent == root for folder in folders)


@pytest.mark.parametrize("name", ["", ".", "..", ".partial-1-x"])
def test_name_that_could_be_mistaken_is_refused(environments: store.EnvironmentStore, name: str) -> None:
    with pytest.raises(InvalidInput):
        environments.folder(name)
