"""Find the CPython interpreters of this machine, for sandboxes that share its file system."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from validation.sandbox.protocol import Interpreter

DESCRIBE = """
import json, os, platform, sys
version = ".".join(map(str, sys.version_info[:3]))
name = "python%d.%d" % sys.version_info[:2]
libc = " ".join(platform.libc_ver())
final = sys.version_info[3] == "final"
if platform.python_implementation() == "CPython" and final and sys.version_info[0] == 3:
    path = os.path.join(sys.base_prefix, "bin", name)
    print(json.dumps([version, path, sys.base_prefix, platform.machine(), libc]))
"""
"""A program that prints what is worth knowing about the interpreter that runs it; nothing for another Python."""

FIND_INSIDE = f"""
import glob, re, subprocess
folders = ["/usr/bin", "/usr/local/bin", "/opt/*/bin"]
for path in sorted(path for folder in folders for path in glob.glob(folder + "/python3*")):
    if re.search(r"/python3(\\.\\d+)?$", path):
        subprocess.run([path, "-I", "-S", "-c", {DESCRIBE!r}])
"""
"""A program that describes every interpreter of the machine that it runs on, one line each."""

_PROBE_S = 20
_NAME = re.compile(r"^python3(\.\d+)?$")


class Found(NamedTuple):
    """A CPython on this machine."""

    interpreter: Interpreter
    prefix: Path
    """The folder that holds all of it."""
    machine: str
    libc: str


@functools.cache
def find_interpreters() -> tuple[Found, ...]:
    """CPython 3 interpreters of this machine, newest first, one for each folder; each one was really run."""
    found = {item.interpreter.path: item for path in _candidates() if (item := describe(path))}
    return tuple(sorted(found.values(), key=_newest_first, reverse=True))


def own_interpreter() -> Found:
    """The interpreter that runs this program (of a virtual environment: the one beneath it).

    Raises:
        LookupError: it is not a CPython that can be described.
    """
    if item := describe(sys.executable):
        return item
    raise LookupError(f"{sys.executable} is not a CPython 3 that a sandbox can use")


def describe(executable: str) -> Found | None:
    """Run an interpreter to see what it is; None when it is not a CPython 3 with a folder of its own."""
    try:
        run = subprocess.run(
            [executable, "-I", "-S", "-c", DESCRIBE],
            capture_output=True,
            timeout=_PROBE_S,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if run.returncode != 0 or not run.stdout.startswith(b"["):
        return None
    version, path, prefix, machine, libc = json.loads(run.stdout)
    # A prefix that holds the home would show all of it inside a sandbox.
    if not os.access(path, os.X_OK) or Path.home().is_relative_to(prefix):
        return None
    return Found(Interpreter(version=version, path=path), Path(prefix), machine, libc)


def _newest_first(item: Found) -> tuple[tuple[int, ...], str]:
    return tuple(int(part) for part in item.interpreter.version.split(".")), item.interpreter.path


def _candidates() -> tuple[str, ...]:
    home = Path.home()
    folders = [Path(part) for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part]
    names = [
        str(entry)
        for folder in folders
        if folder.is_absolute() and folder.name != "shims"  # pyenv's shims start what its versions hold
        for entry in sorted(folder.glob("python3*"))
        if _NAME.match(entry.name)
    ]
    roots = [Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions", home / ".local/share/uv/python"]
    versions = [str(path / "bin" / "python3") for root in roots for path in sorted(root.glob("*"))]
    unique = {os.path.realpath(path): path for path in (sys.executable, *names, *versions) if Path(path).exists()}
    return tuple(unique.values())
