"""A building sandbox as a bench: put a tree and wheels on it, make environments, call build backends."""

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import EnvironmentFailed
from validation.build_system import BuildSystem
from validation.sandbox.protocol import MIB, TESTBED, CommandResult, Interpreter, Limits, Sandbox
from validation.tree_archive import tree_archives

BUILD_LIMITS = Limits(memory_bytes=4096 * MIB, disk_bytes=3072 * MIB, processes=512)
BUILD_TIMEOUT_S = 900.0

TOOLS = "/tmp/gymforge"  # noqa: S108 - a path inside the sandbox
BUILD_ENV = f"{TOOLS}/build"
DIST = f"{TOOLS}/dist"
_PIP = f"{TOOLS}/pip"
_HOOK = f"{TOOLS}/build_hook.py"
_REQUEST = f"{TOOLS}/request.json"
_ANSWER = f"{TOOLS}/answer.json"
_MAX_ANSWER_BYTES = 8 * MIB
_BATCH_BYTES = 64 * MIB
_TAIL_CHARACTERS = 4000

_EXTRACT = """\
import os, sys, tarfile
os.makedirs(sys.argv[2], exist_ok=True)
with tarfile.open(sys.argv[1]) as archive:
    options = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    archive.extractall(sys.argv[2], **options)
os.unlink(sys.argv[1])
"""

_UNPACK = """\
import os, shutil, sys
archive, testbed = sys.argv[1:]
form = "zip" if open(archive, "rb").read(4) == b"PK\\x03\\x04" else "gztar"
shutil.unpack_archive(archive, archive + ".d", form)
(top,) = os.listdir(archive + ".d")
top = os.path.join(archive + ".d", top)
for name in os.listdir(top):
    shutil.move(os.path.join(top, name), testbed)
"""


class HookAnswer(NamedTuple):
    """What a hook gave; untrusted, for code of the repository wrote it."""

    missing: bool
    """The backend does not have this hook."""
    value: Any
    metadata: str
    """METADATA of the wheel that was built; empty for other hooks."""


class StepFailed(EnvironmentFailed):
    """A command on the bench failed; `log` is what it printed last."""

    def __init__(self, step: str, reason: str, *, log: str, advice: str) -> None:
        super().__init__(f"{step}: {reason}. {advice}\n{log}".rstrip())
        self.log = log


