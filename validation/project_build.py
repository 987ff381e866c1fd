"""Build a repository on a bench, editable and offline, and learn from its metadata what it needs at run time."""

import json
import shlex
import tomllib
from collections.abc import Sequence
from datetime import datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

from packaging.markers import UndefinedEnvironmentName, default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from extractors.python_project.requirements import read_requirement
from schemas.errors import EnvironmentFailed
from schemas.repo import InstallSpec
from validation.build_system import BuildSystem, build_system
from validation.sandbox.protocol import ENV_DIR, TESTBED
from validation.supply import Supply, hook_requirements
from validation.versions import UNKNOWN_VERSION, tag_of
from validation.wheelhouse import Wheel
from validation.workbench import BUILD_ENV, DIST, StepFailed, Workbench

_MAX_REQUIREMENTS = 500
_MAX_PYPROJECT_BYTES = 1024 * 1024

_TIDY = """\
import json, os, shutil, sys
kept, egg_info = json.loads(sys.argv[1]), sys.argv[2] == "remove"
shutil.rmtree(".git", ignore_errors=True)
for folder, names, _ in os.walk("."):
    for name in list(names):
        path = os.path.relpath(os.path.join(folder, name))
        scratch = name.startswith(("lib", "temp", "bdist.")) and os.path.basename(folder) == "build"
        leftover = scratch or name == ".eggs" or (egg_info and name.endswith(".egg-info"))
        if path not in kept and (leftover or name == "__pycache__"):
            shutil.rmtree(path, ignore_errors=True)
            names.remove(name)
if "build" not in kept and os.path.isdir("build") and not os.listdir("build"):
    os.rmdir("build")
"""


class Project(NamedTuple):
    """A repository that was built, or the part of it that is known without building."""

    name: str
    """Normalised name; empty where the tree is no project."""
    requirements: tuple[str, ...]
    """What it needs at run time, with the extras that were asked for."""
    wheel: str
    """Editable wheel on the bench; empty where the project is installed by `setup.py develop`."""
    build_wheels: tuple[Wheel, ...]


def declared_name(tree: Path) -> str:
    """The normalised name that `pyproject.toml` declares; empty where it does not, or is no file of the tree's own."""
    path = tree / "pyproject.toml"
    # A link could name any file of the host, or a device that never ends.
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_PYPROJECT_BYTES:
        return ""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
        return str(canonicalize_name(table["name"]))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        return ""


def build_project(
    bench: Workbench, supply: Supply, install: InstallSpec, *, requirements: Sequence[str], cutoff: datetime | None
) -> Project:
    """Build the tree on the bench as an editable wheel.

    Backends without editable wheels (PEP 660) fall back to `setup.py develop`, else to the newest release of the
    backend. A build script that imports what it does not declare gets the run-time requirements beside it.

    Raises:
        EnvironmentFailed: it does not build.
    """
    system, declared = build_system(bench.read_text("pyproject.toml"))
    requires = install.build_requires or declared
    try:
        return _build(bench, supply, install, system, requires, cutoff=cutoff)
    except StepFailed as failed:
        if "ModuleNotFoundError" not in failed.log and "ImportError" not in failed.log:
            raise
        together = sorted({*requires, *requirements})
        try:
            return _build(bench, supply, install, system, together, cutoff=cutoff)
        except EnvironmentFailed as again:
            if again.transient:
                raise
            raise failed from again


def _build(
    bench: Workbench,
    supply: Supply,
    install: InstallSpec,
    system: BuildSystem,
    requires: Sequence[str],
    *,
    cutoff: datetime | None,
) -> Project:
    wheels = supply.equip(bench, requires, cutoff=cutoff)
    asked = bench.call_hook(system, "get_requires_for_build_editable")
    if asked.missing:
        asked = bench.call_hook(system, "get_requires_for_build_wheel")
    more = hook_requirements(asked)
    if more:
        requires = [*requires, *more]
        wheels = supply.equip(bench, requires, cutoff=cutoff)
    built = bench.call_hook(system, "build_editable", DIST)
    if built.missing and not bench.read_text("setup.py") and cutoff is not None:
        # The backend of the day had no editable wheels: the newest one has, and reads old projects.
        return _build(bench, supply, install, system, requires, cutoff=None)
    if built.missing:
        wheel = bench.call_hook(system, "build_wheel", DIST)
        name, needed = read_metadata(wheel.metadata, python_version=supply.target.python_version, extras=install.extras)
        return Project(name, needed, "", wheels)
    name, needed = read_metadata(built.metadata, python_version=supply.target.python_version, extras=install.extras)
    return Project(name, needed, f"{DIST}/{_wheel_name(built.value)}", wheels)


