"""`gymforge report`: what it counts, the bytes it writes, and what it refuses."""

import base64
import json
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from extractors.diff import make_patch
from flows.cli import main
from flows.release import ReleaseSettings, make_release
from flows.report import make_report, report_facts
from flows.run_record import RunRecord
from schemas.errors import InvalidInput, MissingExtra
from schemas.manifest import ShardManifest
from schemas.tasks import RejectedCandidate, TaskInstance
from storage.content import seal
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest, write_manifest
from storage.report import pack
from task_registry.splits import Splits

MakeTask = Callable[..., TaskInstance]
FillDataset = Callable[..., Path]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REASONS = (
    ("synthesis", "duplicate"),
    ("validation", "no_test_failed"),
    ("validation", "no_test_failed"),
    ("finish", "issue_leaks"),
)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def rejections() -> list[RejectedCandidate]:
    return [
        RejectedCandidate(
            repo="acme/tinystats",
            base_commit=COMMIT,
            candidate_id=f"acme__tinystats.01234567.op_swap__{number:010x}",
            strategy="op_swap",
            path="s.py",
            entity="f",
            stage=stage,
            reason=reason,
            detail="",
            bug_patch="",
        )
        for number, (stage, reason) in enumerate(REASONS)
    ]


@pytest.fixture
def dataset(tmp_path: Path, make_task: MakeTask, fill_dataset: FillDataset) -> Path:
    """Three tasks of one repository, four rejected candidates, and the record of the run."""
    patch = make_patch("s.py", b"a > b\n", b"a < b\n")
    folder = fill_dataset(tmp_path / "tiny", [make_task(n, patch=patch) for n in range(3)], rejections())
    record = RunRecord(
        repo="acme/tinystats",
        commit=COMMIT,
        finished_at="2026-01-01T00:00:00+00:00",
        seconds=12.0,
        stages_s={"validate": 10.0, "baseline": 2.0},
        executions=3,
        peak_memory_bytes=1,
        workers=2,
        dependency_mode="newest",
    )
    (folder / "runs" / "acme.json").write_text(record.model_dump_json())
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def data(site: Path, name: str) -> Any:
    """The content of a data script, read as the page's script reads it."""
    said = re.fullmatch(
        r'gymforge\.receive\("(.+?)", "([A-Za-z0-9+/=]+)"\);\n', (site / "data" / f"{name}.js").read_text()
    )
    assert said is not None
    assert said[1] == name
    return json.loads(zlib.decompress(base64.b64decode(said[2])))


def test_the_command_says_where_the_page_is_and_the_dataset_stays_one(dataset: Path) -> None:
    before = contents(dataset)
    result = call("report", str(dataset))
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(dataset / "report" / "index.html")
    after = contents(dataset)
    assert {name: after[name] for name in before} == before
    assert open_for_reading(dataset)


def test_json_tells_what_was_written(dataset: Path, tmp_path: Path) -> None:
    said = json.loads(call("report", str(dataset), "--out", str(tmp_path / "site"), "--json").output)
    written = contents(tmp_path / "site")
    assert said == {
        "page": str(tmp_path / "site" / "index.html"),
        "tasks": 3,
        "files": len(written),
        "size_bytes": sum(map(len, written.values())),
    }


