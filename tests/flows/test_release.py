"""`gymforge release`: what passes the gates, in files that never change, or no folder at all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flows.card import make_card
from flows.cli import main
from flows.release import ReleaseSettings, make_release
from schemas.errors import DatasetError, GymforgeError, InvalidInput
from schemas.health import HealthCheck
from schemas.tasks import TaskInstance
from storage.health import add_health
from storage.layout import DatasetLayout
from storage.lock import locked
from storage.manifest import open_for_reading, read_manifest, write_manifest
from task_registry import Registry, load_rejected, load_tasks, summarize_tasks
from task_registry.splits import Splits

MakeTask = Callable[..., TaskInstance]
WriteDataset = Callable[[Path, TaskInstance], None]
HALVES = Splits(shares={"train": 0.5, "test": 0.5})


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def folders(tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset) -> list[str]:
    """A dataset for each of six repositories; the last has the bug of the first, the fifth another licence."""
    found = []
    for number in range(6):
        bug = make_task(0 if number == 5 else number).bug_patch
        commit = f"{number:08x}" * 5
        task = make_task(
            number,
            repo=f"acme/r{number}",
            base_commit=commit,
            instance_id=f"acme__r{number}.{commit[:8]}.op_change__{number:010x}",
            bug_patch=bug,
            license_spdx="GPL-3.0-only" if number == 4 else "MIT",
            problem_statement=f"What number {number} says of it is {'very ' * number}wrong.",
        )
        write_dataset(tmp_path / f"d{number}", task)
        found.append(str(tmp_path / f"d{number}"))
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_release_is_a_dataset_of_what_passes(tmp_path: Path, folders: list[str]) -> None:
    out = tmp_path / "release"
    manifest = make_release(ReleaseSettings(datasets=tuple(folders), out=out, splits=HALVES))
    release = manifest.release
    assert release is not None
    assert release.dropped == {
        "licence": {"not_allowed": 1},
        "duplicate": {"copied_bug": 1},
        "secret": {},
        "personal_data": {},
    }
    assert release.not_checked == {
        "contamination": "no benchmark's list was named",
        "health": "no task has been run again since it was made",
    }
    assert sum(release.tasks.values()) == 4
    assert open_for_reading(out).root == out
    assert read_manifest(open_for_reading(out)) == manifest
    tasks = list(load_tasks(out))
    assert {task.repo for task in tasks} == {f"acme/r{number}" for number in range(4)}
    assert tasks == sorted(tasks, key=lambda task: (HALVES.split_of(task.repo), task.instance_id))
    registry = Registry.open(out)
    assert {one.split for one in registry.summaries()} <= {"train", "test"}
    for shard in release.shards:
        assert registry.ids(f"split = '{shard.split}'")[0] == shard.first_id
    assert registry.get(tasks[0].instance_id) == tasks[0]
    assert list(registry.tasks()) == tasks
    out_of_it = {row.repo: (row.stage, row.reason, row.detail) for row in load_rejected(out)}
    assert out_of_it["acme/r4"] == ("release", "licence_not_allowed", "GPL-3.0-only")
    assert out_of_it["acme/r5"][1] == "duplicate_copied_bug"
    assert [ingestion.tasks for ingestion in manifest.ingestions] == [1, 1, 1, 1, 0, 0]


def test_the_same_datasets_give_the_same_bytes_in_any_order(tmp_path: Path, folders: list[str]) -> None:
    for name, datasets in (("one", folders), ("two", folders[::-1])):
        make_release(ReleaseSettings(datasets=tuple(datasets), out=tmp_path / name))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_release_is_never_changed_nor_released_again(tmp_path: Path, folders: list[str]) -> None:
    out = tmp_path / "release"
    make_release(ReleaseSettings(datasets=tuple(folders), out=out))
    before = contents(out)
    with pytest.raises(InvalidInput, match="is there already, and releases are never changed"):
        make_release(ReleaseSettings(datasets=tuple(folders), out=out))
    with pytest.raises(DatasetError, match="is a release already"):
        make_release(ReleaseSettings(datasets=(str(out),), out=tmp_path / "again"))
    from storage.manifest import open_for_writing

    with pytest.raises(DatasetError, match="is a release, to which nothing is added"), open_for_writing(out):
        pass
    assert contents(out) == before
    assert not (tmp_path / "again").exists()


def test_two_processes_do_not_make_one_release(tmp_path: Path, folders: list[str]) -> None:
    with (
        locked(tmp_path / ".release.lock", held="it is being made by"),
        pytest.raises(DatasetError, match="being made"),
    ):
        make_release(ReleaseSettings(datasets=tuple(folders), out=tmp_path / "release"))
    assert {path.name for path in tmp_path.iterdir()} == {Path(one).name for one in folders}


def test_a_release_that_fails_leaves_nothing(
    tmp_path: Path, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.release

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(flows.release, "write_manifest", fail)
    with pytest.raises(GymforgeError, match="No space left on device"):
        make_release(ReleaseSettings(datasets=tuple(folders), out=tmp_path / "release"))
    assert {path.name for path in tmp_path.iterdir()} == {Path(one).name for one in folders}


@pytest.mark.slow
def test_a_release_that_is_killed_is_none_and_begins_anew(tmp_path: Path, folders: list[str]) -> None:
    out = tmp_path / "release"
    command = [
        sys.executable,
        "-c",
        "from flows.entry import main; main()",
        "release",
        *folders,
        "--out",
        str(out),
        "--health",
        "0",
    ]
    for delay_s in (0.3, 1.2, 1.6, 2.0, 2.4):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(delay_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if out.exists():
            break
    if not out.exists():
        subprocess.run(command, check=True, capture_output=True)
    make_release(ReleaseSettings(datasets=tuple(folders), out=tmp_path / "other"))
    assert contents(out) == contents(tmp_path / "other")


def test_the_command_says_what_it_did(tmp_path: Path, folders: list[str]) -> None:
    out = tmp_path / "release"
    said = call("release", *folders, "--health", "0", "--out", str(out), "--split", "train=0.5", "--split", "test=0.5")
    assert said.exit_code == 0, said.output
    assert "4 tasks in" in said.output
    assert "licence: 1 not_allowed" in said.output
    assert "contamination: not checked, no benchmark's list was named" in said.output
    again = call(
        "release",
        *folders,
        "--health",
        "0",
        "--out",
        str(tmp_path / "all"),
        "--licence",
        "MIT",
        "--licence",
        "GPL-3.0-only",
        "--near",
        "2",
        "--json",
    )
    assert sum(json.loads(again.output)["tasks"].values()) == 5
    (tmp_path / "bench.csv").write_text("repo,patch\nAcme/R1,x\n")
    checked = call(
        "release",
        *folders,
        "--health",
        "0",
        "--out",
        str(tmp_path / "checked"),
        "--benchmark",
        str(tmp_path / "bench.csv"),
    )
    assert "contamination: 1 repository" in checked.output
    listed = call("tasks", str(out), "--where", "split = 'train'", "--json")
    assert {one["split"] for one in json.loads(listed.output)} <= {"train"}
    assert "4 tasks" in call("stats", str(out)).output


def test_a_task_that_did_not_hold_stays_out_for_good_and_the_release_tells_of_its_history(
    tmp_path: Path, folders: list[str], make_task: MakeTask
) -> None:
    (first,) = load_tasks(folders[0])
    (second,) = load_tasks(folders[1])
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]

    def check(task: TaskInstance, day: datetime, *against: str) -> HealthCheck:
        return HealthCheck(
            instance_id=task.instance_id, checked_at=day, sandbox="local", gymforge_version="1", disagreements=against
        )

    add_health(DatasetLayout(Path(folders[0])), [check(first, days[0]), check(first, days[1], "t::a passed")])
    add_health(DatasetLayout(Path(folders[0])), [check(first, days[2])])
    add_health(DatasetLayout(Path(folders[1])), [check(second, days[0])])
    out = tmp_path / "release"
    release = make_release(ReleaseSettings(datasets=tuple(folders), out=out)).release
    assert release is not None
    assert (release.checked, release.dropped["health"]) == (2, {"flaky": 1})
    assert "health" not in release.not_checked
    (row,) = [row for row in load_rejected(out) if row.candidate_id == first.instance_id]
    assert row.reason == "health_flaky"
    assert row.detail == "1 of 3 checks speak against it, last on 2026-03-02: t::a passed"
    assert second.instance_id in {task.instance_id for task in load_tasks(out)}
    health = {
        "accepted": 6,
        "checked": 2,
        "quarantined": 1,
        "last_checked_at": "2026-03-03T00:00:00Z",
        "rejected_later": 0.5,
    }
    told = "1 of 2 tasks that were run again were rejected later: 50.0%, and less than 5% is the target"
    counted = json.loads(call("stats", str(out), "--json").output)
    assert counted["health"] == health
    assert counted["gates"]["health"] == {"flaky": 1}
    assert counted["not_checked"] == {"contamination": "no benchmark's list was named"}
    said = call("stats", str(out)).output
    assert f"health: {told} (6 tasks were accepted, last on 2026-03-03)" in said
    assert "gate health: 1 flaky" in said
    assert "gate contamination: not checked, no benchmark's list was named" in said
    assert f"## Health\n\n{told}" in make_card(out).read_text()
    plain = json.loads(call("stats", folders[0], "--json").output)
    assert plain["health"] == health | {"accepted": 1, "checked": 1, "rejected_later": 1.0}
    assert (plain["gates"], plain["splits"], plain["not_checked"]) == ({}, {}, {})


def test_a_release_is_counted_as_it_was_dealt_and_made(tmp_path: Path, folders: list[str]) -> None:
    layout = DatasetLayout(Path(folders[0]))
    manifest = read_manifest(layout)
    (one,) = manifest.ingestions
    tried = one.model_copy(update={"rejected": {"no_test_failed": 7}})
    write_manifest(layout, manifest.model_copy(update={"ingestions": (tried,)}))
    out = tmp_path / "release"
    splits = Splits(shares={"easy": 0.5, "hard": 0.5}, seed=3)
    make_release(ReleaseSettings(datasets=tuple(folders), out=out, splits=splits))
    dealt = {task.instance_id: splits.split_of(task.repo) for task in load_tasks(out)}
    assert set(dealt.values()) == {"easy", "hard"}
    assert {task.instance_id: task.split for task in summarize_tasks(out)} == dealt
    listed = json.loads(call("tasks", str(out), "--json").output)
    assert {task["instance_id"]: task["split"] for task in listed} == dealt
    counted = json.loads(call("stats", str(out), "--json").output)
    assert counted["splits"] == dict(Counter(dealt.values()))
    assert counted["rejected"] == {"no_test_failed": 7}
    assert sum(one["rejected"] for one in counted["repositories"]) == 7


def test_a_release_of_what_was_never_run_again_says_so(tmp_path: Path, folders: list[str]) -> None:
    release = make_release(ReleaseSettings(datasets=(folders[1],), out=tmp_path / "release")).release
    assert release is not None
    assert release.not_checked["health"] == "no task has been run again since it was made"
    assert release.checked == 0
    told = "None of 1 tasks has been run again since it was made"
    assert f"## Health\n\n{told}" in make_card(tmp_path / "release").read_text()


def test_health_of_a_dataset_behind_a_url_cannot_be_checked(tmp_path: Path) -> None:
    refused = call("release", "memory://tasks", "--out", str(tmp_path / "release"))
    assert refused.exit_code == 2
    assert "cannot be run again there. Say --health 0." in refused.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--split", "train"],
        ["--split", "train=0.5"],
        ["--split", "train=2", "--split", "test=-1"],
        ["--split", "tr/ain=1"],
        ["--split", "train=nan"],
    ],
)
def test_bad_options_are_one_clear_error(tmp_path: Path, folders: list[str], arguments: list[str]) -> None:
    refused = call("release", folders[0], "--out", str(tmp_path / "release"), *arguments)
    assert refused.exit_code == 2
    assert refused.output.startswith("gymforge: --split")
    assert not (tmp_path / "release").exists()
