"""`gymforge train`: from a dataset to a run, and what it says where it cannot."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import hrm.extra
from flows.cli import main
from flows.task_trees import TaskTrees
from schemas.errors import InvalidInput
from schemas.tasks import TaskInstance

ROOT = Path(__file__).parents[2]
BUNDLE = str(ROOT / "examples" / "tinystats.bundle")
CONFIG = """
[model]
vocab_size = 600
hidden_size = 32
heads = 2
high_layers = 1
low_layers = 1
[train]
length = 512
rows = 2
save_every = 2
[layout]
max_tokens = 512
issue_tokens = 16
window_lines = 12
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments])


@pytest.fixture
def dataset(
    tmp_path: Path,
    make_task: Callable[..., TaskInstance],
    write_dataset: Callable[[Path, TaskInstance], None],
) -> Path:
    """One task of the sample repository: a line of its own is what was replaced."""
    folder = tmp_path / "tasks"
    write_dataset(folder, sample_task(make_task, tmp_path))
    (tmp_path / "config.toml").write_text(CONFIG)
    return folder


def sample_task(make_task: Callable[..., TaskInstance], scratch: Path, **changes: object) -> TaskInstance:
    from extractors.acquire import acquire
    from extractors.diff import make_patch

    checkout = acquire(BUNDLE, ref=None, cache_dir=scratch / "cache", destination=scratch / "sample")
    path = "src/tinystats/series.py"
    clean = (checkout.path / path).read_text()
    (line,) = [line for line in clean.splitlines(keepends=True) if line.startswith("def ")][:1]
    bugged = clean.replace(line, "# gone\n", 1)
    edit = make_task().edit_targets[0].model_dump() | {"path": path, "search": "# gone\n", "replace": line}
    return make_task(
        repo="local/tinystats",
        base_commit=checkout.ref.commit,
        instance_id=f"local__tinystats.{checkout.ref.commit[:8]}.op_change__0000000000",
        bug_patch=make_patch(path, clean.encode(), bugged.encode()),
        edit_targets=[edit],
        provenance=make_task().provenance.model_dump() | {"url": "local/tinystats"},
        **changes,
    )


def test_files_are_as_the_tasks_tree_has_them(
    dataset: Path, tmp_path: Path, make_task: Callable[..., TaskInstance]
) -> None:
    task = sample_task(make_task, tmp_path / "again")
    with TaskTrees(sources=[BUNDLE], cache_dir=tmp_path / "cache") as trees:
        ((path, text),) = trees.files(task).items()
    assert path == task.edit_targets[0].path
    assert text.count("# gone\n") == 1
    assert task.edit_targets[0].replace not in text
    with (
        TaskTrees(sources=[], cache_dir=tmp_path / "cache") as trees,
        pytest.raises(InvalidInput, match="--source"),
    ):
        trees.files(task)


