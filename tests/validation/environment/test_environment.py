import io
import re
import subprocess
import sys
import tarfile
import tracemalloc
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import EnvironmentFailed
from schemas.repo import DependencyMode, InstallSpec, Language, RepoProfile, RepoRef, SandboxKind
from validation import project_build
from validation.build_system import BuildSystem, build_system
from validation.dependencies import Target
from validation.environment import build_environment, needed_requirements
from validation.environment_key import environment_key, image_name
from validation.environment_records import read_record
from validation.project_build import build_project, read_metadata
from validation.supply import hook_requirements, source_releases
from validation.workbench import HookAnswer, StepFailed

TARGET = Target(python_version="3.11.2", machine="x86_64", libc="glibc 2.36")
COMMITTED = datetime(2024, 1, 2, tzinfo=UTC)
REF = RepoRef(name="owner/tiny", url="local/tiny", commit="a" * 40, committed_at=COMMITTED, version="v1.2-3-gabcdef0")
PROFILE = RepoProfile(
    language=Language.PYTHON,
    source_files=("src/tiny.py",),
    test_files=("test_tiny.py",),
    install=InstallSpec(project=True),
    test_command=("python", "-m", "unittest"),
    provenance={},
)

# A build backend in the tree itself, so that a build needs no other package.
BACKEND = """
import os, zipfile

VERSION = os.environ["SETUPTOOLS_SCM_PRETEND_VERSION"]
REQUIRES = {requires!r}

def get_requires_for_build_editable(config_settings=None):
    return {build_requires!r}

def build_editable(directory, config_settings=None, metadata_directory=None):
    {action}
    name = "tiny-%s-py3-none-any.whl" % VERSION
    info = "tiny-%s.dist-info/" % VERSION
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        archive.writestr("__editable__tiny.pth", os.path.abspath("src"))
        lines = "".join("Requires-Dist: %s\\n" % line for line in REQUIRES)
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: %s\\n%s" % (VERSION, lines))
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "tiny"
dynamic = ["version"]
"""


def write_tree(folder, *, requires=(), build_requires=(), action="pass", pyproject=PYPROJECT, **files):
    backend = BACKEND.format(requires=list(requires), build_requires=list(build_requires), action=action)
    contents = {
        "pyproject.toml": pyproject,
        "backend.py": backend,
        "src/tiny.py": "def double(x):\n    return 2 * x\n",
        "test_tiny.py": "import tiny, unittest\n\nclass T(unittest.TestCase):\n"
        "    def test_double(self):\n        self.assertEqual(tiny.double(2), 4)\n",
        **files,
    }
    for path, text in contents.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


@pytest.fixture
def local(tmp_path):
    from validation.sandbox.select import open_backend

    return open_backend("local", cache_dir=tmp_path / "sandbox")


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "tree"


@pytest.fixture
def build(tree, tmp_path, index_with_pip, local):
    def call(profile=PROFILE, **settings):
        return build_environment(
            tree,
            REF,
            profile,
            backend=local,
            cache_dir=tmp_path / "cache",
            settings=index_with_pip.settings,
            **settings,
        )

    return call


def printed(backend, image, *command):
    with backend.open(image) as sandbox:
        result = sandbox.run(command, timeout_s=60)
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode().strip()


def key(**changes):
    ref = REF.model_copy(update=changes.pop("ref", {}))
    profile = PROFILE.model_copy(update=changes.pop("profile", {}))
    settings = {"target": TARGET, "sandbox": SandboxKind.LOCAL, "dependencies": ("a==1", "b==2"), **changes}
    return environment_key(ref, profile, **settings)


