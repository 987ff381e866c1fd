"""Canaries on the host, and a small repository on both sandboxes whose candidates are hostile."""

import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from extractors.acquire import acquire
from extractors.profile import profile_repository
from schemas.repo import RepoProfile
from validation.baseline import BaselineSettings, measure_baseline
from validation.environment import build_environment
from validation.sandbox.protocol import MIB, Limits, SandboxBackend
from validation.sandbox.select import open_backend
from validation.suite import frozen_test_command, with_runner
from validation.validate import Suite, prove

ROOT = Path(__file__).parents[3]
CACHE = ROOT / "build" / "test-cache"
LIMITS = Limits(memory_bytes=768 * MIB, disk_bytes=96 * MIB, processes=64)

BACKEND = '[build-system]\nrequires = ["flit_core>=3.11"]\nbuild-backend = "flit_core.buildapi"\n'
PROJECT = BACKEND + '[project]\nname = "calc"\nversion = "1"\ndescription = "d"\n'
CALC = "def add(a, b):\n    return a + b\n\n\ndef negate(a):\n    return -a\n"
DEED = "def act():\n    return 'done'\n"
FILES: Mapping[str, str] = {
    "pyproject.toml": PROJECT,
    "calc.py": CALC,
    "deed.py": DEED,
    # The deed comes first: what it spoils, the others feel.
    "tests/test_a_deed.py": "from deed import act\ndef test_deed(): assert act() == 'done'\n",
    "tests/test_calc.py": (
        "from calc import add, negate\ndef test_add(): assert add(1, 2) == 3\ndef test_negate(): assert negate(1) == -1\n"
    ),
    "tests/test_files.py": (
        "import calc, deed\ndef test_writes(tmp_path): (tmp_path / 'x').write_bytes(bytes(4096))\n"
    ),
}


@pytest.fixture(
    params=[
        pytest.param("local", marks=pytest.mark.sandbox),
        pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow]),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Listener:
    """A socket of the host that counts who connects."""

    def __init__(self, family: int, address: Any) -> None:
        self._socket = socket.socket(family)
        self._socket.bind(address)
        self._socket.listen()
        self.address = self._socket.getsockname()
        self.connections = 0
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            self.connections += 1
            connection.close()

    def close(self) -> None:
        # A thread that waits in accept() is woken by this, and not by close() alone.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Host(NamedTuple):
    """What code under test must neither read nor touch nor reach; it knows where all of it is."""

    secret: str
    """In every canary, and nowhere else."""
    folders: tuple[Path, ...]
    """One below the temporary folder, one that is not; each with a file `canary`."""
    home: Path
    """`$HOME` of this process, with credentials."""
    tcp: Listener
    abstract: Listener
    path_socket: Listener
    bystander: subprocess.Popen[bytes]

    @property
    def facts(self) -> str:
        """Python text that tells code under test all of this, but for the secret."""
        addresses = {"127.0.0.1", "172.17.0.1", "::1", socket.gethostname()}
        return (
            f"FOLDERS = {[str(folder) for folder in self.folders]!r}\n"
            f"HOME = {str(self.home)!r}\n"
            f"TCP = {[(address, self.tcp.address[1]) for address in sorted(addresses)]!r}\n"
            f"UNIX = {[self.abstract.address, self.path_socket.address]!r}\n"
            f"PID = {self.bystander.pid}\n"
        )

    @property
    def connections(self) -> int:
        return sum(listener.connections for listener in (self.tcp, self.abstract, self.path_socket))

    def tree(self) -> dict[str, bytes]:
        """Every file of the canary folders."""
        files = [path for folder in (*self.folders, self.home) for path in sorted(folder.rglob("*"))]
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in files}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Canaries, all checked once the test is over: files as they were, nobody connected, the bystander alive."""
    secret = f"canary-{secrets.token_hex(12)}"
    (ROOT / "build").mkdir(exist_ok=True)
    folders = (tmp_path / "outside", ROOT / "build" / f"outside-{secrets.token_hex(6)}")
    for folder in folders:
        folder.mkdir()
        (folder / "canary").write_text(secret)
    home = tmp_path / "home"
    for name, text in {
        ".netrc": f"machine canary.example login me password {secret}\n",
        ".git-credentials": f"https://me:{secret}@canary.example\n",
        ".config/pip/pip.conf": f"# {secret}\n",
        ".config/gh/hosts.yml": f"oauth_token: {secret}\n",
        ".ssh/id_ed25519": f"{secret}\n",
        ".docker/config.json": f'{{"canary": "{secret}"}}\n',
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CANARY_TOKEN", secret)
    listeners = (
        Listener(socket.AF_INET, ("0.0.0.0", 0)),
        Listener(socket.AF_UNIX, f"\0gymforge-canary-{secrets.token_hex(6)}"),
        Listener(socket.AF_UNIX, str(folders[1] / "socket")),
    )
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        made = Host(secret, folders, home, *listeners, bystander)
        before = made.tree()
        try:
            _prove_that_canaries_sing(made)
            yield made
            assert made.tree() == before, "files outside were touched"
            assert made.connections == 0, "somebody connected"
            assert bystander.poll() is None, "a process of the host died"
        finally:
            bystander.kill()
            for listener in listeners:
                listener.close()
            (folders[1] / "socket").unlink(missing_ok=True)
            for folder in folders[1:]:
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()


def _prove_that_canaries_sing(host: Host) -> None:
    """Whoever can connect is counted; the counters start again at nothing."""
    for listener, family, address in (
        (host.tcp, socket.AF_INET, ("127.0.0.1", host.tcp.address[1])),
        (host.abstract, socket.AF_UNIX, host.abstract.address),
        (host.path_socket, socket.AF_UNIX, host.path_socket.address),
    ):
        with socket.socket(family) as caller:
            caller.connect(address)
        deadline = time.monotonic() + 5
        while not listener.connections and time.monotonic() < deadline:
            time.sleep(0.005)
        assert listener.connections == 1
        listener.connections = 0


class Prepared(NamedTuple):
    suite: Suite
    profile: RepoProfile
    alone: str
    """What the well-behaved candidate is judged in a session of its own."""


Prepare = Callable[..., Prepared]


def commit(source: Path, files: Mapping[str, str], more: Callable[[Path], object] = lambda _: None) -> None:
    """A repository of these files, and of what `more` makes in it."""
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    more(source)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)


WELL_BEHAVED = {"calc.py": CALC.replace("a + b", "a - b").encode()}


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SandboxBackend]:
    """Backends whose stored environments are these tests' own: a hostile test that breaks out must not spoil others."""
    store = tmp_path_factory.mktemp("backends")
    made: dict[str, SandboxBackend] = {}

    def backend(kind: str) -> SandboxBackend:
        if kind not in made:
            made[kind] = open_backend(kind, cache_dir=store)
        return made[kind]

    return backend


