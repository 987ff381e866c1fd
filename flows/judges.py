"""A judge for the tasks of datasets: each repository's environment is made, or found, when its first task is judged."""

from collections.abc import Sequence
from pathlib import Path

from extractors.source import parse_source
from flows.progress import listener
from flows.recheck import environment_of
from schemas.judge import ProposedEdit
from schemas.reports import TestReport
from schemas.tasks import TaskInstance
from task_registry import Registry
from validation.judge import SuiteJudge
from validation.sandbox.protocol import Limits
from validation.sandbox.select import AUTO, open_backend


class DatasetJudge:
    """Judges edits to tasks of any of the datasets' repositories (`schemas.judge.Judge`)."""

    def __init__(self, registry: Registry, *, sandbox: str, sources: Sequence[str], cache_dir: Path) -> None:
        """`sandbox`: its kind; `auto` for the one in which each repository's tasks were made. `sources`: where
        repositories are now that were ingested from a path.

        Raises:
            InvalidInput: a source is no address.
            SandboxUnavailable, MissingExtra: the sandbox that was asked for is not there.
        """
        self._ingestions = {(one.ingestion.repo, one.ingestion.commit): one.ingestion for one in registry.held}
        self._sources = {parse_source(source).name: source for source in sources}
        self._sandbox, self._cache_dir = sandbox, cache_dir
        if sandbox != AUTO:
            open_backend(sandbox, cache_dir=cache_dir)
        self._judges: dict[tuple[str, str], SuiteJudge] = {}

    def judge(self, task: TaskInstance, edits: Sequence[ProposedEdit]) -> TestReport:
        """What the task's tests say after the edits.

        Raises:
            EnvironmentFailed, BaselineFailed, SandboxUnavailable: its repository cannot be tested here.
            SandboxFailed: two sandboxes died.
        """
        key = (task.repo, task.base_commit)
        if key not in self._judges:
            self._judges[key] = self._open(task)
        return self._judges[key].judge(task, edits)

    def _open(self, task: TaskInstance) -> SuiteJudge:
        ingestion = self._ingestions[task.repo, task.base_commit]
        kind = ingestion.environment.sandbox if self._sandbox == AUTO else self._sandbox
        backend = open_backend(kind, cache_dir=self._cache_dir)
        listener().stage(f"environment of {task.repo}")
        image = environment_of(ingestion, backend, source=self._sources.get(task.repo), cache_dir=self._cache_dir)
        listener().stage(f"clean tree of {task.repo}")
        return SuiteJudge(
            backend,
            image,
            test_command=task.test_command,
            environment=dict(variable.split("=", 1) for variable in task.provenance.environment),
            limits=Limits(),
        )
