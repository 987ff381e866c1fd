"""Which folders are ours, who may write, and what the manifest keeps."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import DatasetDamaged, DatasetError, StorageFailed
from schemas.manifest import ShardManifest
from storage.layout import DatasetLayout
from storage.ledger import Ledger
from storage.manifest import (
    add_ingestion,
    committing,
    find_ingestion,
    finished_ingestion,
    open_for_writing,
    read_manifest,
    write_manifest,
)

INPUTS = {"config_hash": "c0", "seed": 0, "sandbox": "local"}


def test_new_folder_is_an_empty_dataset(tmp_path: Path) -> None:
    with open_for_writing(tmp_path / "a" / "b") as layout:
        assert read_manifest(layout).ingestions == ()


def test_foreign_folder_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DatasetError, match=r"thesis\.tex.*Choose an empty or new folder"), open_for_writing(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(DatasetError, match="is a file"), open_for_writing(tmp_path / "out"):
        pass


def test_folder_of_a_first_run_killed_before_its_manifest_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".gymforge.lock").write_text("process 1")
    (tmp_path / ".manifest.json.tmp").write_text("{")
    with open_for_writing(tmp_path) as layout:
        assert read_manifest(layout).ingestions == ()


def test_temporary_manifest_that_is_a_link_is_replaced_and_nothing_is_written_through_it(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.manifest.json.tmp").symlink_to(tmp_path / "victim")
    with open_for_writing(tmp_path / "d") as layout:
        assert read_manifest(layout).ingestions == ()
        assert not layout.manifest.is_symlink()
    assert (tmp_path / "victim").read_text() == "untouched"


def test_reading_a_folder_without_manifest_says_what_next(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is not a gymforge dataset.*gymforge ingest --out"):
        read_manifest(DatasetLayout(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', '{"schema_version": 3}', "\udcff"])
def test_manifest_that_is_not_ours_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DatasetError, match=r"manifest\.json is"), open_for_writing(tmp_path):
        pass


def test_manifest_with_a_missing_field_is_damaged(layout: DatasetLayout) -> None:
    content = json.loads(layout.manifest.read_text())
    del content["ingestions"]
    layout.manifest.write_text(json.dumps(content))
    with pytest.raises(DatasetDamaged, match="damaged"):
        read_manifest(layout)


@pytest.mark.parametrize("path", ["../data/x.parquet", "data/../../x.parquet", "/data/x.parquet", "manifest.json"])
def test_manifest_that_leads_out_of_the_folder_is_damaged(layout: DatasetLayout, make_ingestion, path: str) -> None:
    add_ingestion(layout, make_ingestion())
    content = json.loads(layout.manifest.read_text())
    content["ingestions"][0]["shards"] = [{"path": path, "sha256": "0", "size_bytes": 1, "rows": 1}]
    layout.manifest.write_text(json.dumps(content))
    with pytest.raises(DatasetDamaged, match="path"):
        read_manifest(layout)


def test_folder_in_the_place_of_the_manifest_is_damage(layout: DatasetLayout) -> None:
    layout.manifest.unlink()
    layout.manifest.mkdir()
    with pytest.raises(DatasetDamaged, match="is a folder"):
        read_manifest(layout)


def test_older_schema_names_the_folder_and_the_version_that_wrote_it(layout: DatasetLayout) -> None:
    layout.manifest.write_text('{"schema_version": "0.9", "gymforge_version": "0.0.7", "anything": 1}')
    with pytest.raises(DatasetError, match=rf"{layout.root}.*0\.9.*0\.0\.7.*another folder"):
        read_manifest(layout)


def test_second_writer_of_the_same_is_refused_and_told_who_writes(layout: DatasetLayout) -> None:
    told = rf"something is being written to {layout.root} by process {os.getpid()} on .*Wait"
    with pytest.raises(DatasetError, match=told), open_for_writing(layout.root):
        pass


def test_writer_of_something_else_works_beside_it_and_has_a_folder_of_its_own(layout: DatasetLayout) -> None:
    with open_for_writing(layout.root, writer="b/b") as other:
        assert other.writer("b/b").is_dir()
        assert other.writer("b/b") != layout.writer("")
    assert not other.writer("b/b").exists()
    assert layout.writer("").is_dir()


def test_who_commits_waits_for_another_and_then_gives_up_with_its_name(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.manifest.COMMIT_WAIT_S", 0.2)
    before = time.monotonic()
    with (
        committing(layout),
        pytest.raises(DatasetError, match=rf"{layout.root} is being written to by process {os.getpid()} on .*Wait"),
        committing(layout),
    ):
        pass
    assert time.monotonic() - before >= 0.2


def test_who_commits_goes_on_when_the_other_is_killed(layout: DatasetLayout) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from storage.layout import DatasetLayout; from storage.manifest import committing\n"
        "with committing(DatasetLayout(Path(sys.argv[1]))): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(layout.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        killer = threading.Timer(0.3, process.kill)
        killer.start()
        with committing(layout):
            assert process.wait() == -signal.SIGKILL
        killer.join()


def test_lock_of_a_killed_writer_does_not_stay(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from storage.manifest import open_for_writing\n"
        "with open_for_writing(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "d")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(DatasetError, match=f"process {process.pid} "), open_for_writing(tmp_path / "d"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with open_for_writing(tmp_path / "d") as layout:
        assert read_manifest(layout).ingestions == ()


def test_folder_of_a_killed_writer_is_cleared_by_any_other_and_that_of_a_living_one_is_not(
    layout: DatasetLayout,
) -> None:
    script = (
        "import os, sys; from pathlib import Path; from storage.manifest import open_for_writing\n"
        "with open_for_writing(Path(sys.argv[1]), writer='dead') as layout:\n"
        "    (layout.writer('dead') / 'tree').mkdir(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(layout.root)], check=False).returncode == -signal.SIGKILL
    assert (layout.writer("dead") / "tree").is_dir()
    with open_for_writing(layout.root, writer="third"):
        assert sorted(layout.writers.iterdir()) == sorted([layout.writer(""), layout.writer("third")])


def test_new_dataset_stays_as_long_as_anybody_is_at_work_on_it(tmp_path: Path) -> None:
    with open_for_writing(tmp_path / "d", writer="a") as layout:
        fail_after(tmp_path / "d", lambda _: None)
        assert (layout.manifest.exists(), layout.data.is_dir(), layout.runs.is_dir()) == (True, True, True)
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as layout:
        (layout.data / ".train-x.parquet.tmp").write_text("half")
    with open_for_writing(tmp_path) as layout:
        assert list(layout.data.iterdir()) == []


def test_ingestions_are_sorted_by_repository_and_commit(layout, make_ingestion) -> None:
    for repo, commit in (("b/b", "1" * 40), ("a/a", "2" * 40), ("a/a", "1" * 40)):
        add_ingestion(layout, make_ingestion(repo=repo, commit=commit))
    found = [(one.repo, one.commit[0]) for one in read_manifest(layout).ingestions]
    assert found == [("a/a", "1"), ("a/a", "2"), ("b/b", "1")]


def test_manifest_bytes_do_not_depend_on_the_order_of_ingestions(tmp_path: Path, make_ingestion) -> None:
    ingestions = [make_ingestion(repo=repo, rejected={"b": 1, "a": 2}) for repo in ("a/a", "b/b", "c/c")]
    written = []
    for order in (ingestions, ingestions[::-1]):
        with open_for_writing(tmp_path / str(len(written))) as layout:
            for ingestion in order:
                add_ingestion(layout, ingestion)
            written.append(layout.manifest.read_bytes())
    assert written[0] == written[1]


def test_same_ingestion_again_changes_nothing(layout, make_ingestion) -> None:
    first = add_ingestion(layout, make_ingestion())
    assert add_ingestion(layout, make_ingestion()) == first


def test_same_commit_with_other_content_is_refused(layout, make_ingestion) -> None:
    add_ingestion(layout, make_ingestion())
    with pytest.raises(DatasetError, match=r"already holds acme/tinystats.*these differ: tasks.*choose another folder"):
        add_ingestion(layout, make_ingestion(tasks=3))


def test_finished_ingestion_with_the_same_inputs_is_found(layout, make_ingestion) -> None:
    ingestion = make_ingestion()
    add_ingestion(layout, ingestion)
    assert finished_ingestion(layout, repo=ingestion.repo, commit=ingestion.commit, **INPUTS) == ingestion


@pytest.mark.parametrize("change", [{"config_hash": "c1"}, {"seed": 1}, {"sandbox": "docker"}])
def test_same_commit_with_other_inputs_is_refused_before_any_work(layout, make_ingestion, change) -> None:
    ingestion = make_ingestion()
    add_ingestion(layout, ingestion)
    (name,) = change
    with pytest.raises(DatasetError, match=f"{name} was"):
        finished_ingestion(layout, repo=ingestion.repo, commit=ingestion.commit, **(INPUTS | change))


def test_another_commit_of_the_same_repository_is_not_there(layout, make_ingestion) -> None:
    add_ingestion(layout, make_ingestion())
    assert finished_ingestion(layout, repo="acme/tinystats", commit="f" * 40, **INPUTS) is None
    assert find_ingestion(read_manifest(layout), repo="other/repo", commit="f" * 40) is None


def test_manifest_that_cannot_be_written_leaves_the_old_one(layout: DatasetLayout) -> None:
    before = layout.manifest.read_bytes()
    (layout.root / ".manifest.json.tmp").mkdir()
    with pytest.raises(StorageFailed, match=r"cannot write .*manifest\.json.*run the same command again"):
        write_manifest(layout, ShardManifest(gymforge_version="9", ingestions=()))
    assert layout.manifest.read_bytes() == before


def fail_after(folder: Path, work: Callable[[Ledger], object]) -> None:
    """Open a folder for writing, do something, and end by an error."""

    class Failure(Exception):
        pass

    def run() -> None:
        with open_for_writing(folder) as layout, Ledger.open(layout.ledger, identity="run") as ledger:
            work(ledger)
            raise Failure

    with pytest.raises(Failure):
        run()


def test_new_dataset_in_which_nothing_was_finished_is_taken_away_with_the_folders_made_for_it(tmp_path: Path) -> None:
    fail_after(tmp_path / "a" / "b", lambda ledger: ledger.record_time("acquire", 1.0, at=datetime.now(UTC)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", range(6))
def test_tidying_that_is_interrupted_anywhere_leaves_a_folder_that_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = itertools.count()

    def interrupted(file: Path) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt
        file.unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr("storage.unfinished._unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fail_after(tmp_path, lambda _: None)
    with open_for_writing(tmp_path):
        pass


def test_new_dataset_with_finished_work_in_its_ledger_stays(tmp_path: Path) -> None:
    fail_after(tmp_path / "d", lambda ledger: ledger.put_stage("environment", "built"))
    with open_for_writing(tmp_path / "d") as layout, Ledger.open(layout.ledger, identity="run") as ledger:
        assert ledger.get_stage("environment") == b"built"


def test_empty_folder_of_the_user_stays_empty(tmp_path: Path) -> None:
    fail_after(tmp_path, lambda ledger: None)
    assert list(tmp_path.iterdir()) == []


def test_folder_of_an_older_schema_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema_version": "0.9", "gymforge_version": "0.0.7"}')
    with pytest.raises(DatasetError, match=r"0\.9"), open_for_writing(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]


def test_shard_that_no_manifest_names_goes_when_writing_fails_and_a_strangers_stays(
    tmp_path: Path, make_ingestion
) -> None:
    with open_for_writing(tmp_path / "d") as layout:
        add_ingestion(layout, make_ingestion())
    (layout.data / "mine.parquet").write_bytes(b"of the user")

    def write_half(_ledger: Ledger) -> None:
        with committing(layout):
            (layout.data / "train-new-00000.parquet").write_bytes(b"half")
            (layout.data / ".train-new-00001.parquet.tmp").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_after(tmp_path / "d", write_half)
    assert [path.name for path in layout.data.iterdir()] == ["mine.parquet"]


def test_shards_of_a_killed_run_go_when_another_one_adds_to_the_dataset(layout, make_ingestion) -> None:
    orphan = layout.task_shard("gone/gone", "f" * 40, 0)
    rejected = layout.rejected_shard("gone/gone", "f" * 40, 0)
    for path in (orphan, rejected, layout.data / "mine.parquet"):
        path.write_bytes(b"rows")
    with committing(layout):
        add_ingestion(layout, make_ingestion())
    assert [path.name for path in layout.data.iterdir()] == ["mine.parquet"]
    assert not list(layout.rejected.iterdir())


def test_a_writer_that_leaves_takes_nothing_of_the_one_that_begins_the_same(
    layout: DatasetLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage import unfinished

    seen = []
    cleared = unfinished._unlink

    def begins_now(file: Path) -> None:
        cleared(file)
        with pytest.raises(DatasetError, match="x is being written"), open_for_writing(layout.root, writer="x"):
            pass
        seen.append(file.name)

    with open_for_writing(layout.root, writer="x") as own:
        (own.writer("x") / "left").write_text("x")
        monkeypatch.setattr(unfinished, "_unlink", begins_now)
    assert seen[0] == "left"
    monkeypatch.undo()
    with open_for_writing(layout.root, writer="x") as own:
        assert own.writer_lock("x").exists()


def test_two_processes_never_hold_one_folder_though_its_lock_file_comes_and_goes(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from schemas.errors import DatasetError\n"
        "from storage.lock import locked\n"
        "folder, held = Path(sys.argv[1]), 0\n"
        "while held < 300:\n"
        "    try:\n"
        "        with locked(folder / '.gymforge.lock', held='held by'):\n"
        "            os.close(os.open(folder / 'inside', os.O_CREAT | os.O_EXCL))\n"
        "            (folder / 'inside').unlink(); held += 1\n"
        "    except DatasetError: pass\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
