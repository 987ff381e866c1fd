"""The real Prefect flow, under Prefect's own harness, with its artifacts."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.settings import IngestSettings
from storage.layout import DatasetLayout
from storage.ledger import Ledger

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_the_flow_makes_tasks_and_leaves_its_artifacts(
    sample_settings: Callable[..., IngestSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    from prefect.client.orchestration import get_client
    from prefect.testing.utilities import prefect_test_harness

    from flows.ingest import ingest_repository

    settings = sample_settings(tmp_path / "out", max_tasks=2)
    with prefect_test_harness(server_startup_timeout=120):
        result = ingest_repository(settings)

        async def read() -> tuple[set[str | None], set[str]]:
            async with get_client() as client:
                artifacts = await client.read_artifacts()
                runs = await client.read_task_runs()
                return {one.key for one in artifacts}, {one.task_key.rsplit(".", 1)[-1].split("-")[0] for one in runs}

        artifacts, stages = asyncio.run(read())
    assert result.ingestion.tasks == 2
    assert artifacts == {"gymforge-yields", "gymforge-tasks", "gymforge-dataset"}
    assert stages == {"acquire", "prepare", "synthesize", "measure_impact", "validate", "write"}


def test_the_command_runs_the_flow_without_a_server_and_leaves_no_process(
    sample_settings: Callable[..., IngestSettings], tmp_path: Path
) -> None:
    settings = sample_settings(tmp_path / "out")
    command = [sys.executable, "-c", "from flows.cli import main; main()", "ingest", settings.source]
    command += [
        "--sandbox",
        "local",
        "--max-tasks",
        "1",
        "--strategies",
        "op_change",
        "--out",
        str(settings.out),
        "--json",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"GYMFORGE_CACHE_DIR": str(settings.cache_dir)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert '"tasks": 1' in done.stdout
    assert done.stderr == "", "quiet when nobody watches"


def test_ctrl_c_in_a_terminal_ends_the_run_cleanly_and_the_same_command_goes_on(
    sample_settings: Callable[..., IngestSettings], tmp_path: Path
) -> None:
    settings = sample_settings(tmp_path / "out")
    command = [
        sys.executable,
        "-c",
        "from flows.cli import main; main()",
        "ingest",
        settings.source,
        "--sandbox",
        "local",
    ]
    command += ["--max-tasks", "8", "--strategies", "op_change,remove_cond", "--out", str(settings.out), "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"GYMFORGE_CACHE_DIR": str(settings.cache_dir)}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    try:
        wait_for_verdicts(settings.out, process)
        # As a terminal does: every process of the group gets it, whatever the command has started in its group.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "the same command goes on" in errors
    before = verdicts(settings.out)
    assert before >= 1
    assert not list(settings.out.glob("data/*"))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["executions"] >= before


def wait_for_verdicts(out: Path, process: "subprocess.Popen[str]") -> None:
    while process.poll() is None and verdicts(out) == 0:
        time.sleep(0.2)


def verdicts(out: Path) -> int:
    path = DatasetLayout(out).ledger
    if not path.exists():
        return 0
    with Ledger.open(path, identity="none") as ledger:
        identities = ledger.identities()
    total = 0
    for identity in identities:
        with Ledger.open(path, identity=identity) as ledger:
            total += len(ledger.verdicts())
    return total
