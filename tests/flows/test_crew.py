"""Threads judge, and who waits for them makes rows meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.ingest import Threads
from flows.judging import Wave
from flows.pipeline import Pipeline
from flows.settings import IngestSettings

WORKERS = 2
PATIENCE_S = 60


class Counting(Pipeline):
    """Judges no more than one candidate a worker before rows are counted."""

    def __init__(self) -> None:
        super().__init__(IngestSettings(source="none", out=Path("none"), workers=WORKERS))
        self.counted = threading.Event()
        self.fault = ""

    def validate(self, wave: Wave) -> int:
        wave.take()
        assert self.counted.wait(PATIENCE_S), "nobody counts while this is judged"
        if self.fault == "validate":
            raise OSError("validate")
        return 1

    def count(self, *, for_s: float = 0) -> None:
        assert 0 < for_s < PATIENCE_S, "who counts is back soon"
        self.counted.set()
        if self.fault == "count":
            raise OSError("count")


class Runner:
    """As much of a task runner as a crew uses."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def submit(self, _task: object, parameters: dict[str, Any]) -> object:
        future = self._pool.submit(parameters["work"])
        return SimpleNamespace(wrapped_future=future, result=future.result)


def judge(pipeline: Pipeline, wave: Wave) -> None:
    with ThreadPoolExecutor() as pool:
        Threads(pipeline, Runner(pool)).judge(wave)  # type: ignore[arg-type]


def test_rows_are_counted_while_others_judge() -> None:
    wave = Wave(range(WORKERS))
    judge(Counting(), wave)
    assert len(wave) == 0


@pytest.mark.parametrize("fault", ["count", "validate"])
def test_a_fault_ends_the_wave(fault: str) -> None:
    pipeline, wave = Counting(), Wave(range(10))
    pipeline.fault = fault
    with pytest.raises(OSError, match=fault):
        judge(pipeline, wave)
    assert wave.take() is None, "others would judge on in vain"
    assert len(wave) > 0