class Workbench:
    """One building sandbox and its time budget."""

    def __init__(
        self,
        sandbox: Sandbox,
        interpreter: Interpreter,
        *,
        variables: Mapping[str, str],
        timeout_s: float = BUILD_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`variables`: environment of the repository's own code (version, date, what the profile asks for)."""
        self.sandbox = sandbox
        self.interpreter = interpreter
        self.variables = variables
        self._clock = clock
        self._budget_s = timeout_s
        self._end = clock() + timeout_s

    def run(
        self,
        step: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        cwd: str = "/",
        advice: str = "Read the log below",
    ) -> CommandResult:
        """Run a command that must succeed.

        Raises:
            StepFailed: it did not, or the bench's time is up.
        """
        result = self.attempt(step, command, environment=environment, cwd=cwd)
        if result.exit_code == 0:
            return result
        reason = "ran out of memory" if result.out_of_memory else f"exit code {result.exit_code}"
        raise StepFailed(step, reason, log=_log(command, result), advice=advice)

    def attempt(
        self, step: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> CommandResult:
        """Run a command that may fail.

        Raises:
            StepFailed: the bench's time is up.
        """
        left_s = max(0.1, self._end - self._clock())
        result = self.sandbox.run(
            command, timeout_s=left_s, cwd=cwd, environment={"PIP_ROOT_USER_ACTION": "ignore", **(environment or {})}
        )
        if result.timed_out:
            reason = f"the build took more than {self._budget_s:.0f} s"
            advice = "Give simpler requirements in gymforge.toml: [install]"
            raise StepFailed(step, reason, log=_log(command, result), advice=advice)
        return result

    def put_tools(self, pip_wheel: Path) -> None:
        """Bring pip and the hook script; neither becomes part of an environment."""
        place = f"{TOOLS}/{pip_wheel.name}"
        self.sandbox.put(place, pip_wheel.read_bytes())
        self.sandbox.put(_HOOK, (Path(__file__).parent / "build_hook.py").read_bytes())
        self.run("unpack pip", [self.interpreter.path, "-I", "-m", "zipfile", "-e", place, _PIP])

    def put_tree(self, tree: Path, *, modified_at: datetime, destination: str = TESTBED) -> None:
        """Copy a checkout, without version control's own files; times and modes are the same for everyone.

        Raises:
            EnvironmentFailed: it is too large.
        """
        for archive in tree_archives(tree, int(modified_at.timestamp())):
            self._extract(archive, destination)

    def put_source(self, archive: bytes) -> None:
        """Unpack a source distribution into the tree's place; the host does not look into it."""
        place = f"{TOOLS}/source"
        self.sandbox.put(place, archive)
        self.run("unpack the source release", [self.interpreter.path, "-I", "-c", _UNPACK, place, TESTBED])

    def read_text(self, path: str) -> str:
        """A small text file of the tree; empty where there is none."""
        try:
            return self.sandbox.get(f"{TESTBED}/{path}", max_bytes=_MAX_ANSWER_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def make_build_environment(self, wheels: Sequence[Path]) -> None:
        """A fresh build environment with exactly these wheels."""
        self.make_environment(BUILD_ENV)
        self.install(BUILD_ENV, wheels)

    def make_environment(self, path: str) -> None:
        """An empty virtual environment, without pip."""
        command = [self.interpreter.path, "-I", "-m", "venv", "--clear", "--without-pip", path]
        self.run(f"make {path}", command)

    def install(self, environment_path: str, wheels: Sequence[Path]) -> None:
        """Install wheels as they are: no dependencies, no index, no bytecode."""
        for batch in _batches(wheels):
            places = [f"{TOOLS}/wheels/{wheel.name}" for wheel in batch]
            for wheel, place in zip(batch, places, strict=True):
                self.sandbox.put(place, wheel.read_bytes())
            self.install_files(environment_path, places)
            self.run("remove installed wheels", ["rm", "-f", *places])

    def install_files(self, environment_path: str, places: Sequence[str]) -> None:
        """Install wheels that lie in the sandbox."""
        options = ["--no-index", "--no-deps", "--no-compile", "--no-input", "--no-cache-dir", "--ignore-installed"]
        quiet = ["--disable-pip-version-check", "--no-warn-script-location", "--quiet"]
        python = f"{environment_path}/bin/python"
        self.run(
            f"install {len(places)} wheels into {environment_path}",
            [python, "-m", "pip", "install", *options, *quiet, *places],
            # pip is called several times: its own bytecode, which no environment holds, saves seconds.
            environment={"PYTHONPATH": _PIP, "PYTHONDONTWRITEBYTECODE": ""},
            advice="Choose other releases in gymforge.toml: [install] requirements",
        )

    def call_hook(self, system: BuildSystem, hook: str, *arguments: str) -> HookAnswer:
        """Call a hook of the build backend in the tree, with what is installed in the build environment.

        Raises:
            StepFailed: the backend cannot be loaded, or the hook failed.
        """
        request = {
            "backend": system.backend,
            "backend_path": [f"{TESTBED}/{folder}" for folder in system.backend_path],
            "hook": hook,
            "arguments": list(arguments),
            "answer": _ANSWER,
        }
        self.sandbox.put(_REQUEST, json.dumps(request).encode())
        self.run("clear the last answer", ["rm", "-rf", _ANSWER])
        self.run("make the output folder", ["mkdir", "-p", DIST])
        self.run(
            f"{system.backend} {hook}",
            [f"{BUILD_ENV}/bin/python", _HOOK, _REQUEST],
            environment={**self.variables, "PATH": f"{BUILD_ENV}/bin:/usr/local/bin:/usr/bin:/bin"},
            cwd=TESTBED,
            advice="Add what the build misses in gymforge.toml: [install] build_requires",
        )
        try:
            answer = json.loads(self.sandbox.get(_ANSWER, max_bytes=_MAX_ANSWER_BYTES))
            return HookAnswer(bool(answer["missing"]), answer.get("value"), str(answer.get("metadata", "")))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"gave no answer ({error})"
            raise StepFailed(hook, reason, log="", advice="The build script ended the process: correct it") from error

    def _extract(self, archive: bytes, destination: str) -> None:
        place = f"{TOOLS}/tree.tar"
        self.sandbox.put(place, archive)
        self.run("unpack the tree", [self.interpreter.path, "-I", "-c", _EXTRACT, place, destination])


def _batches(wheels: Sequence[Path]) -> Iterator[list[Path]]:
    """Wheels in groups whose files together fit beside what is already installed."""
    batch: list[Path] = []
    batch_bytes = 0
    for wheel in wheels:
        size_bytes = wheel.stat().st_size
        if batch and batch_bytes + size_bytes > 4 * _BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
        batch.append(wheel)
        batch_bytes += size_bytes
    if batch:
        yield batch


def _log(command: Sequence[str], result: CommandResult) -> str:
    """The end of what a command printed, below the command."""
    printed = (result.stdout + b"\n" + result.stderr).decode("utf-8", "replace").strip()
    return f"$ {shlex.join(command)[:300]}\n{printed[-_TAIL_CHARACTERS:]}"
