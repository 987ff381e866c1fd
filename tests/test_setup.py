"""Setting up on a machine whose Python lacks `ensurepip`, as Debian's does without python3-venv."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def write_program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that stand before all others; its `python3` has no `ensurepip`."""
    write_program(
        tmp_path / "bin/python3", f'case "$*" in *ensurepip*|*venv*) exit 1;; esac; exec {sys.executable} "$@"'
    )
    return tmp_path / "bin"


def run(command: list[str], *, programs: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Started by `make test`, a make beneath it would say which folder it enters.
    inherited = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    environment = inherited | {"PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_make_names_the_package_that_a_python_without_ensurepip_needs(machine: Path, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    done = run(["make", "install", "PYTHON=python3"], programs=machine, cwd=tmp_path)
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not (tmp_path / ".venv").exists()


def test_ci_installs_the_package_that_a_python_without_ensurepip_needs(machine: Path, tmp_path: Path) -> None:
    write_program(machine / "apt-get", f'echo "$@" >> {tmp_path}/asked')
    write_program(tmp_path / ".ci/docker-engine", "exit 1")  # the run ends here: nothing after it is tried
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci")
    done = run(["bash", ".ci/run"], programs=machine, cwd=tmp_path)
    assert "== Docker Engine" in done.stdout
    assert "== linters" not in done.stdout
    update, install = (tmp_path / "asked").read_text().splitlines()
    assert update.startswith("update")
    assert "python3-venv" in install.split()
