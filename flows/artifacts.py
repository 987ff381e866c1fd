"""What a run shows of itself in Prefect's pages: tables, links, pictures, and one line of log a stage."""

from __future__ import annotations

import base64
import html
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.progress import Silence, listener, listening
from schemas.printable import printable

if TYPE_CHECKING:
    from flows.pipeline import IngestResult
    from flows.refresh import RefreshResult

_WIDTH, _ROW, _LABEL = 720, 24, 260


class RunLog:
    """The pipeline's progress as log lines: one a stage, when it is over, with what it found and how long it took."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        self._logger = logger
        self._stage = ""
        self._facts: list[str] = []
        self._steps = 0
        self._began = monotonic()

    def stage(self, name: str, *, total: int | None = None) -> None:
        del total
        self.close()
        self._stage, self._began = name, monotonic()

    def advance(self, *, note: str = "") -> None:
        del note
        self._steps += 1

    def fact(self, text: str) -> None:
        if not text.startswith(" "):  # details of the fact before it
            self._facts.append(printable(text))

    def close(self) -> None:
        """Write down the stage that is under way."""
        if self._stage or self._facts:
            steps = [f"{self._steps} steps"] if self._steps else []
            told = "; ".join([*steps, *self._facts]) or "done"
            self._logger.info("%s: %s (%.1f s)", self._stage or "start", told, monotonic() - self._began)
        self._stage, self._facts, self._steps = "", [], 0


@contextmanager
def run_log() -> Iterator[None]:
    """Inside a flow: what nobody watches on a terminal is written to the run's log."""
    if not isinstance(listener(), Silence):
        yield
        return
    log = RunLog(get_run_logger())
    with listening(log):
        try:
            yield
        finally:
            log.close()


def publish_ingestion(result: IngestResult) -> None:
    """One repository's yields, by strategy and reason, as a table and a picture, and where the dataset is."""
    ingestion = result.ingestion
    told = f"{ingestion.tasks} tasks from {ingestion.repo} at {ingestion.commit[:12]}"
    reasons = sorted({reason for counts in result.yields.values() for reason in counts})
    show_table(
        "gymforge-yields",
        [
            {"strategy": strategy} | {reason: counts.get(reason, 0) for reason in reasons}
            for strategy, counts in result.yields.items()
        ],
        told,
    )
    if result.yields:
        accepted = {strategy: counts.get("accepted", 0) for strategy, counts in result.yields.items()}
        show_bars("gymforge-tasks", accepted, f"{told}, by strategy")
    show_folder("gymforge-dataset", result.out, "The dataset folder")


def publish_refresh(result: RefreshResult) -> None:
    """What became of every repository of a list, as a table and a picture, and where the dataset is."""
    show_table("gymforge-repositories", [one.model_dump(mode="json") for one in result.repositories], result.told)
    tasks = {one.repo: one.tasks for one in result.repositories if one.repo}
    if tasks:
        show_bars("gymforge-tasks", tasks, "Tasks by repository")
    show_folder("gymforge-dataset", result.out, "The dataset folder")


def show_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """A table on the run's page."""
    with _only_shown(key):
        create_table_artifact(key=key, table=[dict(row) for row in rows], description=description)


def show_bars(key: str, counts: Mapping[str, int], description: str) -> None:
    """A picture on the run's page."""
    with _only_shown(key):
        create_image_artifact(key=key, image_url=bars(counts), description=description)


def show_link(key: str, link: str, description: str) -> None:
    """A link on the run's page."""
    with _only_shown(key):
        create_link_artifact(key=key, link=link, description=description)


def show_folder(key: str, folder: Path, description: str) -> None:
    """Where a folder is, on the run's page: its machine and path, for the page is read on other machines."""
    with _only_shown(key):
        text = f"{description} on {platform.node()}: `{folder.resolve()}`"
        create_markdown_artifact(key=key, markdown=text, description=description)


@contextmanager
def _only_shown(key: str) -> Iterator[None]:
    """The work is done: whatever hinders a server from showing it (it is gone, say) is a warning."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - see above
        get_run_logger().warning("%s is not on the run's page: %s: %s", key, type(error).__name__, error)


def bars(counts: Mapping[str, int]) -> str:
    """Numbers as a picture that needs no file: the `data:` address of an SVG with a bar for each."""
    most = max(counts.values(), default=0) or 1
    rows = []
    for number, (name, count) in enumerate(counts.items()):
        width = round((_WIDTH - _LABEL - 60) * count / most)
        middle = number * _ROW + _ROW // 2
        rows.append(
            f'<text x="{_LABEL - 8}" y="{middle + 4}" text-anchor="end">{html.escape(name[:40])}</text>'
            f'<rect x="{_LABEL}" y="{middle - 7}" width="{width}" height="14" fill="#3567b0"/>'
            f'<text x="{_LABEL + width + 6}" y="{middle + 4}">{count}</text>'
        )
    height = len(counts) * _ROW
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>{"".join(rows)}</svg>'
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