def test_the_same_dataset_gives_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    make_report(dataset, out=tmp_path / "one")
    make_report(dataset, out=tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_facts_are_counted_from_rows_manifest_and_records(dataset: Path) -> None:
    facts = report_facts(DatasetLayout(dataset), name="tiny")
    assert facts.lost == {
        "synthesis": {"duplicate": 1},
        "validation": {"no_test_failed": 2},
        "finish": {"issue_leaks": 1},
    }
    assert facts.tried == {"op_change": 3, "op_swap": 4}
    assert facts.times is not None
    assert list(facts.times.stages_s.items()) == [("baseline", 2.0), ("validate", 10.0)]


def test_the_overview_shows_the_counts(dataset: Path) -> None:
    make_report(dataset)
    text = (dataset / "report" / "index.html").read_text()
    assert re.search(r"<strong>3</strong> validated tasks", text)
    assert re.search(r"<b>7</b> rewrites tried", text)
    assert "\u22121 not a usable change" in text
    assert "of 7 rewrites became tasks" in text
    for plot in (
        "Stages of a run",
        "Strategies",
        "Labels",
        "Languages",
        "Stages of a curriculum",
        "Not proven by the tests",
    ):
        assert re.search(rf"<caption[^>]*>{plot}</caption>", text), plot


def test_data_holds_every_task_once_and_says_where(
    tmp_path: Path, make_task: MakeTask, fill_dataset: FillDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "PART_TASKS", 4)
    monkeypatch.setattr(pack, "INDEX_TASKS", 5)
    tasks = [
        make_task(n, repo=repo, base_commit=commit, instance_id=f"{repo.replace('/', '__')}.{commit[:8]}.op__{n:010x}", PASS_TO_PASS=("t::a", f"t::{n}"))
        for repo, commit in (("acme/b", "b" * 40), ("acme/a", "a" * 40))
        for n in range(7)
    ]  # fmt: skip
    site = tmp_path / "site"
    made = make_report(fill_dataset(tmp_path / "d", tasks), out=site)
    assert made.tasks == 14
    parts = data(site, "parts")
    views = [data(site, f"tasks-{number:05d}") for number in range(len(parts))]
    assert [len(part) for part in views] == [4, 4, 4, 2]
    for (first, last), part in zip(parts, views, strict=True):
        assert (first, last) == (min(view["id"] for view in part), max(view["id"] for view in part))
    shown = [view for part in views for view in part]
    assert sorted(view["id"] for view in shown) == sorted(task.instance_id for task in tasks)
    by_id = {task.instance_id: task for task in tasks}
    for view in shown:
        suite = data(site, f"suite-{view['suite']:05d}")
        found = [test for start, end in view["passing"] for test in suite[start:end]]
        assert sorted(found) == sorted(by_id[view["id"]].PASS_TO_PASS)
    rows = [data(site, f"index-{number:05d}") for number in range(3)]
    assert [name for one in rows for name in one["id"]] == [view["id"] for view in shown]
    assert 'data-indexes="3" data-tasks="14"' in (site / "tasks.html").read_text()


def test_a_release_tells_of_its_splits_and_gates(
    tmp_path: Path, make_task: MakeTask, fill_dataset: FillDataset
) -> None:
    repos = [f"acme/r{n}" for n in range(6)]
    tasks = [
        make_task(n, repo=repo, base_commit=f"{n:08x}" * 5, instance_id=f"acme__r{n}.{n:08x}.op_change__{n:010x}", license_spdx="GPL-3.0-only" if n == 0 else "MIT")
        for n, repo in enumerate(repos)
    ]  # fmt: skip
    splits = Splits(shares={"train": 0.5, "test": 0.5})
    make_release(
        ReleaseSettings(datasets=(str(fill_dataset(tmp_path / "d", tasks)),), out=tmp_path / "r", splits=splits)
    )
    make_report(tmp_path / "r")
    text = (tmp_path / "r" / "report" / "index.html").read_text()
    assert "\u22121 kept out by a gate" in text
    assert "licence: not allowed" in text
    assert "Gates of the release" in text
    (part,) = (data(tmp_path / "r" / "report", "index-00000"),)
    assert part["split"] == [splits.split_of(repo) for repo in part["repo"]]
    assert open_for_reading(tmp_path / "r")
    assert read_manifest(DatasetLayout(tmp_path / "r")).release is not None


def test_a_dataset_without_tasks_has_a_report(tmp_path: Path, fill_dataset: FillDataset) -> None:
    make_report(fill_dataset(tmp_path / "empty", [], rejections()))
    text = (tmp_path / "empty" / "report" / "index.html").read_text()
    assert "This dataset has no task" in text
    assert "no test failed" in text
    assert data(tmp_path / "empty" / "report", "parts") == []
    (tmp_path / "nothing").mkdir()
    write_manifest(DatasetLayout(tmp_path / "nothing"), ShardManifest(gymforge_version="0", ingestions=()))
    make_report(tmp_path / "nothing")
    assert "Nothing was rejected" in (tmp_path / "nothing" / "report" / "index.html").read_text()


def test_markup_in_names_is_text_in_the_overview(
    tmp_path: Path, make_task: MakeTask, fill_dataset: FillDataset
) -> None:
    mark = "</title><script>alert(1)<.script>\u202e"
    task = make_task(0, strategy=mark, problem_statement=mark)
    make_report(fill_dataset(tmp_path / "<img src=x>", [seal(task)]))
    text = (tmp_path / "<img src=x>" / "report" / "index.html").read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_folder_of_somebody_else_is_refused_before_anything_is_read(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    with pytest.raises(InvalidInput, match="not a report"):
        make_report(dataset, out=tmp_path / "mine")
    with pytest.raises(InvalidInput, match="not a report"):
        make_report(dataset, out=dataset)
    assert (tmp_path / "mine" / "index.html").read_text() == "mine"
    assert call("report", str(dataset), "--out", str(tmp_path / "mine")).exit_code == 2


@pytest.mark.parametrize("module", ["jinja2", "pygments.lexers", "markdown_it", "unidiff"])
def test_what_is_not_installed_is_named(dataset: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'gymforge\[report\]'"):
        make_report(dataset)
    assert not (dataset / "report").exists()
