"""The machine fails under a run: disks that are full, limits that are not there, two runs at once, a broken cache."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from flows.prefect_server import start_server
from schemas.errors import SandboxFailed, StorageFailed
from schemas.reports import Baseline, CoverageMap, Outcome
from validation.environment_records import read_lock
from validation.sandbox.local import LocalBackend
from validation.sandbox.protocol import Limits
from validation.validate import Suite, prove

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SAMPLE = str(ROOT / "examples" / "tinystats.bundle")
ASKED = ("--sandbox", "local", "--strategies", "op_change,remove_cond", "--max-tasks", "3", "--workers", "2", "--json")
NO_USER_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"',
    "sh",
)
NO_CGROUPS = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh")

Found = Callable[[Path], dict[str, tuple[int, bytes]]]


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, str], None]]:
    """Mount a file system of a size on a folder; called again, it changes the size."""
    if os.geteuid() != 0:
        pytest.fail("this test mounts small file systems: run it as root")
    mounted: list[Path] = []

    def mount(folder: Path, size: str) -> None:
        if folder in mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
        mounted.append(folder)

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def released(files: Mapping[str, bytes | None], slug: str = "local__tinystats") -> dict[str, bytes | None]:
    """The shards of one repository."""
    return {name: content for name, content in files.items() if slug in name and not name.startswith("runs/")}


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, bytes | None]:
    return {}


@pytest.fixture
def reference(undisturbed, gymforge, orchestrator, contents, tmp_path_factory) -> dict[str, bytes | None]:
    """The shards of a run that nothing happens to."""
    if not undisturbed:
        out = tmp_path_factory.mktemp("undisturbed") / "out"
        ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **orchestrator)
        assert ran.code == 0, ran
        undisturbed.update(released(contents(out)))
        assert len(undisturbed) == 2, "a shard of tasks and one of rejections"
    return undisturbed


def test_full_disk_for_shards_loses_nothing_and_the_same_command_goes_on(
    gymforge,
    orchestrator,
    reference,
    contents,
    finished_validations: Found,
    small_disk,
    write_dataset,
    make_task,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    write_dataset(out, make_task())
    (other,) = (out / "data").iterdir()
    kept = other.read_bytes()
    small_disk(out / "data", f"{len(kept) + 8192}")
    other.write_bytes(kept)
    before = contents(out)
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **orchestrator)
    assert (ran.code, "No space left on device" in ran.message, str(out / "data") in ran.message) == (11, True, True)
    assert "run the same command again" in " ".join(ran.message.split())
    assert contents(out) == before, "the dataset is the one that it was"
    judged = finished_validations(out)
    assert judged, "what was finished is kept"
    small_disk(out / "data", "64m")
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **orchestrator)
    assert ran.code == 0, ran
    assert finished_validations(out) == judged, "no finished validation was repeated"
    assert released(contents(out)) == reference
    assert other.read_bytes() == kept


def test_full_disk_for_the_ledger_loses_nothing_and_the_same_command_goes_on(
    gymforge,
    orchestrator,
    reference,
    contents,
    finished_validations: Found,
    small_disk,
    write_dataset,
    make_task,
    tmp_path,
) -> None:
    out = tmp_path / "out"
    write_dataset(out, make_task())
    before = contents(out)
    small_disk(out / "ledger", "400k")  # the checkout fits and some verdicts, and not all
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **orchestrator)
    assert (ran.code, "ledger.sqlite cannot be written" in ran.message, "free space" in ran.message) == (11, True, True)
    assert contents(out) == before
    judged = finished_validations(out)
    assert judged, "what was finished is kept"
    small_disk(out / "ledger", "64m")
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **orchestrator)
    assert ran.code == 0, ran
    assert judged.items() <= finished_validations(out).items(), "no finished validation was repeated"
    assert released(contents(out)) == reference


def test_full_disk_for_the_cache_loses_nothing_and_the_same_command_goes_on(
    gymforge, orchestrator, reference, contents, shared_cache: Path, small_disk, tmp_path: Path
) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    small_disk(cache, "256m")
    shutil.copytree(shared_cache / "distributions", cache / "distributions")
    used = sum(path.stat().st_blocks * 512 for path in cache.rglob("*"))
    small_disk(cache, str(used + 4 * 1024**2))  # room for the clone, and not for an environment
    variables = {**orchestrator, "GYMFORGE_CACHE_DIR": str(cache)}
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **variables)
    assert (ran.code, str(cache) in ran.message, "space" in ran.message) == (11, True, True), ran
    assert not out.exists()
    assert not list(cache.glob("environments/*")), "no half environment"
    small_disk(cache, "256m")
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **variables)
    assert ran.code == 0, ran
    assert released(contents(out)) == reference


def test_disk_full_from_the_beginning_leaves_no_dataset(gymforge, small_disk, orchestrator, tmp_path: Path) -> None:
    small_disk(tmp_path / "disk", "16k")
    (tmp_path / "disk" / "filler").write_bytes(bytes(12 * 1024))
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", tmp_path / "disk" / "out", **orchestrator)
    assert (ran.code, "No space left on device" in ran.message) == (11, True), ran
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["filler"]


def test_disk_that_is_too_full_for_the_orchestrator_is_told_as_such(
    small_disk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_disk(tmp_path / "disk", "1m")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "disk"))
    with start_server(tmp_path / "disk") as wait_until_ready, pytest.raises(StorageFailed, match="GYMFORGE_CACHE_DIR"):
        wait_until_ready()


def test_read_only_disk_is_refused_at_once(gymforge, small_disk, tmp_path: Path) -> None:
    small_disk(tmp_path / "disk", "1m")
    subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
    cache = tmp_path / "cache"
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", tmp_path / "disk" / "out", GYMFORGE_CACHE_DIR=str(cache))
    assert (ran.code, "is read-only for this user" in ran.message) == (11, True), ran
    assert not (cache / "prefect").exists(), "before anything is started"


def test_without_control_groups_doctor_says_what_is_weaker_and_a_run_gives_the_same_bytes(
    gymforge, orchestrator, reference, contents, tmp_path: Path
) -> None:
    doctor = gymforge("doctor", "--json", wrapper=NO_CGROUPS)
    (cgroups,) = [one for one in json.loads(doctor.out) if one["name"] == "cgroups"]
    assert cgroups["status"] == "weaker"
    assert "20 times a second" in cgroups["consequence"]
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", tmp_path / "out", wrapper=NO_CGROUPS, **orchestrator)
    assert ran.code == 0, ran
    assert released(contents(tmp_path / "out")) == reference


def test_without_user_namespaces_the_local_sandbox_is_refused_at_once_with_advice(gymforge, tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no-engine.sock"
    for sandbox in ("local", "auto"):
        ran = gymforge(
            *("ingest", SAMPLE, "--sandbox", sandbox, "--out", tmp_path / "out"),
            wrapper=NO_USER_NAMESPACES,
            DOCKER_HOST=nowhere,
            GYMFORGE_CACHE_DIR=str(tmp_path / "cache"),
        )
        assert (ran.code, "user.max_user_namespaces" in ran.message) == (7, True), ran
        assert ("no-engine.sock" in ran.message or "Docker Engine answers" in ran.message) == (sandbox == "auto")
    assert list(tmp_path.iterdir()) == []
    doctor = gymforge("doctor", "--json", wrapper=NO_USER_NAMESPACES)
    found = {one["name"]: one["status"] for one in json.loads(doctor.out)}
    assert (found["user namespaces"], found["bubblewrap"]) == ("missing", "missing")


@pytest.mark.docker
def test_without_user_namespaces_auto_takes_docker(gymforge, orchestrator, tmp_path: Path) -> None:
    asked = ("--strategies", "op_change", "--max-tasks", "1", "--workers", "2", "--json")
    out = tmp_path / "out"
    ran = gymforge("ingest", SAMPLE, *asked, "--out", out, wrapper=NO_USER_NAMESPACES, **orchestrator)
    assert ran.code == 0, ran
    assert json.loads((out / "manifest.json").read_text())["ingestions"][0]["sandbox"] == "docker"


def test_second_run_into_a_folder_is_refused_at_once_and_the_first_is_not_disturbed(
    start_gymforge, gymforge, orchestrator, reference, contents, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = start_gymforge("ingest", SAMPLE, *ASKED, "--out", out, **orchestrator)
    while first.poll() is None and not (out / "ledger" / "ledger.sqlite").exists():
        pass
    second = gymforge("ingest", SAMPLE, *ASKED, "--seed", "1", "--out", out, GYMFORGE_CACHE_DIR=str(tmp_path / "cache"))
    assert first.poll() is None, "both were there at once"
    assert (second.code, f"is being written to {out} by process {first.pid} " in second.message) == (2, True), second
    assert not (tmp_path / "cache" / "prefect").exists(), "before anything was started"
    printed, errors = first.communicate(timeout=200)
    assert (first.returncode, errors) == (0, ""), printed
    assert released(contents(out)) == reference


def test_two_runs_that_share_an_empty_cache_give_what_each_gives_alone(
    start_gymforge, gymforge, orchestrator, reference, contents, shared_cache: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(shared_cache / "distributions", cache / "distributions")
    other = tmp_path / "othername.bundle"
    shutil.copyfile(SAMPLE, other)
    variables = {**orchestrator, "GYMFORGE_CACHE_DIR": str(cache)}
    runs = {
        source: start_gymforge("ingest", source, *ASKED, "--out", tmp_path / f"out{number}", **variables)
        for number, source in enumerate((SAMPLE, str(other)))
    }
    for process in runs.values():
        _, errors = process.communicate(timeout=250)
        assert (process.returncode, errors) == (0, "")
    assert released(contents(tmp_path / "out0")) == reference
    ran = gymforge("ingest", other, *ASKED, "--out", tmp_path / "alone", **orchestrator)
    assert ran.code == 0, ran
    together = released(contents(tmp_path / "out1"), "local__othername")
    assert len(together) == 2
    assert together == released(contents(tmp_path / "alone"), "local__othername")


def test_damaged_environment_in_the_cache_is_built_again(
    gymforge, orchestrator, reference, contents, shared_cache: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for part in ("distributions", "environments", "environment-info", "locks"):
        shutil.copytree(shared_cache / part, cache / part, symlinks=True, ignore=not_of_the_sample)
    damaged = list(cache.glob("environments/*tinystats*/env/lib/python*/site-packages/_pytest/main.py"))
    for runner in damaged:
        runner.write_bytes(runner.read_bytes()[:-1000])
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", tmp_path / "out", **orchestrator, GYMFORGE_CACHE_DIR=str(cache))
    assert ran.code == 0, ran
    assert released(contents(tmp_path / "out")) == reference
    assert len(damaged) >= 1


@pytest.mark.parametrize("damage", ["file-gone", "file-cut", "of-another-version"])
def test_environment_that_is_not_as_it_was_stored_is_not_there(tmp_path: Path, damage: str) -> None:
    backend = LocalBackend(cache_dir=tmp_path)
    with backend.open(building=True) as sandbox:
        sandbox.put("/env/module.py", b"x = 1\n")
        backend.store(sandbox, "image")
    assert backend.has("image")
    if damage == "file-gone":
        (tmp_path / "environments/image/env/module.py").unlink()
    elif damage == "file-cut":
        (tmp_path / "environments/image/env/module.py").write_bytes(b"x =")
    else:
        (tmp_path / "environments/image/inventory").unlink()
    assert not backend.has("image")


def test_lock_file_of_another_version_is_resolved_again(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text('{"version": 0}')
    assert read_lock(tmp_path / "lock.json", now=None) is None


def not_of_the_sample(folder: str, names: list[str]) -> list[str]:
    """Other tests' environments need not be copied."""
    return [name for name in names if Path(folder).name == "environments" and "tinystats" not in name]


def test_sandbox_that_cannot_start_rejects_no_candidate(tmp_path: Path) -> None:
    backend = LocalBackend(cache_dir=tmp_path)
    with backend.open(building=True) as sandbox:
        backend.store(sandbox, "image")
    backend._bubblewrap = backend._bubblewrap._replace(path="/bin/false")
    baseline = Baseline(
        stable={"t.py::a": Outcome.PASSED},
        quarantined={},
        coverage=CoverageMap(tests=(), lines={}, import_lines={}),
        runs=3,
        test_limits_s={"t.py::a": 1.0},
        suite_limit_s=10.0,
    )
    suite = Suite(backend, "image", ("python", "-m", "pytest"), baseline, {}, Limits())
    with pytest.raises(SandboxFailed) as caught:
        prove(suite, {"lib.py": b"x = 1\n"})
    assert caught.value.transient, "it may start a little later, and the flow tries again"
