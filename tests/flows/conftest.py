"""A walk without Prefect, a cache that lasts between test runs, and the sample repository."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.pipeline import IngestResult, Pipeline
from flows.settings import IngestSettings

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "tinystats.bundle"


@pytest.fixture(scope="session")
def shared_cache() -> Path:
    """Wheels and environments, kept in the checkout's build folder so that only the first run downloads."""
    return ROOT / "build" / "test-cache"


@pytest.fixture(scope="session")
def sample_settings(shared_cache: Path) -> Callable[..., IngestSettings]:
    def settings(out: Path, **changes: object) -> IngestSettings:
        fields: dict[str, object] = {
            "source": str(SAMPLE),
            "out": out,
            "sandbox": "local",
            "strategies": ("op_change", "remove_cond", "ctrl_invert_if", "flip_operators"),
            "max_tasks": 4,
            "workers": 2,
            "cache_dir": shared_cache,
        }
        return IngestSettings.model_validate(fields | changes)

    return settings


def _walk(pipeline: Pipeline) -> IngestResult:
    """The flow's steps in order, as the flow calls them, without Prefect."""
    with pipeline:
        pipeline.acquire()
        pipeline.prepare()
        present = pipeline.finished()
        if present is not None:
            return pipeline.repeated(present)
        pipeline.synthesize()
        with ThreadPoolExecutor(max_workers=pipeline.settings.workers) as pool:
            for batches in pipeline.waves():
                list(pool.map(pipeline.validate, batches))
        return pipeline.write()


@pytest.fixture(scope="session")
def walk() -> Callable[[Pipeline], IngestResult]:
    return _walk