def test_the_name_is_the_same_on_every_machine():
    # Written down: a change of this value is a change of BUILDER_VERSION, for stored environments lose their names.
    assert image_name("Owner/Some.Repo", key()) == f"gymforge/owner__some-repo:{key()[:12]}"
    assert key() == key(dependencies=("b==2", "a==1"))
    assert key() == key(target=TARGET.model_copy(update={"libc": "glibc 2.41"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": {"commit": "b" * 40}},
        {"ref": {"name": "other/tiny"}},
        {"ref": {"version": "v2"}},
        {"profile": {"install": InstallSpec(project=True, extras=("test",))}},
        {"profile": {"environment": {"A": "1"}}},
        {"target": TARGET.model_copy(update={"python_version": "3.11.3"})},
        {"sandbox": SandboxKind.DOCKER},
        {"dependencies": ("a==1", "b==3")},
    ],
)
def test_every_input_changes_the_key(changes):
    assert key(**changes) != key()


@pytest.mark.parametrize("changes", [{"source_files": ()}, {"test_command": ("python", "-m", "pytest", "-x")}])
def test_what_does_not_touch_the_installation_does_not_change_the_key(changes):
    assert key(profile=changes) == key()


@given(st.text(min_size=1, max_size=60), st.text(max_size=300))
def test_any_repository_gives_a_valid_docker_reference(owner, name):
    component = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    reference = image_name(f"{owner}/{name}", "0123456789abcdef" * 4)
    assert re.fullmatch(rf"gymforge/{component}:[\w][\w.-]{{0,127}}", reference)
    assert len(reference.partition(":")[0]) <= 255


def test_metadata_is_read_for_the_interpreter_and_the_extras():
    text = (
        "Metadata-Version: 2.1\nName: Some.Name\nVersion: 1\n"
        "Requires-Dist: always>=1\n"
        "Requires-Dist: old; python_version < '3.9'\n"
        "Requires-Dist: helper[fast]; extra == 'test'\n"
        "Requires-Dist: some-name[more]; extra == 'test'\n"
        "Requires-Dist: deeper; extra == 'more'\n"
        "Requires-Dist: unused; extra == 'docs'\n"
        "\nRequires-Dist: not-a-header\n"
    )
    assert read_metadata(text, python_version="3.11.2", extras=["test"]) == (
        "some-name",
        ("always>=1", "deeper", "helper[fast]"),
    )


def test_a_stated_release_stands_in_for_a_url_in_the_metadata():
    of_project = ["alpha>=1", "beta @ https://example.org/beta.zip", "gamma @ https://example.org/gamma.zip"]
    assert needed_requirements(["Beta==2"], of_project) == (
        "Beta==2",
        "alpha>=1",
        "gamma @ https://example.org/gamma.zip",
    )


def test_metadata_without_a_name_is_refused():
    with pytest.raises(EnvironmentFailed, match="without a name"):
        read_metadata("Version: 1\n", python_version="3.11.2", extras=[])


def test_a_tree_without_build_system_is_built_by_setuptools():
    system, requires = build_system("[tool.x]\n")
    assert system.backend == "setuptools.build_meta:__legacy__"
    assert any(requirement.startswith("setuptools") for requirement in requires)


def test_a_named_backend_is_taken():
    assert build_system(PYPROJECT) == (BuildSystem("backend", (".",)), ())


@pytest.mark.parametrize(
    "value", [{}, "setuptools", [1], ["alpha @ file:///etc/passwd"], ["-r /etc/passwd"], ["a"] * 999]
)
def test_a_hostile_list_of_build_requirements_is_refused(value):
    with pytest.raises(EnvironmentFailed):
        hook_requirements(HookAnswer(missing=False, value=value, metadata=""))


def test_source_releases_respect_specifiers_interpreter_and_cutoff(index):
    from validation.downloads import Downloader
    from validation.indexes import list_files

    for version, year in (("0.9", 2019), ("1.0", 2020), ("1.1", 2021), ("2.0", 2022), ("2.1rc1", 2022)):
        index.add_sdist("alpha", version, {"setup.py": ""}, uploaded_at=datetime(year, 1, 1, tzinfo=UTC))
    with Downloader() as downloader:
        files = list_files("alpha", index.settings, downloader)

    def versions(specifiers=(), cutoff=None):
        found = source_releases(files, "alpha", specifiers=specifiers, python_version="3.11.2", cutoff=cutoff)
        return [str(release.version) for release in found]

    assert versions() == ["2.0", "1.1", "1.0", "0.9"]
    assert versions([">=1", "<2"]) == ["1.1", "1.0"]
    assert versions(cutoff=datetime(2020, 6, 1, tzinfo=UTC)) == ["1.0", "0.9"]
    assert versions([">2"]) == ["2.1rc1"]
    demanding = [file._replace(requires_python=">=3.12") for file in files]
    assert source_releases(demanding, "alpha", specifiers=(), python_version="3.11.2", cutoff=None) == ()


@pytest.mark.sandbox
def test_a_project_is_built_offline_and_its_modules_come_from_the_tree(build, tree, local, index_with_pip, tmp_path):
    write_tree(tree, requires=["helper>=1; python_version >= '3.6'"])
    index_with_pip.add_wheel("helper", "1.0", requires=["tiny"])
    index_with_pip.add_wheel("helper", "2.0", requires=["tiny"])
    # A released copy of the project itself must not hide the tree.
    index_with_pip.add_wheel("tiny", "9.9", files={"tiny.py": "raise SystemExit('the released copy')\n"})
    info = build(now=COMMITTED)
    assert info.dependencies == ("helper==2.0",)
    assert info.dependency_mode is DependencyMode.NEWEST
    assert "OK" in printed(local, info.image_name, "sh", "-c", "python -m unittest 2>&1")
    facts = "import tiny, helper, importlib.metadata as m; print(tiny.__file__, m.version('tiny'), helper.VERSION)"
    assert printed(local, info.image_name, "python", "-c", facts) == "/testbed/src/tiny.py 1.2.post3 2.0"
    left = printed(
        local, info.image_name, "sh", "-c", "cd /testbed; find . -type f | sort; ls -d /env/lib/*/*/pip || :"
    )
    assert left.split() == ["./backend.py", "./pyproject.toml", "./src/tiny.py", "./test_tiny.py"]
    record = read_record(tmp_path / "cache", info.key)
    assert record.info == info
    assert record.size_bytes > 0

    # Later releases change nothing until the lock is a day old, and a stored environment needs no sandbox.
    index_with_pip.add_wheel("helper", "3.0")
    index_with_pip.requests.clear()
    assert build(now=COMMITTED + timedelta(hours=20)) == info
    assert build(lock=info.dependencies, python_version=info.python_version) == info
    assert index_with_pip.requests == []


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_recorded_environment_is_built_again_under_its_name(build, tree, local, index_with_pip):
    write_tree(tree, requires=["helper"])
    for version in ("1.0", "2.0"):
        index_with_pip.add_wheel("helper", version)
    info = build(lock=["helper==1.0"])
    assert info.dependencies == ("helper==1.0",)
    assert printed(local, info.image_name, "python", "-c", "import helper; print(helper.VERSION)") == "1.0"


@pytest.mark.sandbox
def test_a_hostile_build_script_reaches_neither_host_nor_network(
    build, tree, tmp_path, local, index_with_pip, monkeypatch
):
    monkeypatch.setenv("GYM_CANARY", "secret-of-the-host")
    host_file = tmp_path / "host-file"
    host_file.write_text("secret-of-the-host")
    written = tmp_path / "written-by-the-build"
    hostile = f"""
import json, os, socket
def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return "stopped: " + type(error).__name__
seen = {{
    "env": [name for name, value in os.environ.items() if "secret-of-the-host" in value],
    "read": attempt(lambda: open({str(host_file)!r}).read()),
    "write": attempt(lambda: open({str(written)!r}, "w").write("x")),
    "index": attempt(lambda: socket.create_connection(("127.0.0.1", {index_with_pip.port}), 2)),
    "internet": attempt(lambda: socket.create_connection(("1.1.1.1", 80), 2)),
}}
open("seen.json", "w").write(json.dumps(seen))
"""
    write_tree(tree, action="exec(open('hostile.py').read(), {})", **{"hostile.py": hostile})
    info = build()
    import json

    seen = json.loads(printed(local, info.image_name, "cat", "/testbed/seen.json"))
    assert seen["env"] == []
    assert not written.exists()
    assert all(seen[name].startswith("stopped") for name in ("read", "index", "internet")), seen
    assert host_file.read_text() == "secret-of-the-host"
    assert not (tree / "seen.json").exists()


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_source_only_dependency_is_built_in_the_sandbox(build, tree, tmp_path, local, index_with_pip):
    canary = tmp_path / "canary"
    write_tree(tree, requires=["sourced>=1,<2"])
    backend = f"""
import os, zipfile
try:
    open({str(canary)!r}, "w").write("ran")
except OSError:
    pass
def build_wheel(directory, config_settings=None, metadata_directory=None):
    info = "sourced-1.5.dist-info/"
    with zipfile.ZipFile(os.path.join(directory, "sourced-1.5-py3-none-any.whl"), "w") as archive:
        archive.writestr("sourced.py", "import helper\\n")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: sourced\\nVersion: 1.5\\nRequires-Dist: helper\\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return "sourced-1.5-py3-none-any.whl"
"""
    pyproject = '[build-system]\nrequires = ["tool"]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    for version in ("1.5", "2.5"):
        index_with_pip.add_sdist(
            "sourced", version, {"pyproject.toml": pyproject, "backend.py": "import tool\n" + backend}
        )
    index_with_pip.add_wheel("tool", "1.0")
    index_with_pip.add_wheel("helper", "1.0")
    info = build()
    assert info.dependencies == ("helper==1.0", "sourced==1.5")
    assert printed(local, info.image_name, "python", "-c", "import sourced; print('ok')") == "ok"
    assert not canary.exists()


@pytest.mark.sandbox
@pytest.mark.slow
def test_build_requirements_that_a_hook_asks_for_are_fetched_and_do_not_stay(build, tree, local, index_with_pip):
    write_tree(tree, build_requires=["tool"], action="import tool")
    index_with_pip.add_wheel("tool", "1.0")
    info = build()
    assert info.dependencies == ()
    probe = "import importlib.util as u; print(u.find_spec('tool'))"
    assert printed(local, info.image_name, "python", "-c", probe) == "None"


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_build_that_imports_what_it_does_not_declare_gets_the_run_time_requirements(build, tree, index_with_pip):
    write_tree(tree, action="import helper")
    index_with_pip.add_wheel("helper", "1.0")
    profile = PROFILE.model_copy(update={"install": InstallSpec(project=True, requirements=("helper",))})
    assert build(profile).dependencies == ("helper==1.0",)


@pytest.mark.sandbox
def test_a_build_that_fails_says_which_step_and_shows_the_end_of_its_log(build, tree, local, tmp_path):
    write_tree(tree, action="raise RuntimeError('no compiler for ' + VERSION)")
    with pytest.raises(EnvironmentFailed, match=r"(?s)build_editable.*gymforge\.toml.*no compiler for 1\.2\.post3"):
        build()
    assert not list((tmp_path / "cache" / "environment-info").glob("*")) if (tmp_path / "cache").exists() else True


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_build_that_hangs_is_ended(build, tree):
    write_tree(tree, action="import time; time.sleep(600)")
    with pytest.raises(EnvironmentFailed, match="took more than 6 s"):
        build(timeout_s=6)


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_missing_runner_is_named(build, tree):
    write_tree(tree)
    profile = PROFILE.model_copy(update={"test_command": ("python", "-m", "pytest")})
    with pytest.raises(EnvironmentFailed, match=r"Add pytest to gymforge\.toml"):
        build(profile)


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_tree_that_is_no_project_gets_its_requirements_alone(build, tree, local, index_with_pip):
    write_tree(tree, pyproject="")
    (tree / "link").symlink_to("src/tiny.py")
    (tree / "run.sh").write_text("#!/bin/sh\n")
    (tree / "run.sh").chmod(0o755)
    index_with_pip.add_wheel("helper", "1.0")
    install = InstallSpec(project=False, requirements=("helper",))
    info = build(PROFILE.model_copy(update={"install": install}))
    assert info.dependencies == ("helper==1.0",)
    assert (
        printed(local, info.image_name, "sh", "-c", "readlink link; test -x run.sh && echo runs") == "src/tiny.py\nruns"
    )


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_build_may_ask_git_for_the_files_of_the_tree(build, tree, local):
    ask = "import subprocess; open('src/listed', 'wb').write(subprocess.check_output(['git', 'ls-files']))"
    write_tree(tree, action=ask, **{".gitignore": "*.dat\n", "ignored.dat": "kept by the commit\n"})
    info = build()
    listed = printed(local, info.image_name, "sh", "-c", "cat src/listed; test ! -e .git")
    assert listed.split() == [
        ".gitignore",
        "backend.py",
        "ignored.dat",
        "pyproject.toml",
        "src/tiny.py",
        "test_tiny.py",
    ]


OLD_BACKEND = """
import os, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(os.path.join(directory, "tiny-1.0-py3-none-any.whl"), "w") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\nRequires-Dist: helper\\n")
    return "tiny-1.0-py3-none-any.whl"
"""


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_backend_without_editable_wheels_falls_back_to_setup_py_develop(build, tree, local, index_with_pip):
    # Only the call is old setuptools' own: a package of its name stands in, and does what `develop` does.
    setuptools = """
import pathlib, sys, sysconfig
def setup(name):
    assert sys.argv == ["setup.py", "develop", "--no-deps"], sys.argv
    pathlib.Path(sysconfig.get_path("purelib"), "easy-install.pth").write_text(str(pathlib.Path("src").absolute()))
    info = pathlib.Path("src", name + ".egg-info")
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\\nName: " + name + "\\nVersion: 1.0\\n")
"""
    index_with_pip.add_wheel("setuptools", "50.0", files={"setuptools/__init__.py": setuptools, "old.py": OLD_BACKEND})
    index_with_pip.add_wheel("helper", "1.0")
    pyproject = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "old"\n'
    write_tree(tree, pyproject=pyproject, **{"setup.py": "from setuptools import setup\nsetup(name='tiny')\n"})
    info = build()
    assert info.dependencies == ("helper==1.0",)
    probe = "import tiny, importlib.metadata as m, importlib.util as u; print(tiny.__file__, m.version('tiny'), u.find_spec('setuptools'))"
    assert printed(local, info.image_name, "python", "-c", probe) == "/testbed/src/tiny.py 1.0 None"


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_backend_too_old_for_editable_wheels_is_taken_newer(build, tree, local, index_with_pip):
    modern = BACKEND.format(requires=["helper"], build_requires=[], action="pass")
    index_with_pip.add_wheel("tool", "1.0", files={"tool.py": OLD_BACKEND})
    index_with_pip.add_wheel("tool", "2.0", files={"tool.py": modern}, uploaded_at=datetime(2023, 1, 1, tzinfo=UTC))
    index_with_pip.add_wheel("helper", "1.0")
    index_with_pip.add_wheel("helper", "2.0", uploaded_at=datetime(2023, 1, 1, tzinfo=UTC))
    write_tree(tree, pyproject='[build-system]\nrequires = ["tool"]\nbuild-backend = "tool"\n')
    profile = PROFILE.model_copy(update={"install": InstallSpec(project=True, requires_python=">=3.10")})
    info = build(profile, cutoff=datetime(2021, 1, 1, tzinfo=UTC))
    assert info.dependencies == ("helper==1.0",)
    assert info.dependency_mode is DependencyMode.AS_OF_COMMIT
    assert printed(local, info.image_name, "python", "-c", "import tiny; print(tiny.double(4))") == "8"


@pytest.mark.parametrize("transient", [True, False])
def test_an_index_that_is_down_in_a_second_attempt_to_build_is_what_is_told(monkeypatch, transient):
    failures = iter([
        StepFailed("build", "exit code 1", log="ModuleNotFoundError", advice=""),
        EnvironmentFailed("an index cannot be reached", transient=transient),
    ])  # fmt: skip

    def fail(*_arguments, **_options):
        raise next(failures)

    monkeypatch.setattr(project_build, "_build", fail)
    bench = SimpleNamespace(read_text=lambda _path: "")
    with pytest.raises(EnvironmentFailed) as caught:
        build_project(bench, None, InstallSpec(project=True), requirements=["alpha"], cutoff=None)
    assert isinstance(caught.value, StepFailed) is not transient
    assert caught.value.transient is transient


def test_archives_of_one_tree_are_the_same_bytes_wherever_it_lies(tmp_path):
    from validation.tree_archive import tree_archives

    trees = [write_tree(tmp_path / name) for name in ("one", "another")]
    (trees[0] / ".git").mkdir()
    (trees[1] / "src").chmod(0o700)
    first, second = (list(tree_archives(tree, 1704153600)) for tree in trees)
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first[0])) as archive:
        assert {member.mtime for member in archive} == {1704153600}


