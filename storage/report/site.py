"""Write a report: pages from templates, their scripts and styles, and the tasks as data, a part at a time."""

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import MissingExtra
from schemas.manifest import ShardManifest
from storage.report.facts import ReportFacts, ReportTask
from storage.report.folder import KIND, MARK, replaced_whole
from storage.report.pack import DataFolder

PAGES = ("index.html", "tasks.html", "task.html")


class Site(NamedTuple):
    """What was written."""

    page: Path
    """To open first."""
    tasks: int
    files: int
    size_bytes: int


def write_report(out: Path, manifest: ShardManifest, facts: ReportFacts, tasks: Iterable[ReportTask]) -> Site:
    """Write the site to a folder that is not there, is empty, or holds an earlier report; the same input gives the same
    bytes.

    `tasks`: those of a repository's commit one after another. They are read once, and about `pack.INDEX_TASKS` rows of
    the gallery, `pack.PART_TASKS` tasks and the test ids of one suite are held at a time.

    Raises:
        InvalidInput: the folder holds something else.
        MissingExtra: a library that reports need is not installed.
        StorageFailed: the file system refuses.
    """
    require_libraries()
    with replaced_whole(out) as folder:
        (folder / "data").mkdir()
        data = DataFolder(folder / "data")
        written = sum(1 for _ in _written(data, tasks))
        data.close()
        _copy_assets(folder / "assets")
        for name, text in _pages(manifest, facts, indexes=data.indexes):
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        mark = {"kind": KIND, "dataset": facts.counts.name, "tasks": written, "made_by": manifest.gymforge_version}
        (folder / MARK).write_text(json.dumps(mark, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Site(out / "index.html", written, len(sizes), sum(sizes))


def require_libraries() -> None:
    """See that what reports are made with is there.

    Raises:
        MissingExtra: it is not.
    """
    try:
        import jinja2  # noqa: F401
        import markdown_it  # noqa: F401
        import pygments.lexers  # noqa: F401
        import unidiff  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"{error.name or error} is not installed. Reports are made with it: pip install 'gymforge[report]'."
        ) from error


def _written(data: DataFolder, tasks: Iterable[ReportTask]) -> Iterator[None]:
    """Write tasks, a repository's commit after the other, as one suite of tests each."""
    from storage.report.task_view import Suite, gallery_row, task_view

    for _, own in groupby(tasks, lambda one: (one.task.repo, one.task.base_commit)):
        suite = Suite()
        for one in own:
            data.add(task_view(one, suite) | {"suite": data.suites}, gallery_row(one))
            yield
        data.suite(suite.names())


def _copy_assets(folder: Path) -> None:
    folder.mkdir()
    for asset in sorted((files("storage.report") / "assets").iterdir(), key=lambda one: one.name):
        (folder / asset.name).write_bytes(asset.read_bytes())


def _pages(manifest: ShardManifest, facts: ReportFacts, *, indexes: int) -> Iterator[tuple[str, str]]:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from storage.report.overview import overview, visible

    pages = Environment(
        loader=PackageLoader("storage.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters["visible"] = visible
    shared: dict[str, Any] = {
        "name": facts.counts.name,
        "version": manifest.gymforge_version,
        "indexes": indexes,
        "total": sum(facts.counts.tasks.values()),
    }
    for name in PAGES:
        more = {"overview": overview(manifest, facts)} if name == "index.html" else {}
        yield name, pages.get_template(name).render(page=name, **shared, **more)
