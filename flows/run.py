"""Run the ingestion flow from the command line: what Prefect has to be told before it is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the pipeline is imported with the flow, after Prefect's settings are made
    from flows.pipeline import IngestResult
    from flows.settings import IngestSettings


def prepare_prefect(cache_dir: Path, *, debug: bool) -> None:
    """Set what Prefect reads when it is imported: no telemetry, quiet, its database in the cache folder.

    A server of the user's (`PREFECT_API_URL`) or a home of theirs is left alone.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    defaults = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "INFO" if debug else "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "true" if "PREFECT_API_URL" in os.environ else "false",
    }
    if "PREFECT_API_URL" not in os.environ:
        # Prefect makes the last folder of its home and none above it.
        (cache_dir / "prefect").mkdir(parents=True, exist_ok=True)
        defaults["PREFECT_HOME"] = str(cache_dir / "prefect")
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def run_flow(settings: IngestSettings, *, debug: bool) -> IngestResult:
    """Run the flow; without a server of the user's, Prefect starts one of its own for the time of the run."""
    prepare_prefect(settings.cache_dir, debug=debug)
    from flows.ingest import ingest_repository

    return ingest_repository(settings)
