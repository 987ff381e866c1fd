"""Run the ingestion flow from the command line: what Prefect has to be told before it is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import InvalidInput
from storage.durable import require_usable

if TYPE_CHECKING:  # the pipeline is imported with the flow, after Prefect's settings are made
    from flows.pipeline import IngestResult
    from flows.settings import IngestSettings


def run_flow(settings: IngestSettings, *, debug: bool) -> IngestResult:
    """Run the flow on the user's server (`PREFECT_API_URL`), or on one of its own for the time of the run.

    No telemetry in either case.

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
        _require_server(os.environ["PREFECT_API_URL"])
        from flows.ingest import ingest_repository

        return ingest_repository(settings)

    from flows.prefect_server import start_server

    home = settings.cache_dir / "prefect"
    own = os.environ.setdefault("PREFECT_HOME", str(home))
    require_usable(Path(own), instead="name another folder in PREFECT_HOME")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
    with start_server(home) as wait_until_ready:
        from flows.ingest import ingest_repository

        wait_until_ready()
        return ingest_repository(settings)


def _require_server(url: str) -> None:
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidInput(
            f"PREFECT_API_URL is {url}, and no Prefect server answers there ({error}). Start it, correct the address "
            "(it ends with /api), or unset the variable: gymforge starts a server of its own then."
        ) from error