def test_a_dataset_becomes_a_run_that_goes_on_only_when_asked_to(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")
    monkeypatch.setenv("GYMFORGE_CACHE_DIR", str(tmp_path / "cache"))
    run = tmp_path / "run"
    given = [str(dataset), "--source", BUNDLE, "--config", str(tmp_path / "config.toml"), "--out", str(run)]
    result = call(*given, "--max-steps", "3")
    assert result.exit_code == 0, result.output
    assert "step 1  loss" in result.output
    assert (run / "curves.png").is_file()
    again = call(*given, "--max-steps", "3")
    assert again.exit_code == 2
    assert "--resume" in again.output
    resumed = call(*given, "--max-steps", "3", "--resume", "--json")
    assert json.loads(resumed.stdout)["steps"] == 3
    other = call(*given, "--max-steps", "4", "--resume")
    assert other.exit_code == 2
    assert "train.steps" in other.output


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_with_what_is_asked_now(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")
    monkeypatch.setenv("GYMFORGE_CACHE_DIR", str(tmp_path / "cache"))
    run, config = tmp_path / "run", tmp_path / "config.toml"
    given = [str(dataset), "--source", BUNDLE, "--config", str(config), "--out", str(run), "--max-steps", "1", "--json"]
    assert json.loads(call(*given).stdout)["examples"] == 6
    shutil.rmtree(run / "checkpoints")
    config.write_text(CONFIG + "windows = 2\n")
    assert json.loads(call(*given).stdout)["examples"] == 2


def test_a_run_goes_on_with_the_tasks_that_it_was_begun_with(
    dataset: Path,
    tmp_path: Path,
    make_task: Callable[..., TaskInstance],
    write_dataset: Callable[[Path, TaskInstance], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")
    monkeypatch.setenv("GYMFORGE_CACHE_DIR", str(tmp_path / "cache"))
    other = tmp_path / "other"
    write_dataset(other, sample_task(make_task, tmp_path / "again", problem_statement="It is broken."))
    given = ["--source", BUNDLE, "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run"), "--resume"]
    begun = [str(dataset), "--where", "language = 'python'", "--weight", "2 * 0.75", "--max-steps", "1"]
    result = call(*begun, *given)
    assert result.exit_code == 0, result.output
    examples = tmp_path / "run" / "examples"
    assert set(pq.read_table(examples / "examples-00000.parquet")["weight"].to_pylist()) == {1.5}
    result = call(*begun, *given)
    assert result.exit_code == 0, result.output
    none = [*begun[:4], "CASE WHEN language = 'go' THEN 1 ELSE 0 END"]
    result = call(*none, *given[:-2], str(tmp_path / "none"))
    assert "holds no example to learn from (there was no task)" in result.output
    for changed, named in (
        ({0: str(other)}, "tasks"),
        ({2: "language = 'go'"}, "where"),
        ({4: "1"}, "weight"),
    ):
        asked = [changed.get(number, one) for number, one in enumerate(begun)]
        result = call(*asked, *given)
        assert (result.exit_code, f"other {named}:" in result.output) == (2, True), result.output
    result = call(str(examples), *given)
    assert result.exit_code == 2
    assert "train.steps" in result.output  # the folder itself goes on, and so do its settings
    assert call(str(examples), "--max-steps", "1", *given).exit_code == 0
    result = call(str(examples), "--where", "language = 'python'", *given)
    assert result.exit_code == 2
    assert "nothing to choose" in result.output


@pytest.mark.slow
def test_two_processes_of_torchrun_train_one_model(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")
    tools, run = Path(sys.executable).parent, tmp_path / "run"
    command = [tools / "torchrun", "--no-python", "--nproc-per-node", "2", tools / "gymforge", "train", dataset]
    command += ["--source", BUNDLE, "--config", tmp_path / "config.toml", "--out", run, "--max-steps", "3", "--json"]
    environment = os.environ | {"GYMFORGE_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment |= {"CUDA_VISIBLE_DEVICES": ""}  # two processes want two GPUs
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    assert [row["step"] for row in rows] == [1, 2, 3]
    # More than the two rows of 512 cells that one of them has.
    assert all(row["tokens"] > 2 * 512 for row in rows)


def test_without_torch_it_says_what_to_install(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hrm.extra, "find_spec", lambda _: None)
    result = call(str(dataset), "--out", str(tmp_path / "run"))
    assert result.exit_code == 10
    assert "pip install 'gymforge[train]'" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "huge"], "tiny, small, base"),
        (["--config", "/no/such.toml"], "/no/such.toml"),
        (["--config", "wrong.toml"], "train.stepz"),
        (["--config", "broken.toml"], "no TOML"),
    ],
)
def test_wrong_settings_are_named(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text("[train]\nstepz = 3\n")
    Path("broken.toml").write_text("[train\n")
    result = call(str(dataset), "--out", str(tmp_path / "run"), *arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert not (tmp_path / "run").exists()
