"""Canaries on the host, and a small repository on both sandboxes whose candidates are hostile."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
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
from validation.sandbox.protocol import MIB, TESTBED, Limits, SandboxBackend
from validation.sandbox.select import open_backend
from validation.suite import SuiteOptions, frozen_test_command, run_suite, with_runner
from validation.validate import Suite
from validation.verdict import failing_tests, passing_tests

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
    "odd.py": "def odd(value):\n    return 1\n",
}
ODD_IDS = (
    "a b",
    "case-1",
    "case-1-extended",
    "log(photon / m**2 s)",
    "log(photon",
    "[",
    "x]",
    "[a][b",
    "a\nb",
    " - ",
    "x - AssertionError: expected 1 got 2",
    "PASSED x",
    "FAILED tests/test_calc.py::test_add",
    "tests/test_calc.py::test_add PASSED",
    "::",
    "a::b::c",
    "x" * 1500,
    "x" * 1500 + "y",
    "m\u207b\xb9 \u6570",
    "[100%]",
    "100%",
    "\x1b[31mred",
    "same",
    "same",
    '{"e": "end"}',
    "trailing ",
    "\\",
    "",
)
"""Names that people give to parameters, and some that nobody should; every second one fails where `odd` is wrong."""

TEST_IDS = f"""
import pytest
from odd import odd

@pytest.mark.parametrize("value", range({len(ODD_IDS)}), ids={ODD_IDS!r})
def test_id(value):
    assert odd(value) == 1 or value % 2
"""
ODD_MODULE = "import {0}\nfrom odd import odd\ndef test_odd():\n    assert odd({1}) == {0}.ONE\n"


class Outside(NamedTuple):
    """A folder of the host that links in the repository lead to."""

    folder: Path
    secret: str


def odd_files(source: Path, outside: Outside) -> None:
    """Names with newlines and invalid UTF-8, and links that lead out of the tree or nowhere."""
    (source / "tests/test_ids.py").write_text(TEST_IDS)
    for name, module, value in ((b"test_new\nline.py", "new_line", -1), (b"test_\xff\xfe.py", "undecodable", -2)):
        (source / "tests" / os.fsdecode(name)).write_text(ODD_MODULE.format(module, value))
        (source / f"{module}.py").write_text("ONE = 1\n")
    for name in (b"source\nmodule.py", b"source_\xff.py", b"-rf", b"a\\b.py", b"--collect-only"):
        (source / os.fsdecode(name)).write_text("VALUE = 1\n")
    (source / ".hidden").mkdir()
    for name, target in {
        "tests/test_link.py": outside.folder / "test_outside.py",
        "link.py": outside.folder / "source.py",
        "etc": "/etc",
        "outside": outside.folder,
        "tests/outside": outside.folder,
        "loop": "loop",
        ".hidden/up": "..",
        "README.md": outside.folder / "canary",
        "LICENSE": outside.folder / "canary",
        "setup.cfg": outside.folder / "setup.cfg",
    }.items():
        (source / name).symlink_to(target)


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
    """One below `/tmp`, which every sandbox has of its own, and one that is not; each with a file `canary`."""
    home: Path
    """`$HOME` of this process, with credentials."""
    tcp: Listener
    abstract: Listener
    path_socket: Listener
    bystander: subprocess.Popen[bytes]
    before: Mapping[str, bytes]
    """Every file of the folders and the home when the test began."""

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

    def harm(self) -> list[str]:
        """What was done to the host since the test began; a connection may need a moment to be counted."""
        time.sleep(0.01)
        now = contents(*self.folders, self.home)
        changed = sorted({*now, *self.before} - {path for path in now if now[path] == self.before.get(path)})
        listeners = {"tcp": self.tcp, "abstract": self.abstract, "socket": self.path_socket}
        reached = [f"{name}: somebody connected" for name, listener in listeners.items() if listener.connections]
        dead = [] if self.bystander.poll() is None else ["a process died"]
        return [*changed, *reached, *dead]


def contents(*folders: Path) -> dict[str, bytes]:
    files = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in files}


HAS_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Remember a failure: what is checked once a test is over is then no second one."""
    report = yield
    item.stash[HAS_FAILED] = item.stash.get(HAS_FAILED, False) or report.failed
    return report


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Host]:
    """Canaries, all checked once the test is over: files as they were, nobody connected, the bystander alive."""
    secret = f"canary-{secrets.token_hex(12)}"
    folders = (tmp_path / "outside", Path(tempfile.mkdtemp(prefix="gymforge-canary-", dir="/var/tmp")))
    folders[0].mkdir()
    for folder in folders:
        folder.chmod(0o755)
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
        made = Host(secret, folders, home, *listeners, bystander, contents(*folders, home))
        try:
            _prove_that_canaries_sing(made)
            yield made
            assert made.harm() == [] or request.node.stash[HAS_FAILED]
        finally:
            bystander.kill()
            for listener in listeners:
                listener.close()
            shutil.rmtree(folders[1])


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


