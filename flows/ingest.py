"""The Prefect flow that ingests one repository: a task by stage, and task runs that carry batches of validations."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.artifacts import publish_ingestion, run_log
from flows.interrupt import finishing_first
from flows.judging import Wave
from flows.pipeline import IngestResult, Pipeline
from flows.settings import IngestSettings
from schemas.errors import GymforgeError, Unfinished

_POLL_S = 0.2


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: only what may go away by itself is worth the wait."""
    try:
        state.result()
    except GymforgeError as error:
        return error.transient
    return False


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient)
def acquire(pipeline: Pipeline) -> None:
    """Clone and profile."""
    pipeline.acquire()


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient)
def prepare(pipeline: Pipeline) -> None:
    """Build the environment and measure the baseline."""
    pipeline.prepare()


@task(cache_policy=NO_CACHE)
def synthesize(pipeline: Pipeline) -> None:
    """Make the candidates."""
    pipeline.synthesize()


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient)
def measure_impact(pipeline: Pipeline) -> None:
    """Measure what every test depends on."""
    pipeline.measure_impact()


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=is_transient)
def validate(work: Callable[[], object]) -> object:
    """Judge candidates of a wave until none is left, here or on a node of a cluster."""
    return work()


@task(cache_policy=NO_CACHE)
def write(pipeline: Pipeline) -> IngestResult:
    """Write shards and manifest."""
    return pipeline.write()


@flow(name="ingest-repository", flow_run_name="{settings.source}", validate_parameters=False)
def ingest_repository(settings: IngestSettings) -> IngestResult:
    """Turn one repository into validated tasks.

    Raises:
        GymforgeError: what stopped it; everything that was finished is kept and reused by the next run.
        Unfinished: its time was up; the same holds.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same holds.
    """
    with Pipeline(settings) as pipeline, run_log(), _stopped_in_time(pipeline) as time_is_up:
        acquire(pipeline)
        present = pipeline.present()
        if present is not None:
            return pipeline.repeated(present)
        prepare(pipeline)
        present = pipeline.finished()
        if present is not None:
            return pipeline.repeated(present)
        synthesize(pipeline)
        measure_impact(pipeline)
        with finishing_first(pipeline.stopping), _open_crew(pipeline) as crew:
            for wave in pipeline.waves(workers=crew.size):
                crew.judge(wave)
        if time_is_up.is_set():
            raise Unfinished(f"The {settings.stop_after_s:.0f} s for {settings.work} were up; the next run goes on.")
        if pipeline.stopping.is_set():
            raise KeyboardInterrupt
        result = write(pipeline)
    publish_ingestion(result)
    return result


class Crew(Protocol):
    """Who judges the candidates of a wave."""

    @property
    def size(self) -> int:
        """Validations at the same time."""
        ...

    def judge(self, wave: Wave) -> None:
        """Judge all of a wave, or what is under way when the pipeline stops; verdicts are kept as they are reached."""
        ...


class Threads:
    """Workers on this machine."""

    def __init__(self, pipeline: Pipeline, runner: ThreadPoolTaskRunner[object]) -> None:
        self.size = pipeline.settings.workers
        self._pipeline = pipeline
        self._runner = runner

    def judge(self, wave: Wave) -> None:
        """See `Crew.judge`."""
        work = partial(self._pipeline.validate, wave)
        futures = [self._runner.submit(validate, {"work": work}) for _ in range(min(self.size, len(wave)))]
        try:
            while futures:
                concurrent.futures.wait([future.wrapped_future for future in futures], timeout=_POLL_S)
                for future in [one for one in futures if one.wrapped_future.done()]:
                    future.result()
                    futures.remove(future)
                self._pipeline.count(for_s=_POLL_S)
        finally:
            wave.close()  # where one failed, the others end after the candidate that they are at


@contextmanager
def _open_crew(pipeline: Pipeline) -> Iterator[Crew]:
    """Threads here, or the cluster that the settings name."""
    if pipeline.settings.ray is not None:
        from flows.ray_cluster import open_cluster

        with open_cluster(pipeline, validate) as cluster:
            yield cluster
        return
    with ThreadPoolTaskRunner[object](max_workers=pipeline.settings.workers) as runner:
        yield Threads(pipeline, runner)


@contextmanager
def _stopped_in_time(pipeline: Pipeline) -> Iterator[threading.Event]:
    """Inside, the pipeline is stopped when its time is up; the value says whether that was why."""
    time_is_up = threading.Event()

    def stop() -> None:
        time_is_up.set()
        pipeline.stopping.set()

    limit_s = pipeline.settings.stop_after_s
    timer = None if limit_s is None else threading.Timer(limit_s, stop)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield time_is_up
    finally:
        if timer is not None:
            timer.cancel()
