"""The command line as a user meets it: messages, exit codes, JSON, and what help costs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.cli import main
from flows.pipeline import IngestResult, Pipeline
from flows.settings import IngestSettings
from schemas.tasks import TaskInstance

ROOT = Path(__file__).parents[2]
SAMPLE = str(ROOT / "examples" / "tinystats.bundle")
COMMANDS = (
    "ingest",
    "refresh",
    "deploy",
    "tasks",
    "show",
    "stats",
    "release",
    "card",
    "report",
    "publish",
    "export",
    "train",
    "evaluate-model",
    "verify",
    "doctor",
)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def repository(path: Path, files: dict[str, str]) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], cwd=path, check=True, capture_output=True)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"gymforge {command}" in result.output
    assert "Example" in result.output


def test_the_exit_codes_in_help_are_those_of_the_errors() -> None:
    from schemas import errors

    text = call("--help").output
    found = {
        error.exit_code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "exit_code")
    }
    for code in found:
        assert f"\n    {code} " in text, code


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from flows.cli import main;"
        "assert CliRunner().invoke(main, ['ingest', '--help']).exit_code == 0;"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {
        "prefect",
        "pyarrow",
        "docker",
        "git",
        "swesmith",
        "libcst",
        "pydantic",
        "tree_sitter",
        "pandas",
        "rich",
        "torch",
    }
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["/no/such/path"], 2, "/no/such/path"),
        ([SAMPLE, "--ref", "no-such-ref"], 3, "no-such-ref"),
        ([SAMPLE, "--strategies", "no_such"], 2, "op_change"),
        ([SAMPLE, "--strategies", ","], 2, "--strategies"),
        ([SAMPLE, "--sandbox", "none"], 2, "--sandbox"),
        ([SAMPLE, "--max-tasks", "0"], 2, "--max-tasks"),
        ([SAMPLE, "--config", "/no/such.toml"], 2, "/no/such.toml"),
        (["ftp://example.invalid/x.git"], 2, "ftp"),
    ],
    ids=["no-path", "no-ref", "no-strategy", "empty-strategies", "no-sandbox", "no-tasks", "no-config", "bad-scheme"],
)
def test_bad_input_gives_one_message_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str
) -> None:
    monkeypatch.setenv("GYMFORGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("flows.commands.making.run_ingestion", run_without_prefect)
    result = call(
        "ingest",
        *arguments,
        "--out",
        str(tmp_path / "out"),
        *([] if "--sandbox" in arguments else ["--sandbox", "local"]),
    )
    assert (result.exit_code, says in result.output) == (code, True), result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("out/data/*"))


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({}, 4, "python"),
        ({"README.md": "text"}, 4, "python"),
        ({"pkg/__init__.py": "x = 1\n"}, 4, "test"),
    ],
    ids=["empty-tree", "no-python", "no-tests"],
)
def test_a_repository_that_cannot_be_profiled_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], code: int, says: str
) -> None:
    monkeypatch.setenv("GYMFORGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("flows.commands.making.run_ingestion", run_without_prefect)
    source = repository(tmp_path / "repository", files)
    result = call("ingest", str(source), "--out", str(tmp_path / "out"), "--sandbox", "local")
    assert (result.exit_code, says in result.output) == (code, True), result.output


@pytest.mark.parametrize("command", [["tasks"], ["stats"], ["verify", "--sandbox", "local"]])
def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path, command: list[str]) -> None:
    result = call(*command, str(tmp_path))
    assert result.exit_code == 2
    assert str(tmp_path) in result.output


def run_without_prefect(settings: IngestSettings, *, debug: bool) -> IngestResult:
    """The first steps, where these errors arise; the flow itself is tested end to end elsewhere."""
    del debug
    with Pipeline(settings) as pipeline:
        pipeline.acquire()
    raise AssertionError("the repository was acquired and profiled")


@pytest.fixture(scope="module")
def dataset(
    sample_settings: Callable[..., IngestSettings],
    walk: Callable[[Pipeline], IngestResult],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("cli") / "out"
    walk(Pipeline(sample_settings(out, max_tasks=2, strategies=("op_change", "op_swap"))))
    return out


@pytest.mark.sandbox
@pytest.mark.slow
def test_tasks_show_and_stats_agree(dataset: Path) -> None:
    listed = json.loads(call("tasks", str(dataset), "--json").output)
    assert len(listed) == 2
    for one in listed:
        shown = json.loads(call("show", str(dataset), one["instance_id"], "--json").output)
        assert shown["instance_id"] == one["instance_id"]
        text = call("show", str(dataset), one["instance_id"]).output
        assert shown["plan"]["steps"][0]["description"].split(";")[0] in " ".join(text.split())
        assert "SEARCH" in text
    counted = json.loads(call("stats", str(dataset), "--json").output)
    assert counted["tasks"] == 2
    (repository,) = counted["repositories"]
    assert repository["fast_path"]["audited"] >= 2, "no fewer than the cap"
    said = " ".join(call("stats", str(dataset)).output.split())
    assert "op_change" in said
    assert f"{repository['fast_path']['audited']} candidates audited by whole suites, 0 judged differently" in said


@pytest.mark.sandbox
@pytest.mark.slow
def test_filters_restrict_the_list(dataset: Path) -> None:
    (one,) = json.loads(call("tasks", str(dataset), "--strategy", "op_swap", "--json").output)
    assert one["strategy"] == "op_swap"
    assert json.loads(call("tasks", str(dataset), "--min-complexity", "1", "--json").output) == []


def test_conditions_samples_and_several_datasets_are_for_the_command_line_too(
    tmp_path: Path, make_task: Callable[..., TaskInstance], write_dataset: Callable[[Path, TaskInstance], None]
) -> None:
    folders = [str(tmp_path / name) for name in ("one", "two")]
    for number, folder in enumerate(folders, start=1):
        write_dataset(Path(folder), make_task(number, repo=f"acme/r{number}", strategy=f"s'{number}"))

    def found(*arguments: str) -> list[str]:
        listed = json.loads(call("tasks", *folders, *arguments, "--json").output)
        return [one["strategy"] for one in listed]

    assert found() == ["s'1", "s'2"]
    assert found("--where", "complexity.score > 0.3 AND repo LIKE '%2'") == ["s'2"]
    assert found("--strategy", "s'1", "--domain", "scientific-computing", "--max-complexity", "0.5") == ["s'1"]
    assert found("--where", "repo = 'acme/r1' OR TRUE", "--repo", "acme/r2") == ["s'2"]
    drawn = {tuple(found("--sample", "1", "--seed", str(seed))) for seed in range(12)}
    assert drawn == {("s'1",), ("s'2",)}
    assert found("--sample", "5", "--weight", "CASE WHEN repo = 'acme/r1' THEN 1 ELSE 0 END") == ["s'1"]
    for arguments in (["--where", "nothing = 1"], ["--weight", "1"], ["--sample", "1", "--weight", "repo"]):
        assert call("tasks", *folders, *arguments).exit_code == 2


@pytest.mark.sandbox
@pytest.mark.slow
def test_an_unknown_task_is_named(dataset: Path) -> None:
    result = call("show", str(dataset), "no-such-task")
    assert result.exit_code == 2
    assert "no-such-task" in result.output


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_tampered_shard_fails_verification_with_a_clear_message(dataset: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    (shard,) = copy.glob("data/*.parquet")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    result = call("verify", str(copy), "--sandbox", "local")
    assert result.exit_code == 12
    assert shard.name in result.output


@pytest.mark.sandbox
def test_doctor_names_every_part() -> None:
    parts = {one["name"] for one in json.loads(call("doctor", "--json").output)}
    assert {"git", "docker", "bubblewrap", "cgroups", "disk"} <= parts


@pytest.mark.parametrize("form", ["", " --json"], ids=["text", "json"])
@pytest.mark.parametrize("command", ["tasks", "show", "stats"])
def test_output_into_a_closed_pipe_is_no_error(
    tmp_path: Path,
    make_task: Callable[[], TaskInstance],
    write_dataset: Callable[[Path, TaskInstance], None],
    command: str,
    form: str,
) -> None:
    task = make_task()
    write_dataset(tmp_path / "tasks", task)
    arguments = f"{command} {tmp_path}/tasks {task.instance_id if command == 'show' else ''}{form}"
    # `true` is gone before Python has started: the first write already meets a closed pipe, each time.
    line = f"{sys.executable} -c 'from flows.cli import main; main()' {arguments} | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ
    )
    assert (done.returncode, done.stderr) == (0, "")
