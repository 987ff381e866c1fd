"""A report takes the place of an earlier one or of nothing, whole or not at all."""

import json
from pathlib import Path

import pytest

from schemas.errors import InvalidInput, StorageFailed
from storage.report.folder import KIND, MARK, replaced_whole


def write(out: Path, text: str) -> None:
    with replaced_whole(out) as folder:
        (folder / MARK).write_text(json.dumps({"kind": KIND}))
        (folder / "index.html").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_report_replaces_an_earlier_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write(tmp_path / "made" / "report", text)
    assert (tmp_path / "made" / "report" / "index.html").read_text() == "second"
    assert names(tmp_path) == ["made", "made/report", "made/report/index.html", "made/report/report.json"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    write(tmp_path / "report", "x")
    assert (tmp_path / "report" / "index.html").read_text() == "x"


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {MARK: "{}"}, {MARK: "[1]"}, {MARK: "no JSON"}])
def test_a_folder_of_somebody_else_is_refused_and_unchanged(tmp_path: Path, content: dict[str, str]) -> None:
    out = tmp_path / "report"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    with pytest.raises(InvalidInput, match="not a report"):
        write(out, "x")
    assert names(tmp_path) == ["report", *(f"report/{name}" for name in content)]


def test_a_report_with_a_stranger_in_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "report", "x")
    (tmp_path / "report" / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"notes\.txt"):
        write(tmp_path / "report", "y")
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(InvalidInput, match="is a file"):
        write(tmp_path / "report", "x")
    assert (tmp_path / "report").read_text() == "mine"


def test_a_report_that_is_not_finished_leaves_the_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "report", "first")

    def fail() -> None:
        with replaced_whole(tmp_path / "report") as folder:
            (folder / "index.html").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "report" / "index.html").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_run_that_was_killed_between_the_two_renames_lost_nothing(tmp_path: Path) -> None:
    write(tmp_path / "report", "first")
    (tmp_path / "report").rename(tmp_path / ".report.report-old")

    def fail() -> None:
        with replaced_whole(tmp_path / "report"):
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageFailed, match="No space"):
        fail()
    assert (tmp_path / "report" / "index.html").read_text() == "first"
