"""The real Prefect flow on a real server, with its artifacts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from flows.settings import IngestSettings
from storage.layout import DatasetLayout
from storage.ledger import Ledger

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_the_flow_makes_tasks_and_leaves_its_artifacts(
    sample_settings: Callable[..., IngestSettings], orchestrator: Mapping[str, str], tmp_path: Path
) -> None:
    """In a process of its own: Prefect sends the events of a process to the first server that it knew."""
    settings = sample_settings(tmp_path / "out", max_tasks=2)
    script = (
        "import json, time\n"
        "from flows.ingest import ingest_repository\n"
        "from flows.settings import IngestSettings\n"
        f"state = ingest_repository(IngestSettings.model_validate_json({settings.model_dump_json()!r}), return_state=True)\n"
        "from prefect.client.orchestration import get_client\n"
        "from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter\n"
        "of = {'id': {'any_': [state.state_details.flow_run_id]}}\n"
        "with get_client(sync_client=True) as client:\n"
        "    for _ in range(120):  # the runs of tasks are known by events, which are sent when the machine gets to it\n"
        "        runs = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate(of))\n"
        "        stages = {one.task_key.rsplit('.', 1)[-1].split('-')[0] for one in runs}\n"
        "        if 'write' in stages:\n"
        "            break\n"
        "        time.sleep(0.5)\n"
        "    chosen = ArtifactFilter.model_validate({'flow_run_id': of['id']})\n"
        "    artifacts = client.read_artifacts(artifact_filter=chosen)\n"
        "print(json.dumps({'tasks': state.result().ingestion.tasks, 'stages': sorted(stages),\n"
        "                  'artifacts': sorted(one.key for one in artifacts)}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **orchestrator},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tasks"] == 2
    assert found["artifacts"] == ["gymforge-dataset", "gymforge-tasks", "gymforge-yields"]
    assert set(found["stages"]) == {"acquire", "prepare", "synthesize", "measure_impact", "validate", "write"}


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