class Judged(NamedTuple):
    """What one run says of the well-behaved candidate."""

    failing: tuple[str, ...]
    passing: tuple[str, ...]
    complete: bool
    contradiction: str
    refused_records: int


class Prepared(NamedTuple):
    suite: Suite
    profile: RepoProfile
    alone: Judged
    """The well-behaved candidate in a session of its own."""


Prepare = Callable[[str], Prepared]


def commit(source: Path, files: Mapping[str, str]) -> None:
    """A folder with these files, as a repository of one commit."""
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)


WELL_BEHAVED = {"calc.py": CALC.replace("a + b", "a - b").encode()}


def judge_well_behaved(suite: Suite) -> Judged:
    options = SuiteOptions(limits_s=suite.baseline.test_limits_s, suite_limit_s=suite.baseline.suite_limit_s)
    with suite.backend.open(suite.image, limits=suite.limits) as sandbox:
        for path, content in WELL_BEHAVED.items():
            sandbox.put(f"{TESTBED}/{path}", content)
        run = run_suite(sandbox, suite.test_command, options=options)
    found = [tests(suite.baseline, run.report) for tests in (failing_tests, passing_tests)]
    return Judged(*found, run.complete, run.contradiction, run.refused_records)


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
def outside(tmp_path_factory: pytest.TempPathFactory) -> Outside:
    folder = tmp_path_factory.mktemp("outside")
    secret = f"canary-{secrets.token_hex(12)}"
    (folder / "canary").write_text(f"MIT License {secret}\n")
    (folder / "source.py").write_text(f"SECRET = {secret!r}\n")
    (folder / "test_outside.py").write_text(f"def test_outside(): assert not {secret!r}\n")
    (folder / "setup.cfg").write_text(f"[metadata]\nname = {secret}\n[options]\ninstall_requires = {secret}\n")
    return Outside(folder, secret)


@pytest.fixture(scope="session")
def prepare(
    backends: Callable[[str], SandboxBackend], outside: Outside, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prepare]:
    """Walk to the baseline as the pipeline does; once a session for each sandbox."""
    made: dict[str, Prepared] = {}

    def walk(kind: str) -> Prepared:
        if kind in made:
            return made[kind]
        folder = tmp_path_factory.mktemp("calc")
        (folder / "calc" / "tests").mkdir(parents=True)
        odd_files(folder / "calc", outside)
        commit(folder / "calc", FILES)
        checkout = acquire(str(folder / "calc"), ref=None, cache_dir=folder / "cache", destination=folder / "tree")
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
        made[kind] = Prepared(suite, profile, judge_well_behaved(suite))
        assert made[kind].alone.failing == ("tests/test_calc.py::test_add",)
        return made[kind]

    yield walk
    for prepared in made.values():
        prepared.suite.backend.remove(prepared.suite.image)


@pytest.fixture
def prepared(kind: str, prepare: Prepare, request: pytest.FixtureRequest) -> Iterator[Prepared]:
    """The repository above; when the test is over, a well-behaved candidate is judged as in a session of its own."""
    found = prepare(kind)
    yield found
    if not request.node.stash[HAS_FAILED]:
        assert judge_well_behaved(found.suite) == found.alone


def processes_with(marker: str) -> int:
    """Processes on this machine, in any namespace below ours, that were started with this argument."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found += marker.encode() in (entry / "cmdline").read_bytes().split(b"\0")
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
def odd_ids() -> tuple[str, ...]:
    return ODD_IDS


@pytest.fixture(scope="session")
def count_processes() -> Callable[[str], int]:
    return processes_with
