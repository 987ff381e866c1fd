"""A report's folder: whole or not there, and never in the place of anything else."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import InvalidInput
from storage.durable import refusals_named, require_usable

MARK = "report.json"
"""The file by which a report is known."""
KIND = "gymforge report"
_ENTRIES = frozenset({MARK, "index.html", "tasks.html", "task.html", "assets", "data"})


@contextmanager
def replaced_whole(out: Path) -> Iterator[Path]:
    """A new folder to write a report to, which takes the place of `out` at the end; where that is not reached, `out`
    stays as it was.

    Nothing is flushed: after a power cut, make the report again.

    Raises:
        InvalidInput: `out` is there, and is neither an empty folder nor a report.
        StorageFailed: the file system refuses.
    """
    refuse_foreign(out)
    require_usable(out.parent, instead="name another folder with --out")
    unfinished, old = (out.with_name(f".{out.name}.report-{state}") for state in ("unfinished", "old"))
    with refusals_named(out):
        if old.exists() and not out.exists():
            old.rename(out)  # a run was killed between the two renames below
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            yield unfinished
            refuse_foreign(out)
            _exchange(out, unfinished, old)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _exchange(out: Path, new: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    try:
        new.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def refuse_foreign(out: Path) -> None:
    """See that a report may be written to a folder; changes nothing.

    Raises:
        InvalidInput: it may not.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise InvalidInput(f"{out} is a file. Name a folder with --out.")
    found = {entry.name for entry in out.iterdir()}
    if not found:
        return
    if not _is_report(out):
        raise InvalidInput(f"{out} is there and is not a report. Name another folder with --out.")
    strangers = sorted(found - _ENTRIES)
    if strangers:
        raise InvalidInput(
            f"{out} is a report and holds {strangers[0]}, which is none of its files and would be lost. Move it away, "
            "or name another folder with --out."
        )


def _is_report(folder: Path) -> bool:
    try:
        said = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("kind") == KIND