@pytest.fixture
def deep_tree(tmp_path):
    """Deeper than Python recurses, also when it removes a tree: made and removed folder by folder."""
    deep = root = tmp_path / "tree"
    for _ in range(sys.getrecursionlimit() + 50):
        deep /= "d"
        deep.parent.mkdir()
    yield root
    subprocess.run(["rm", "-rf", str(root)], check=True)


def test_archive_of_a_tree_of_any_depth_is_in_order(deep_tree):
    from validation.tree_archive import tree_archives

    for name in ("a", "a.b"):
        (deep_tree / name).mkdir()
    (deep_tree / "a" / "inner").write_text("x")
    [archive] = tree_archives(deep_tree, 0)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = opened.getnames()
    assert found[:4] == ["a", "a/inner", "a.b", "d"]
    assert len(found) > sys.getrecursionlimit()


def test_checkout_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    from validation.tree_archive import MAX_TREE_BYTES, tree_archives

    with (tmp_path / "huge").open("wb") as file:
        file.truncate(MAX_TREE_BYTES + 1)
    tracemalloc.start()
    try:
        with pytest.raises(EnvironmentFailed, match="more than 1024 MiB"):
            list(tree_archives(tmp_path, 0))
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


def test_archive_is_held_in_memory_once(tmp_path):
    from validation.tree_archive import tree_archives

    size_bytes = 32 * 1024**2
    (tmp_path / "large").write_bytes(bytes(size_bytes))
    tracemalloc.start()
    try:
        for archive in tree_archives(tmp_path, 0):
            assert len(archive) > size_bytes
        # A buffer that grows is larger than its content by an eighth.
        assert tracemalloc.get_traced_memory()[1] < 1.5 * size_bytes
    finally:
        tracemalloc.stop()
