"""The Prefect flow that ingests one repository: a task by stage, and task runs that carry batches of validations."""

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.interrupt import finishing_first
from flows.judging import Wave
from flows.pipeline import IngestResult, Pipeline
from flows.settings import IngestSettings
from schemas.errors import GymforgeError


def _is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: only what may go away by itself is worth the wait."""
    try:
        state.result()
    except GymforgeError as error:
        return error.transient
    return False


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=_is_transient)
def acquire(pipeline: Pipeline) -> None:
    """Clone and profile."""
    pipeline.acquire()


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=_is_transient)
def prepare(pipeline: Pipeline) -> None:
    """Build the environment and measure the baseline."""
    pipeline.prepare()


@task(cache_policy=NO_CACHE)
def synthesize(pipeline: Pipeline) -> None:
    """Make the candidates."""
    pipeline.synthesize()


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=_is_transient)
def measure_impact(pipeline: Pipeline) -> None:
    """Measure what every test depends on."""
    pipeline.measure_impact()


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=[2, 10], retry_condition_fn=_is_transient)
def validate(pipeline: Pipeline, wave: Wave) -> int:
    """Judge candidates of a wave until none is left; every verdict is kept as soon as it is reached."""
    return pipeline.validate(wave)


@task(cache_policy=NO_CACHE)
def write(pipeline: Pipeline) -> IngestResult:
    """Write shards and manifest."""
    return pipeline.write()


@flow(name="ingest-repository", flow_run_name="{settings.source}", validate_parameters=False)
def ingest_repository(settings: IngestSettings) -> IngestResult:
    """Turn one repository into validated tasks.

    Raises:
        GymforgeError: what stopped it; everything that was finished is kept and reused by the next run.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the same holds.
    """
    with Pipeline(settings) as pipeline:
        acquire(pipeline)
        prepare(pipeline)
        present = pipeline.finished()
        if present is not None:
            return pipeline.repeated(present)
        synthesize(pipeline)
        measure_impact(pipeline)
        runner: ThreadPoolTaskRunner[int] = ThreadPoolTaskRunner(max_workers=settings.workers)
        with finishing_first(pipeline.stopping), runner:
            for wave in pipeline.waves():
                futures: list[PrefectFuture[int]] = [
                    runner.submit(validate, {"pipeline": pipeline, "wave": wave})
                    for _ in range(min(settings.workers, len(wave)))
                ]
                wait(futures)
                for future in futures:
                    future.result()
        if pipeline.stopping.is_set():
            raise KeyboardInterrupt
        result = write(pipeline)
    _publish(result)
    return result


def _publish(result: IngestResult) -> None:
    """Show the outcome in Prefect's own pages."""
    reasons = sorted({reason for counts in result.yields.values() for reason in counts})
    create_table_artifact(
        key="gymforge-yields",
        table=[
            {"strategy": strategy} | {reason: counts.get(reason, 0) for reason in reasons}
            for strategy, counts in result.yields.items()
        ],
        description=f"{result.ingestion.tasks} tasks from {result.ingestion.repo} at {result.ingestion.commit[:12]}",
    )
    create_link_artifact(key="gymforge-dataset", link=result.out.resolve().as_uri(), description="The dataset folder")
