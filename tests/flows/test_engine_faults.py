"""The Docker Engine ends in the middle of a run: nothing is lost, nothing repeated, and no candidate pays for it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from schemas.errors import SandboxFailed, SandboxUnavailable
from validation.sandbox.docker import BASE_IMAGE_VARIABLE, DEFAULT_BASE_IMAGE, DockerBackend

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SAMPLE = str(ROOT / "examples" / "tinystats.bundle")
ASKED = ("--sandbox", "docker", "--strategies", "op_change,remove_cond", "--max-tasks", "4", "--workers", "2", "--json")
IMPATIENT = (
    sys.executable,
    "-c",
    "import validation.sandbox.engine as engine; engine.RETURN_S = 2.0; from flows.cli import main; main()",
)
"""The command, but that it waits for an engine for seconds only."""


class OwnEngine:
    """A Docker Engine that nobody else uses, so that it may die."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "docker.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    # A network of its own: without a bridge, an engine removes the one that the machine's engine has.
                    *("unshare", "--net", "dockerd", "--host", self.url, "--data-root", f"{self.folder}/data"),
                    *("--exec-root", f"{self.folder}/exec", "--pidfile", f"{self.folder}/docker.pid"),
                    *("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(600):
            if self.call("version").returncode == 0:
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        raise AssertionError("the engine does not answer")

    def end(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(timeout=60)

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["docker", "--host", self.url, *arguments], capture_output=True, text=True, check=False)

    def load(self, image: str) -> None:
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "--host", self.url, "load"], stdin=saved.stdout, check=True, stdout=subprocess.DEVNULL
            )
        assert saved.returncode == 0

    def clear(self) -> None:
        """End it with all that it started, and take its folders away."""
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGTERM)
        own = str(self.folder).encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if own in (entry / "cmdline").read_bytes():  # containerd and its shims carry the folder's name
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(str(self.folder))), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def own_engine() -> Iterator[OwnEngine]:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.fail("this test starts an engine of its own: run it as root, with dockerd installed")
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="gymforge-engine-")))
    try:
        engine.start()
        engine.load(os.environ.get(BASE_IMAGE_VARIABLE) or DEFAULT_BASE_IMAGE)
        yield engine
    finally:
        engine.clear()


@pytest.fixture
def engine(own_engine: OwnEngine) -> OwnEngine:
    if own_engine.process is None or own_engine.process.poll() is not None:
        own_engine.start()
    return own_engine


@pytest.fixture
def variables(engine: OwnEngine, orchestrator: Mapping[str, str]) -> dict[str, str]:
    return {**orchestrator, "DOCKER_HOST": engine.url}


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, object]:
    """What a run that nothing happens to gives; filled by the first test that needs it."""
    return {}


@pytest.fixture
def reference(undisturbed, gymforge, variables, contents, finished_validations, tmp_path_factory):
    if not undisturbed:
        out = tmp_path_factory.mktemp("undisturbed") / "out"
        ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **variables)
        assert ran.code == 0, ran
        undisturbed["released"] = released(contents(out))
        undisturbed["verdicts"] = verdicts_alone(finished_validations(out))
    return undisturbed


def released(files: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """What a dataset folder gives to others; times of runs are not part of it."""
    return {name: content for name, content in files.items() if name.split("/")[0] != "runs"}


def verdicts_alone(found: Mapping[str, tuple[int, bytes]]) -> dict[str, bytes]:
    return {candidate: payload for candidate, (_, payload) in found.items()}


def differing(found: Mapping[str, tuple[int, bytes]], reference: dict[str, object]) -> set[str]:
    """Candidates that were judged otherwise; how many are judged beyond the last that counts is a matter of time."""
    expected = reference["verdicts"]
    assert isinstance(expected, dict)
    own = verdicts_alone(found)
    alike = own.keys() & expected.keys()
    assert len(own) - len(alike) < 2, "as many as workers may be ahead, less the one that is not"
    return {name for name in alike if own[name] != expected[name]}


def wait_for_verdicts(count: Callable[[], int], wanted: int, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and count() < wanted:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_run_waits_for_an_engine_that_is_stopped_and_started_and_gives_the_same_bytes(
    start_gymforge, engine, variables, reference, contents, finished_validations, tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = start_gymforge("ingest", SAMPLE, *ASKED, "--out", out, **variables)
    wait_for_verdicts(lambda: len(finished_validations(out)), 2, process)
    engine.end(how)
    before = finished_validations(out)
    time.sleep(3)
    assert process.poll() is None, "the command waits"
    engine.start()
    _, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (0, "")
    assert released(contents(out)) == reference["released"]
    after = finished_validations(out)
    assert {candidate: after[candidate] for candidate in before} == before, "no finished validation was repeated"
    assert differing(after, reference) == set()


def test_run_whose_engine_stays_away_says_so_and_the_same_command_goes_on(
    start_gymforge, gymforge, engine, variables, reference, contents, finished_validations, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start_gymforge("ingest", SAMPLE, *ASKED, "--out", out, prefix=IMPATIENT, **variables)
    wait_for_verdicts(lambda: len(finished_validations(out)), 2, process)
    engine.end(signal.SIGKILL)
    printed, errors = process.communicate(timeout=100)
    assert (process.returncode, printed, errors.count("gymforge: ")) == (7, "", 1), errors
    assert "did not come back within 2 s" in errors
    assert "run the same command again" in errors
    assert "flows/cli.py" not in errors, "no traceback"
    before = finished_validations(out)
    assert differing(before, reference) == set(), "nothing is rejected for the engine's end"
    engine.start()
    ran = gymforge("ingest", SAMPLE, *ASKED, "--out", out, **variables)
    assert ran.code == 0, ran
    after = finished_validations(out)
    assert {candidate: after[candidate] for candidate in before} == before, "no finished validation was repeated"
    assert released(contents(out)) == reference["released"]


def test_engine_that_went_and_came_back_is_told_from_a_sandbox_that_broke(
    engine: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    backend = DockerBackend()

    def restart_inside() -> None:
        with backend.open() as sandbox:
            engine.end(signal.SIGTERM)
            engine.start()
            sandbox.run(["true"], timeout_s=10)

    def break_inside() -> None:
        with backend.open() as sandbox:
            (container,) = engine.call("ps", "--quiet").stdout.split()
            engine.call("kill", container)
            sandbox.run(["true"], timeout_s=10)

    with pytest.raises(SandboxUnavailable, match="went away") as caught:
        restart_inside()
    assert caught.value.transient
    with pytest.raises(SandboxFailed):
        break_inside()


def test_engine_without_disk_is_told_as_such_and_not_as_a_broken_sandbox(
    engine: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    backend = DockerBackend()
    with backend.open():
        pass  # the machine's image is there
    containers = f"{engine.folder}/data/containers"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", containers], check=True)
    try:
        with pytest.raises(SandboxUnavailable, match=r"no space left on device.*the same command"), backend.open():
            pass
    finally:
        subprocess.run(["umount", containers], check=True)
    with backend.open() as sandbox:
        assert sandbox.run(["true"], timeout_s=10).exit_code == 0
