"""Several processes add to one dataset and are killed at random: nothing is lost, doubled or left behind."""

import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import StorageFailed
from storage.integrity import check_shards
from storage.layout import DatasetLayout
from storage.lock import locked
from storage.manifest import open_for_writing, read_manifest, refuse_unusable
from storage.unfinished import clear_writers
from task_registry import load_tasks

REPOSITORIES = [f"acme/r{number:02}" for number in range(12)]
WRITER = """
import importlib.util, random, sys, time
from pathlib import Path
from schemas.errors import DatasetError
from schemas.manifest import Ingestion
from storage.layout import DatasetLayout
from storage.ledger import Ledger
from storage.manifest import add_ingestion, committing, find_ingestion, open_for_writing, read_manifest
from storage.shards import write_tasks

spec = importlib.util.spec_from_file_location("samples", sys.argv[1])
samples = importlib.util.module_from_spec(spec)
spec.loader.exec_module(samples)
root, repositories = Path(sys.argv[2]), sys.argv[3:]

def ingest(repo):
    with open_for_writing(root, writer=repo) as layout:
        folder = layout.writer(repo) / "tree"
        folder.mkdir()
        (folder / "mine").write_text(repo)
        if find_ingestion(read_manifest(layout), repo=repo, commit=samples.COMMIT):
            return
        with Ledger.open(layout.ledger, identity=repo) as ledger:
            for number in range(5):
                ledger.record_verdict(str(number), repo, executions=1)
                time.sleep(0.02)
            assert ledger.executions() == 5
        assert (folder / "mine").read_text() == repo
        tasks = [
            samples._task(number, repo=repo, instance_id=f"{repo.replace('/', '__')}.01234567.op_change__{number:010x}")
            for number in range(3)
        ]
        with committing(layout):
            if find_ingestion(read_manifest(layout), repo=repo, commit=samples.COMMIT):
                return
            shards = write_tasks(layout, repo=repo, commit=samples.COMMIT, tasks=tasks)
            add_ingestion(layout, Ingestion(
                repo=repo, url="local/x", commit=samples.COMMIT, license_spdx="MIT", sandbox="local", config_hash="0",
                seed=0, tasks=3, rejected={}, quarantined={}, shards=shards, rejected_shards=(), **samples._built(),
            ))

while repositories:
    repo = repositories.pop(0)
    try:
        ingest(repo)
    except DatasetError as error:
        if "is being written" not in str(error):
            raise
        repositories.append(repo)
        time.sleep(0.01)
"""


PASSER = """
import sys
from contextlib import suppress
from pathlib import Path
from storage.lock import locked

writer = Path(sys.argv[1])
print("at work", flush=True)
while True:
    with locked(writer / ".lock", held="", wait_s=60):
        pass
    with suppress(OSError):
        writer.rmdir()
        writer.parent.rmdir()
"""
"""Comes and goes as fast as it can, and takes the folder of all writers with it."""


def start(root: Path, seed: int) -> "subprocess.Popen[str]":
    """One writer, which begins with another repository than the others do; several want the same ones."""
    shuffled = random.Random(seed).sample(REPOSITORIES, len(REPOSITORIES))
    samples = Path(__file__).parents[1] / "conftest.py"
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(samples), str(root), *shuffled], stderr=subprocess.PIPE, text=True
    )


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "ledger"
    }


def add_all(root: Path, rng: random.Random, *, kills: int) -> int:
    """Have three processes at a time add all repositories while one after the other is killed; returns how often."""
    seeds = itertools.count()
    writers = [start(root, next(seeds)) for _ in range(3)]
    landed = 0
    while writers:
        if kills:
            time.sleep(rng.uniform(0.1, 1.0))
            victim = writers.pop(rng.randrange(len(writers)))
            victim.kill()
            victim.communicate()
            landed += victim.returncode == -signal.SIGKILL
            kills -= 1
            writers.append(start(root, next(seeds)))
        else:
            writer = writers.pop()
            _, complaint = writer.communicate()
            assert writer.returncode == 0, complaint
    return landed


@pytest.mark.slow
def test_nothing_is_lost_or_counted_twice_when_several_writers_are_killed_at_random(tmp_path: Path) -> None:
    rng, landed = random.Random(7), 0
    assert add_all(tmp_path / "alone", rng, kills=0) == 0
    for number in range(4):
        root = tmp_path / str(number)
        landed += add_all(root, rng, kills=8)
        layout = DatasetLayout(root)
        manifest = read_manifest(layout)
        assert [one.repo for one in manifest.ingestions] == sorted(REPOSITORIES)
        check_shards(layout, manifest.shards, full=True)
        ids = [task.instance_id for task in load_tasks(root)]
        assert (len(ids), len(set(ids))) == (36, 36)
        assert not layout.writers.exists()
        assert contents(root) == contents(tmp_path / "alone")
    assert landed >= 16, "most of them were still at work"


@pytest.mark.slow
def test_who_looks_for_writers_does_not_mind_that_they_come_and_go(tmp_path: Path) -> None:
    layout = DatasetLayout(tmp_path)
    command = [sys.executable, "-c", PASSER, str(layout.writer("acme/passing"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as passer:
        try:
            assert passer.stdout is not None
            assert passer.stdout.readline() == "at work\n"
            for _ in range(3000):
                assert clear_writers(layout) in (0, 1)
                for name in ("acme/other", "acme/passing"):
                    with locked(layout.writer_lock(name), held=name, wait_s=60):
                        pass
            assert passer.poll() is None, passer.communicate()
        finally:
            passer.kill()


def test_a_folder_that_goes_while_it_is_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found there by the call that makes folders, and gone when it looks what it is."""
    make, refused = os.mkdir, []

    def mkdir(path: Path, mode: int = 0o777) -> None:
        if not refused and Path(path) == tmp_path / "a":
            refused.append(path)
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with locked(tmp_path / "a" / ".lock", held="x"):
        assert refused


def test_a_first_run_beside_another_one_sees_that_it_is_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's manifest comes between the look for one and the look for what else lies there."""
    root, look = tmp_path / "tasks", Path.iterdir
    root.mkdir()
    with open_for_writing(tmp_path / "other", writer="acme/first") as layout:
        shutil.copytree(layout.root, tmp_path / "then")

    def iterdir(folder: Path) -> Iterator[Path]:
        if folder == root and not (root / "manifest.json").exists():
            shutil.copytree(tmp_path / "then", root, dirs_exist_ok=True)
        return look(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    refuse_unusable(DatasetLayout(root))
    assert (root / "manifest.json").exists()


def test_a_place_where_no_folder_can_be_made_is_one_clear_error() -> None:
    with pytest.raises(StorageFailed, match=r"/proc/gymforge"), locked(Path("/proc/gymforge/.lock"), held="x"):
        pass
