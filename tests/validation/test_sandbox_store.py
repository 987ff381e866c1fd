"""The local store takes archives that it does not trust, whole or not at all."""

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Callable
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
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


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


def test_what_a_killed_run_left_is_swept(
    environments: store.EnvironmentStore, send: Callable[..., None], root: Path
) -> None:
    dead = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(dead, 0)
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
