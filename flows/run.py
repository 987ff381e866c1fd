"""Run flows from the command line: what Prefect has to be told before it is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from schemas.errors import InvalidInput
from storage.durable import require_usable

if TYPE_CHECKING:  # the pipeline is imported with the flow, after Prefect's settings are made
    from flows.pipeline import IngestResult
    from flows.refresh import RefreshResult
    from flows.settings import IngestSettings

Result = TypeVar("Result")
_ASKS_WHO = (401, 403)
_PREFECT = "3"


def run_ingestion(settings: IngestSettings, *, debug: bool) -> IngestResult:
    """Ingest one repository; raises what the flow does, and what `_run` does."""

    def load() -> Callable[[], IngestResult]:
        from flows.ingest import ingest_repository

        return lambda: ingest_repository(settings)

    return _run(load, cache_dir=settings.cache_dir, debug=debug)


def run_refresh(repositories: str, *, cache_dir: Path, debug: bool, **parameters: Any) -> RefreshResult:
    """Ingest a list of repositories; raises what the flow does, and what `_run` does.

    Where none could be ingested, the result says so, for each with its reason.
    """

    def load() -> Callable[[], RefreshResult]:
        from flows.refresh import NothingIngested, refresh

        def call() -> RefreshResult:
            try:
                return cast("RefreshResult", refresh(repositories, **parameters))
            except NothingIngested as error:
                return error.result

        return call

    return _run(load, cache_dir=cache_dir, debug=debug)


def _run(load: Callable[[], Callable[[], Result]], *, cache_dir: Path, debug: bool) -> Result:
    """Run a flow on the user's server (`PREFECT_API_URL`), or on one of its own for the time of the run.

    `load` imports Prefect and gives the call; a server of our own starts meanwhile. No telemetry in either case.

    Raises:
        InvalidInput: the user's server does not answer.
        StorageFailed: the folder that Prefect writes to cannot be used.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    defaults = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "INFO" if debug else "CRITICAL",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if "PREFECT_API_URL" in os.environ:
        require_server(os.environ["PREFECT_API_URL"])
        return load()()

    from flows.prefect_server import start_server

    home = cache_dir / "prefect"
    own = os.environ.setdefault("PREFECT_HOME", str(home))
    require_usable(Path(own), instead="name another folder in PREFECT_HOME")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
    with start_server(home) as wait_until_ready:
        call = load()
        wait_until_ready()
        return call()


def require_server(url: str) -> None:
    """See that a Prefect server answers there.

    Raises:
        InvalidInput: none does.
    """
    import httpx

    try:
        answer = httpx.get(f"{url.rstrip('/')}/admin/version", timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _no_server(url, str(error)) from error
    if answer.status_code in _ASKS_WHO:  # Prefect's client has the user's key; this question has none
        return
    if not answer.is_success:
        raise _no_server(url, f"but something that answers {answer.status_code}")
    version = re.fullmatch(r'"(\d+)\.[^"]*"', answer.text.strip())
    if version is None:
        raise _no_server(url, "but something else")
    if version[1] != _PREFECT:
        raise InvalidInput(
            f"PREFECT_API_URL is {url}, where a Prefect server {answer.text.strip()} answers; gymforge needs "
            f"{_PREFECT}. Start one of that version, or unset the variable: gymforge starts a server of its own then."
        )


def _no_server(url: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"PREFECT_API_URL is {url}, and no Prefect server answers there ({what}). Start it, correct the address "
        "(it ends with /api), or unset the variable: gymforge starts a server of its own then."
    )
