"""The Prefect flow that ingests a list of repositories, each in a run of its own; none that fails stops another."""

import traceback
from collections import Counter
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed

from flows.artifacts import publish_refresh
from flows.ingest import ingest_repository
from flows.options import MOST_HOURS
from flows.pipeline import IngestResult
from flows.progress import listener
from flows.repositories import Repository, read_repositories
from flows.settings import IngestSettings, default_workers
from schemas.errors import GymforgeError, InvalidInput, Unfinished
from schemas.model import Model
from schemas.printable import printable

_HOUR_S = 3600.0


class OutcomeStatus(StrEnum):
    INGESTED = "ingested"
    """Its tasks were added."""
    UNCHANGED = "unchanged"
    """The dataset held this commit already; nothing was done."""
    UNFINISHED = "unfinished"
    """Its time was up; the next run goes on."""
    FAILED = "failed"
    """It cannot be ingested, or not now; `message` says why."""


class RepositoryOutcome(Model):
    source: str
    status: OutcomeStatus
    seconds: float
    repo: str = ""
    """`owner/name`, where it is known."""
    commit: str = ""
    tasks: int = 0
    rejected: int = 0
    message: str = ""


class RefreshResult(Model):
    """What a pass over a list gave."""

    out: Path
    repositories: tuple[RepositoryOutcome, ...]

    @property
    def is_complete(self) -> bool:
        """Whether nothing failed or was left over."""
        done = {OutcomeStatus.INGESTED, OutcomeStatus.UNCHANGED}
        return all(one.status in done for one in self.repositories)

    @property
    def told(self) -> str:
        """In one line: how many of what status."""
        counts = Counter(one.status for one in self.repositories)
        return ", ".join(f"{counts[status]} {status}" for status in OutcomeStatus if counts[status])


class NothingIngested(Unfinished):
    """None of a list's repositories could be ingested."""

    def __init__(self, message: str, result: RefreshResult) -> None:
        super().__init__(message)
        self.result = result
        """What became of each."""


@flow(name="refresh", flow_run_name="{repositories}")
def refresh(
    repositories: str,
    *,
    out: str = "gymforge-data",
    where: str = "",
    sandbox: str = "auto",
    max_tasks: int | None = None,
    workers: int | None = None,
    ray: str | None = None,
    seed: int = 0,
    hours: float | None = None,
) -> Any:
    """Ingest what is new in a list of repositories.

    A commit that the dataset holds costs a look at its source. One repository's failure is written down and stops no
    other; work that was begun and not finished goes on in the next run. Gives a `RefreshResult`.

    Args:
        repositories: see `flows.repositories.read_repositories`.
        out: the dataset's folder.
        where: with a dataset in `repositories`: only repositories of tasks for which this holds.
        sandbox: `auto`, `docker` or `local`.
        max_tasks: of each repository, where the list says nothing else.
        workers: validations at the same time on this machine; never changes the result.
        ray: address of a Ray cluster that validates instead; never changes the result.
        seed: same seed, same shards.
        hours: for each repository, after which the next one's turn comes.

    Raises:
        InvalidInput: the list cannot be read, or `hours` is no time.
        NothingIngested: none of the repositories could be ingested.
    """
    if hours is not None and not 0 < hours <= MOST_HOURS:
        raise InvalidInput(f"hours is {hours}; it is a number of hours up to {MOST_HOURS}.")
    chosen = read_repositories(repositories, where=where)
    workers = workers or default_workers()
    common = {"out": Path(out), "sandbox": sandbox, "workers": workers, "ray": ray, "seed": seed}
    found: list[RepositoryOutcome] = []
    for number, one in enumerate(chosen, start=1):
        _say(f"repository {number} of {len(chosen)}: {one.source}")
        settings = IngestSettings(
            **common,
            source=one.source,
            ref=one.ref,
            max_tasks=one.max_tasks or max_tasks,
            strategies=one.strategies,
            config=one.config,
            only_new=True,
            stop_after_s=None if hours is None else hours * _HOUR_S,
        )
        found.append(_ingest(one, settings))
    result = RefreshResult(out=Path(out), repositories=tuple(found))
    publish_refresh(result)
    failed = [one.source for one in found if one.status is OutcomeStatus.FAILED]
    if len(failed) == len(found):
        told = f"None of {len(found)} repositories could be ingested. The first: {found[0].message}"
        raise NothingIngested(told, result)
    if not failed:
        return Completed(message=result.told, data=result)
    return Completed(name="CompletedWithFailures", message=f"{result.told}: {', '.join(failed)}", data=result)


def _ingest(one: Repository, settings: IngestSettings) -> RepositoryOutcome:
    """One repository's run. The one broad catch: whatever it raises is its own affair, and is written down."""
    started = monotonic()
    status, message = OutcomeStatus.FAILED, ""
    try:
        _refuse_unknown_place(one.source)
        result: IngestResult = ingest_repository(settings)
    except Unfinished as error:
        status, message = OutcomeStatus.UNFINISHED, str(error)
    except GymforgeError as error:
        message = str(error)
    except Exception as error:  # noqa: BLE001 - see above
        message = f"Unforeseen {type(error).__name__}: {error}"
        get_run_logger().error("%s", printable(f"{one.source}: {traceback.format_exc()}"))
    else:
        return RepositoryOutcome(
            source=one.source,
            status=OutcomeStatus.UNCHANGED if result.repeated else OutcomeStatus.INGESTED,
            seconds=round(monotonic() - started, 1),
            repo=result.ingestion.repo,
            commit=result.ingestion.commit,
            tasks=result.ingestion.tasks,
            rejected=sum(result.ingestion.rejected.values()),
        )
    _say(f"{one.source} {status}: {message}")
    return RepositoryOutcome(source=one.source, status=status, seconds=round(monotonic() - started, 1), message=message)


def _refuse_unknown_place(source: str) -> None:
    if source.startswith("local/"):  # as a dataset names what was no URL
        raise InvalidInput(
            "it was ingested from a folder or a file, and the dataset does not say where that is. Name the place in a "
            "list, or give it to `gymforge ingest`."
        )


def _say(text: str) -> None:
    """On the terminal and in the run's log, whichever there is."""
    listener().fact(text)
    get_run_logger().info("%s", printable(text))
