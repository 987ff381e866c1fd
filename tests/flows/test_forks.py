"""A fork and a repository that holds a copied file are known by more than equal bugs: ingested for real, then released."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.pipeline import IngestResult, Pipeline
from flows.release import ReleaseSettings, make_release
from flows.settings import IngestSettings
from task_registry import Registry, load_rejected
from task_registry.gates import GateSettings

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

SAMPLE = Path(__file__).parents[2] / "examples" / "tinystats.bundle"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t.example", "-c", "init.defaultBranch=main")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def forked(tmp_path: Path) -> Path:
    """A fork with a commit of its own in every file, so that no file is as it was."""
    git(tmp_path, "clone", "-q", str(SAMPLE), "yfork")
    for path in (tmp_path / "yfork" / "src").rglob("*.py"):
        path.write_text(f"# Changed here.\n{path.read_text()}")
    git(tmp_path / "yfork", "commit", "-qam", "Go our own way")
    return tmp_path / "yfork"


@pytest.fixture
def vendoring(tmp_path: Path) -> Path:
    """A repository with a history of its own that holds one file of the sample's, under another name, with more empty lines."""
    git(tmp_path, "clone", "-q", str(SAMPLE), "sample")
    sample = tmp_path / "sample"
    root = tmp_path / "zvendor"
    (root / "src" / "own" / "kit").mkdir(parents=True)
    for name in ("own", "own/kit"):
        (root / "src" / name / "__init__.py").touch()
    copied = (sample / "src" / "tinystats" / "checks.py").read_text()
    (root / "src" / "own" / "kit" / "guards.py").write_text(copied + "\n\n")
    (root / "src" / "own" / "more.py").write_text("def larger(a, b):\n    if a > b:\n        return a\n    return b\n")
    (root / "tests").mkdir()
    (root / "tests" / "test_guards.py").write_text(
        "import pytest\nfrom own.kit.guards import check_width\n\ndef test_good():\n    assert check_width(2) == 2\n\n"
        "def test_bad():\n    with pytest.raises(ValueError):\n        check_width(0)\n"
    )
    (root / "tests" / "test_more.py").write_text(
        "from own.more import larger\n\ndef test_first():\n    assert larger(2, 1) == 2\n\n"
        "def test_second():\n    assert larger(1, 2) == 2\n\ndef test_equal():\n    assert larger(3, 3) == 3\n"
    )
    text = (sample / "pyproject.toml").read_text()
    (root / "pyproject.toml").write_text(text.replace("tinystats", "own"))
    for name in ("LICENSE", "README.md"):
        shutil.copy(sample / name, root)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def test_tasks_of_a_fork_and_of_a_copied_file_stay_out(
    forked: Path,
    vendoring: Path,
    tmp_path: Path,
    sample_settings: Callable[..., IngestSettings],
    walk: Callable[[Pipeline], IngestResult],
) -> None:
    out = tmp_path / "tasks"
    config = tmp_path / "only.toml"
    config.write_text('source_files = ["src/tinystats/checks.py"]\n')
    for seed, (source, own) in enumerate(((SAMPLE, config), (forked, config), (vendoring, None))):
        options = {"strategies": None, "max_tasks": None, "config": own}
        walk(Pipeline(sample_settings(out, source=str(source), seed=seed, **options)))
    registry = Registry.open(out)
    roots = {held.ingestion.repo: held.ingestion.root_commits for held in registry.held}
    assert roots["local/tinystats"] == roots["local/yfork"] != roots["local/zvendor"]
    assert all(len(one) == 1 for one in roots.values())
    assert registry.dealt["local/tinystats"] == registry.dealt["local/yfork"]
    tasks = {task.instance_id: task for task in registry.tasks()}
    assert all(task.attribution and task.attribution[0].startswith("Copyright") for task in tasks.values())
    # Near bugs are let pass, so that it is known by what these stay out.
    make_release(ReleaseSettings(datasets=(str(out),), out=tmp_path / "release", gates=GateSettings(near=2)))
    gone = {row.candidate_id: (row.reason, row.detail) for row in load_rejected(tmp_path / "release")}
    found = Counter(
        (task.repo, task.edit_targets[0].path.rpartition("/")[2], gone.get(name, ("", ""))[0])
        for name, task in tasks.items()
    )
    assert set(found) == {
        ("local/tinystats", "checks.py", ""),
        ("local/yfork", "checks.py", "duplicate_fork"),
        ("local/zvendor", "guards.py", "duplicate_copied_file"),
        ("local/zvendor", "more.py", ""),
    }
