"""A list of repositories, ingested by the real command against a real Prefect server."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.artifacts import RunLog, bars
from storage.layout import DatasetLayout

SAMPLE = str(Path(__file__).parents[2] / "examples" / "tinystats.bundle")
OPTIONS = ("--sandbox", "local", "--workers", "2", "--json")


@pytest.mark.slow
@pytest.mark.sandbox
def test_one_repository_that_fails_stops_no_other_and_commits_that_are_there_cost_a_look(
    gymforge, orchestrator, tmp_path: Path
) -> None:
    (tmp_path / "list.toml").write_text(
        f'[defaults]\nmax_tasks = 2\n[[repository]]\nsource = "gone"\n[[repository]]\nsource = "{SAMPLE}"\n'
    )
    command = ("refresh", tmp_path / "list.toml", "--out", tmp_path / "out", *OPTIONS)
    first = gymforge(*command, **orchestrator)
    assert first.code == 15, first
    assert first.err == "gymforge: 1 ingested, 1 failed. The same command tries again what is not done.\n"
    gone, sample = json.loads(first.out)["repositories"]
    assert (gone["status"], "there is no such file or folder" in gone["message"]) == ("failed", True)
    assert (sample["status"], sample["repo"], sample["tasks"]) == ("ingested", "local/tinystats", 2)
    before = DatasetLayout(tmp_path / "out").manifest.read_bytes()

    (tmp_path / "list.toml").write_text(f'[[repository]]\nsource = "{SAMPLE}"\nmax_tasks = 3\n')
    again = gymforge(*command, **orchestrator)
    assert again.code == 0, again
    (sample,) = json.loads(again.out)["repositories"]
    assert (sample["status"], sample["seconds"] < 30) == ("unchanged", True)
    assert DatasetLayout(tmp_path / "out").manifest.read_bytes() == before


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_repository_whose_time_is_up_goes_on_in_the_next_run(
    gymforge, orchestrator, finished_validations: Callable[[Path], dict[str, tuple[int, bytes]]], tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(f"source\n{SAMPLE}\n")
    out = tmp_path / "out"
    command = ("refresh", tmp_path / "list.csv", "--out", out, *OPTIONS)
    seen: dict[str, tuple[int, bytes]] = {}
    for hours in ("0.0001", "0.002", "1"):
        ran = gymforge(*command, "--hours", hours, **orchestrator)
        (one,) = json.loads(ran.out)["repositories"]
        found = finished_validations(out)
        assert {name: found[name] for name in seen} == seen, "what was finished is not done again"
        seen = found
        if one["status"] == "ingested":
            break
        assert (ran.code, one["status"]) == (15, "unfinished"), ran
        assert "were up; the next run goes on" in one["message"]
    assert (one["status"], ran.code) == ("ingested", 0)


@pytest.mark.slow
@pytest.mark.sandbox
def test_pages_of_a_run_have_tables_links_pictures_and_a_line_a_stage(
    orchestrator, shared_cache: Path, tmp_path: Path
) -> None:
    """The flow as a worker calls it: nobody listens but the server, which knows runs of other tests too."""
    sample = shutil.copy(SAMPLE, tmp_path)
    (tmp_path / "list.csv").write_text(f"source\n{sample}\n{tmp_path / 'gone'}\n")
    script = (
        "from flows.refresh import refresh\n"
        f"refresh({str(tmp_path / 'list.csv')!r}, out={str(tmp_path / 'out')!r}, sandbox='local', max_tasks=2)\n"
        "import json, time; from prefect.client.orchestration import get_client\n"
        "from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, LogFilter\n"
        "with get_client(sync_client=True) as client:\n"
        f"    here = FlowRunFilter(name={{'like_': {str(tmp_path)!r}}})\n"
        "    runs = {str(run.id): run for run in client.read_flow_runs(flow_run_filter=here)}\n"
        "    of = {'any_': list(runs)}\n"
        "    artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=of))\n"
        "    for _ in range(120):  # logs are sent in batches, when the machine gets to it\n"
        "        logs = sorted(client.read_logs(log_filter=LogFilter(flow_run_id=of)), key=lambda one: one.timestamp)\n"
        "        if any(one.message.startswith('write: ') for one in logs):\n"
        "            break\n"
        "        time.sleep(0.5)\n"
        "    print(json.dumps({\n"
        "        'states': {run.name: run.state_name for run in runs.values()},\n"
        "        'artifacts': [[one.key, one.type] for one in artifacts if one.key],\n"
        "        'logs': [[runs[str(one.flow_run_id)].name, one.message] for one in logs]}))\n"
    )
    variables = orchestrator | {"PREFECT_LOGGING_TO_API_ENABLED": "true", "GYMFORGE_CACHE_DIR": str(shared_cache)}
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["states"] == {
        str(tmp_path / "list.csv"): "CompletedWithFailures",
        sample: "Completed",
        str(tmp_path / "gone"): "Failed",
    }
    assert {tuple(one) for one in found["artifacts"]} == {
        ("gymforge-repositories", "table"),
        ("gymforge-yields", "table"),
        ("gymforge-tasks", "image"),
        ("gymforge-dataset", "markdown"),
    }
    stages = [text.partition(":")[0] for name, text in found["logs"] if name == sample and text.endswith(" s)")]
    assert stages == sorted(set(stages), key=stages.index), "each stage once"
    assert {"acquire", "baseline", "synthesize", "validate", "write"} <= set(stages)


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_list_of_which_nothing_could_be_ingested_is_shown_with_the_reasons(
    gymforge, orchestrator, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(f"source\n{tmp_path}/gone\n{tmp_path}/lost\n")
    command = ("refresh", tmp_path / "list.csv", "--out", tmp_path / "out", "--sandbox", "local")
    ran = gymforge(*command, **orchestrator)
    assert (ran.code, ran.message) == (15, "2 failed. The same command tries again what is not done.\n"), ran
    rows = [line for line in ran.out.splitlines() if "failed" in line]
    assert len(rows) == 3, "two repositories and the sum"
    assert f"{tmp_path}/gone" in rows[0]
    assert " ".join(ran.out.split()).count("there is no such file") == 2, ran.out
    as_json = gymforge(*command, "--json", **orchestrator)
    assert [one["status"] for one in json.loads(as_json.out)["repositories"]] == ["failed", "failed"]


@pytest.mark.slow
@pytest.mark.sandbox
def test_a_dataset_of_what_was_on_a_disk_says_so_for_each_repository(
    gymforge, orchestrator, tmp_path: Path, make_task, write_dataset
) -> None:
    write_dataset(tmp_path / "tasks", make_task())
    ran = gymforge("refresh", tmp_path / "tasks", "--out", tmp_path / "tasks", *OPTIONS, **orchestrator)
    assert ran.code == 15, ran
    (one,) = json.loads(ran.out)["repositories"]
    assert (one["source"], one["status"]) == ("local/x", "failed")
    assert "the dataset does not say where that is" in one["message"]


class Lines:
    def __init__(self) -> None:
        self.said: list[str] = []

    def info(self, text: str, *values: object) -> None:
        self.said.append(text % values)


def test_a_stage_is_one_line_with_its_facts_and_without_their_details() -> None:
    lines = Lines()
    log = RunLog(lines)  # type: ignore[arg-type]
    log.stage("acquire")
    log.fact("a/b at 0123")
    log.fact("  detail")
    log.stage("validate", total=3)
    log.advance()
    log.advance(note="op_change")
    log.close()
    log.close()
    assert [line.rpartition(" (")[0] for line in lines.said] == ["acquire: a/b at 0123", "validate: 2 steps"]


def test_a_picture_holds_every_number_and_shows_names_as_text() -> None:
    import base64

    address = bars({"<a & b>": 3, "c": 0})
    kind, _, content = address.partition(",")
    picture = base64.b64decode(content).decode()
    assert kind == "data:image/svg+xml;base64"
    assert "&lt;a &amp; b&gt;" in picture
    assert picture.count("<rect") == 3
