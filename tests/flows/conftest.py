"""A walk without Prefect, the command as a user runs it, a cache that lasts between test runs, the sample repository."""

import os
import resource
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.pipeline import IngestResult, Pipeline
from flows.settings import IngestSettings
from schemas.manifest import Ingestion
from schemas.tasks import RejectedCandidate, TaskInstance
from storage.layout import DatasetLayout

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "tinystats.bundle"


@pytest.fixture(scope="session")
def shared_cache() -> Path:
    """Wheels and environments, kept in the checkout's build folder so that only the first run downloads."""
    return ROOT / "build" / "test-cache"


@pytest.fixture(scope="session")
def sample_settings(shared_cache: Path) -> Callable[..., IngestSettings]:
    def settings(out: Path, **changes: object) -> IngestSettings:
        fields: dict[str, object] = {
            "source": str(SAMPLE),
            "out": out,
            "sandbox": "local",
            "strategies": ("op_change", "remove_cond", "ctrl_invert_if", "flip_operators"),
            "max_tasks": 4,
            "workers": 2,
            "cache_dir": shared_cache,
        }
        return IngestSettings.model_validate(fields | changes)

    return settings


def _walk(pipeline: Pipeline) -> IngestResult:
    """The flow's steps in order, as the flow calls them, without Prefect."""
    with pipeline:
        pipeline.acquire()
        pipeline.prepare()
        present = pipeline.finished()
        if present is not None:
            return pipeline.repeated(present)
        pipeline.synthesize()
        pipeline.measure_impact()
        with ThreadPoolExecutor(max_workers=pipeline.settings.workers) as pool:
            for wave in pipeline.waves():
                list(pool.map(pipeline.validate, [wave] * pipeline.settings.workers))
        return pipeline.write()


@pytest.fixture(scope="session")
def walk() -> Callable[[Pipeline], IngestResult]:
    return _walk


class Ran(NamedTuple):
    """What a user sees of a command that has ended."""

    code: int
    out: str
    err: str
    cpu_s: float
    """Processor time of the command and all that it started and waited for."""

    @property
    def message(self) -> str:
        """The one message of a command that failed."""
        assert self.err.count("gymforge: ") == 1, self.err
        assert "flows/cli.py" not in self.err, "a traceback of ours"
        return self.err.removeprefix("gymforge: ")


Command = Callable[..., Ran]
PREFIX = (sys.executable, "-c", "from flows.entry import main; main()")


@pytest.fixture(scope="session")
def orchestrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Variables that let every command use one Prefect server instead of starting its own."""
    from flows.prefect_server import start_server

    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        with start_server(home) as wait_until_ready:
            wait_until_ready()
            url = os.environ.pop("PREFECT_API_URL")
            yield {"PREFECT_API_URL": url, "PREFECT_HOME": str(home), "PREFECT_LOGGING_TO_API_ENABLED": "false"}
            patch.setenv("PREFECT_API_URL", url)


@pytest.fixture
def command_environment(shared_cache: Path) -> Mapping[str, str]:
    """The environment of a command of a user, who has no settings of Prefect."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"GYMFORGE_CACHE_DIR": str(shared_cache), "COLUMNS": "200"}


@pytest.fixture
def gymforge(command_environment: Mapping[str, str]) -> Command:
    """Run the real command to its end. `wrapper` is put before it; keywords are environment variables."""

    def run(*arguments: object, wrapper: Sequence[str] = (), **variables: str) -> Ran:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*wrapper, *PREFIX, *map(str, arguments)],
            cwd=ROOT,
            env={**command_environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Ran(done.returncode, done.stdout, done.stderr, cpu_s)

    return run


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.relative_to(folder).parts[0] != "ledger"
    }


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes | None]]:
    """Everything in a folder, byte by byte, the ledger aside."""
    return _contents


def _repository(path: Path, files: Mapping[str, str]) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], cwd=path, check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def make_repository() -> Callable[[Path, Mapping[str, str]], Path]:
    """A repository of one commit with these files."""
    return _repository


def _verdicts(out: Path) -> dict[str, tuple[int, bytes]]:
    """Every finished validation in a folder's ledger: its suite runs, and what it gave."""
    path = DatasetLayout(out).ledger
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'verdicts'").fetchone():
            return {}
        rows = connection.execute("SELECT candidate_id, executions, payload FROM verdicts").fetchall()
    return {candidate: (executions, payload) for candidate, executions, payload in rows}


@pytest.fixture(scope="session")
def finished_validations() -> Callable[[Path], dict[str, tuple[int, bytes]]]:
    """Candidate to suite runs and verdict, as the ledger of a folder has them."""
    return _verdicts


@pytest.fixture
def start_gymforge(command_environment: Mapping[str, str]) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the real command and go on; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, prefix: Sequence[str] = PREFIX, **variables: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*prefix, *map(str, arguments)],
            cwd=ROOT,
            env={**command_environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def fill_dataset(built: dict[str, Any]) -> Callable[..., Path]:
    """Make a dataset folder of tasks, as if their repositories had been ingested with these rejections."""

    def fill(folder: Path, tasks: Sequence[TaskInstance], rejected: Sequence[RejectedCandidate] = ()) -> Path:
        from storage.manifest import add_ingestion, open_for_writing
        from storage.shards import write_rejected, write_tasks

        with open_for_writing(folder) as layout:
            for repo, commit in sorted({(one.repo, one.base_commit) for one in (*tasks, *rejected)}):
                own = [one for one in tasks if (one.repo, one.base_commit) == (repo, commit)]
                lost = [one for one in rejected if (one.repo, one.base_commit) == (repo, commit)]
                ingestion = Ingestion(
                    repo=repo,
                    url=own[0].provenance.url if own else "local/x",
                    commit=commit,
                    license_spdx=own[0].license_spdx if own else "MIT",
                    sandbox="local",
                    config_hash="0",
                    seed=0,
                    tasks=len(own),
                    rejected=dict(sorted(Counter(one.reason for one in lost).items())),
                    quarantined={},
                    shards=write_tasks(layout, repo=repo, commit=commit, tasks=own) if own else (),
                    rejected_shards=write_rejected(layout, repo=repo, commit=commit, rows=lost) if lost else (),
                    **built,
                )
                add_ingestion(layout, ingestion)
        return folder

    return fill
