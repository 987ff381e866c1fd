"""Who says what edits are worth: a callable that runs a task's tests, handed to whoever must not run them itself."""

from collections.abc import Sequence
from typing import Protocol

from schemas.model import Model
from schemas.reports import TestReport
from schemas.tasks import TaskInstance


class ProposedEdit(Model):
    """A change that a model proposes, applied in order on the result of those before it."""

    path: str
    """POSIX path of the file in the repository."""
    search: str
    """Whole lines that occur exactly once in the file when this edit's turn comes."""
    replace: str
    """What these lines become."""


class Judge(Protocol):
    """Runs tests on edited trees."""

    def judge(self, task: TaskInstance, edits: Sequence[ProposedEdit]) -> TestReport:
        """What the task's tests say after the edits are applied to its tree."""
        ...


def is_solved(task: TaskInstance, report: TestReport) -> bool:
    """Whether every test that the bug fails passes, and none that passes with it fails."""
    outcomes = report.outcomes
    return all(test in outcomes and not outcomes[test].is_failure for test in (*task.FAIL_TO_PASS, *task.PASS_TO_PASS))