@pytest.fixture(scope="session")
def prepare(backends: Callable[[str], SandboxBackend], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepare]:
    """Walk to the baseline as the pipeline does; once a session for each name and sandbox."""
    made: dict[tuple[str, str], Prepared] = {}

    def walk(
        kind: str, name: str, files: Mapping[str, str], more: Callable[[Path], object] = lambda _: None
    ) -> Prepared:
        if (kind, name) in made:
            return made[kind, name]
        folder = tmp_path_factory.mktemp(name)
        commit(folder / name, files, more)
        checkout = acquire(str(folder / name), ref=None, cache_dir=folder / "cache", destination=folder / "tree")
        profile = profile_repository(checkout.path)
        backend = backends(kind)
        environment = build_environment(
            checkout.path, checkout.ref, with_runner(profile), backend=backend, cache_dir=CACHE
        )
        command = frozen_test_command(profile.test_command, environment.dependencies)
        baseline = measure_baseline(
            backend,
            environment.image_name,
            test_command=command,
            source_files=profile.source_files,
            environment=profile.environment,
            limits=LIMITS,
            settings=BaselineSettings(test_limit_s=20.0),
        )
        suite = Suite(backend, environment.image_name, command, baseline, profile.environment, LIMITS)
        made[kind, name] = Prepared(suite, profile, prove(suite, WELL_BEHAVED).verdict.model_dump_json())
        return made[kind, name]

    yield walk
    for prepared in made.values():
        prepared.suite.backend.remove(prepared.suite.image)


@pytest.fixture
def prepared(kind: str, prepare: Prepare) -> Iterator[Prepared]:
    """The repository above; when the test is over, a well-behaved candidate is judged as in a session of its own."""
    found = prepare(kind, "calc", FILES)
    yield found
    assert prove(found.suite, WELL_BEHAVED).verdict.model_dump_json() == found.alone


def processes_with(marker: str) -> int:
    """Processes on this machine, in any namespace below ours, that were started with this argument."""
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += marker.encode() in Path("/proc", name, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
    return found


@pytest.fixture
def sampled() -> Iterator[Callable[[Callable[[], Any]], list[Any]]]:
    """Ask something again and again while the test runs; gives the list that the answers go to."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(ask: Callable[[], Any]) -> list[Any]:
        answers: list[Any] = []

        def watch() -> None:
            while not stop.is_set():
                answers.append(ask())
                stop.wait(0.02)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()
        return answers

    yield start
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="session")
def count_processes() -> Callable[[str], int]:
    return processes_with
