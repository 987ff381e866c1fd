"""Which backend is chosen, what is refused, and what `doctor` sees."""

from pathlib import Path

import pytest

from schemas.errors import InvalidInput, SandboxUnavailable
from schemas.repo import SandboxKind
from validation.sandbox import bubblewrap, cgroups, probe
from validation.sandbox.cgroups import Hierarchy
from validation.sandbox.interpreters import describe, find_interpreters, own_interpreter
from validation.sandbox.probe import ProbeStatus
from validation.sandbox.select import open_backend


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "find_bubblewrap", _refuse)


def _refuse() -> bubblewrap.Bubblewrap:
    raise SandboxUnavailable(f"No local sandbox can start on this machine. {bubblewrap.INSTALL_HINT}")


@pytest.mark.parametrize("kind", ["none", "", "LOCAL", "podman"])
def test_unknown_kind_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="auto, docker, local"):
        open_backend(kind, cache_dir=tmp_path)


@pytest.mark.usefixtures("no_engine")
def test_docker_without_an_engine_is_unavailable_and_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match=r"Install a Docker Engine"):
        open_backend("docker", cache_dir=tmp_path)


@pytest.mark.sandbox
@pytest.mark.usefixtures("no_engine")
def test_auto_without_an_engine_is_local(tmp_path: Path) -> None:
    assert open_backend("auto", cache_dir=tmp_path).kind is SandboxKind.LOCAL


@pytest.mark.docker
def test_auto_with_an_engine_is_docker(tmp_path: Path) -> None:
    assert open_backend("auto", cache_dir=tmp_path).kind is SandboxKind.DOCKER


@pytest.mark.usefixtures("no_engine", "no_bubblewrap")
def test_nothing_that_isolates_is_refused_and_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match=r"Docker Engine(.|\n)*apt install bubblewrap"):
        open_backend("auto", cache_dir=tmp_path)


def test_old_bubblewrap_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    old.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "_candidates", lambda: [(str(old), False)])
    with pytest.raises(SandboxUnavailable, match=r"0\.4\.1, needs 0\.8"):
        bubblewrap.find_bubblewrap.__wrapped__()


def test_bubblewrap_that_cannot_make_namespaces_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    denied = tmp_path / "bwrap"
    denied.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo bubblewrap 0.11.0 && exit\necho no permission >&2; exit 1\n'
    )
    denied.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "_candidates", lambda: [(str(denied), False)])
    with pytest.raises(SandboxUnavailable, match="no permission"):
        bubblewrap.find_bubblewrap.__wrapped__()


@pytest.mark.sandbox
def test_doctor_sees_a_sandbox_that_starts() -> None:
    found = {item.name: item for item in probe.probe()}
    assert found["bubblewrap"].status is ProbeStatus.OK
    assert found["git"].status is ProbeStatus.OK
    assert found["interpreters"].status is ProbeStatus.OK


@pytest.mark.usefixtures("no_engine")
def test_doctor_says_that_docker_is_missing_and_what_follows() -> None:
    found = {item.name: item for item in probe.probe()}
    assert found["docker"].status is ProbeStatus.MISSING
    assert "refused" in found["docker"].consequence


def test_doctor_calls_a_machine_without_cgroups_weaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find_hierarchy", lambda: None)
    found = {item.name: item for item in probe.probe()}
    assert found["cgroups"].status is ProbeStatus.WEAKER


def test_unwritable_group_folder_is_no_hierarchy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = tmp_path / "not" / "there"
    monkeypatch.setattr(cgroups, "_candidates", lambda: iter([Hierarchy(2, missing, missing)]))
    assert cgroups.find_hierarchy() is None


def test_own_interpreter_is_found_and_newest_come_first() -> None:
    versions = [tuple(map(int, item.interpreter.version.split("."))) for item in find_interpreters()]
    assert versions == sorted(versions, reverse=True)
    assert own_interpreter().interpreter.path in {item.interpreter.path for item in find_interpreters()}


def test_program_that_is_no_interpreter_is_not_described(tmp_path: Path) -> None:
    liar = tmp_path / "python3"
    liar.write_text("#!/bin/sh\necho hello\n")
    liar.chmod(0o755)
    assert describe(str(liar)) is None
    assert describe(str(tmp_path / "absent")) is None