def install_project(bench: Workbench, project: Project) -> None:
    """Install the built project into the environment, so that its modules come from the tree.

    Raises:
        StepFailed: it does not install.
    """
    if project.wheel:
        bench.install_files(ENV_DIR, [project.wheel])
        return
    if not bench.read_text("setup.py"):
        reason = "the build backend has no editable installs, and there is no setup.py"
        advice = "Ask for a newer backend in gymforge.toml: [install] build_requires"
        raise StepFailed("install the repository", reason, log="", advice=advice)
    find = [f"{BUILD_ENV}/bin/python", "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    tools = bench.run("find setuptools", find).stdout.decode().strip()
    bench.run(
        "setup.py develop",
        [f"{ENV_DIR}/bin/python", "-c", _DEVELOP],
        environment={**bench.variables, "PYTHONPATH": tools},
        cwd=TESTBED,
        advice="Give another backend in gymforge.toml: [install] build_requires",
    )


_DEVELOP = """\
import sys, setuptools
sys.argv = ["setup.py", "develop", "--no-deps"]
__file__ = "setup.py"
exec(compile(open("setup.py", "rb").read(), "setup.py", "exec"))
"""


def make_history(bench: Workbench, *, described: str, committed_at: datetime) -> bool:
    """One commit that holds the tree, tagged as the real one: builds ask git for files and versions.

    Returns whether the sandbox has git. `tidy` removes the history again.
    """
    if bench.attempt("look for git", ["git", "--version"]).exit_code != 0:
        return False
    date = f"{int(committed_at.timestamp())} +0000"
    who = {"NAME": "gymforge", "EMAIL": "gymforge@localhost"}
    environment = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
    environment |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_NOSYSTEM": "1"}
    git = "git -c core.autocrlf=false -c core.hooksPath=/dev/null -c init.defaultBranch=main -c gc.auto=0"
    tag = tag_of(described) or UNKNOWN_VERSION
    script = (
        f"{git} init -q . && {git} add -A -f . && {git} commit -q --allow-empty --no-verify -m snapshot"
        f" && {git} tag -- {shlex.quote(tag)}"
    )
    bench.run("make a one-commit history", ["sh", "-c", script], environment=environment, cwd=TESTBED)
    return True


def tidy(bench: Workbench, tree: Path, *, keep_egg_info: bool) -> None:
    """Remove what a build leaves in the tree and an editable install does not need: history, bytecode, scratch."""
    kept = sorted(
        path.relative_to(tree).as_posix()
        for path in tree.rglob("*")
        if path.is_dir() and (path.name in {"build", ".eggs"} or path.name.endswith(".egg-info"))
    )
    action = "keep" if keep_egg_info else "remove"
    command = [bench.interpreter.path, "-I", "-c", _TIDY, json.dumps(kept), action]
    bench.run("tidy the tree", command, cwd=TESTBED)


def read_metadata(text: str, *, python_version: str, extras: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Name and run-time requirements of a METADATA file, for an interpreter and with extras.

    Raises:
        EnvironmentFailed: the text, which the repository's build wrote, is not metadata.
    """
    # The build may have written half characters.
    headers = HeaderParser().parsestr(text.encode("utf-8", "replace").decode())
    name = canonicalize_name(str(headers.get("Name") or ""))
    lines = [str(value) for value in headers.get_all("Requires-Dist") or ()]
    if not name or len(lines) > _MAX_REQUIREMENTS:
        raise EnvironmentFailed(f"the build wrote metadata without a name, or with {len(lines)} requirements")
    try:
        requirements = [read_requirement(line) for line in lines]
    except InvalidRequirement as error:
        message = f"the build wrote an invalid requirement: {error}"
        raise EnvironmentFailed(f"{message}. Give the right ones in gymforge.toml: [install] requirements") from error
    needed: set[str] = set()
    pending, seen = ["", *map(canonicalize_name, extras)], {"", *map(canonicalize_name, extras)}
    while pending:
        extra = pending.pop()
        for requirement in requirements:
            if not _applies(requirement, python_version, extra):
                continue
            if canonicalize_name(requirement.name) == name:
                # `project[other]` inside an extra names further extras of the same project.
                further = sorted({canonicalize_name(more) for more in requirement.extras} - seen)
                pending += further
                seen.update(further)
                continue
            bare = Requirement(str(requirement))
            bare.marker = None
            needed.add(str(bare))
    return name, tuple(sorted(needed))


def _applies(requirement: Requirement, python_version: str, extra: str) -> bool:
    if requirement.marker is None:
        return extra == ""
    environment: dict[str, str] = {
        **{key: str(value) for key, value in default_environment().items()},
        "python_full_version": python_version,
        "python_version": ".".join(python_version.split(".")[:2]),
        "implementation_version": python_version,
        "extra": extra,
    }
    try:
        met = requirement.marker.evaluate(environment)
        # Without the extra it belongs to the plain requirements, and is counted there.
        return met and (extra == "" or not requirement.marker.evaluate({**environment, "extra": ""}))
    except UndefinedEnvironmentName:
        return False


def _wheel_name(value: object) -> str:
    if isinstance(value, str) and value.endswith(".whl") and "/" not in value:
        return value
    raise EnvironmentFailed(f"the build backend gave {value!r:.200}, which is not a wheel's name. Correct it in a fork")
