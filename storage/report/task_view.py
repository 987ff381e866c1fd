"""A task as its page and the gallery show it: plain data, in which every text is bounded; imports pygments."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from schemas.tasks import EditTarget, PlanStep, TaskInstance
from storage.report.code import code_lines, diff_view
from storage.report.facts import ReportTask
from storage.report.prose import prose_view

MAX_NAMES = 2_000
"""Test ids, files or symbols of one list that are kept; pages say how many there are."""
MAX_NAME = 500
_TITLE = 140
_SNIPPET = 1_200
"""Characters of the issue text that the gallery searches."""
_RAW_PATCH = 50_000


class Suite:
    """The tests of one repository at one commit, numbered as they are met, so that tasks can say ranges of them."""

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}

    def ranges(self, tests: Sequence[str]) -> list[list[int]]:
        """The tests as half-open ranges of their numbers."""
        numbers = sorted(self.tests.setdefault(test, len(self.tests)) for test in tests)
        runs = (list(run) for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]))
        return [[run[0][1], run[-1][1] + 1] for run in runs]

    def names(self) -> list[str]:
        return [_cut(test) for test in self.tests]


def task_view(one: ReportTask, suite: Suite) -> dict[str, Any]:
    """Everything that a task's page shows; passing tests as ranges of the suite."""
    task = one.task
    diff = diff_view(task.patch, language=task.language)
    return {
        "id": task.instance_id,
        "title": title(task.problem_statement),
        "repo": task.repo,
        "language": task.language,
        "strategy": task.strategy,
        "style": task.issue_style,
        "stage": one.stage,
        "split": one.split,
        "license": _cut(task.license_spdx),
        "domains": [[label.label, label.score, _names(label.evidence)] for label in task.domain],
        "complexity": task.complexity.model_dump(mode="json"),
        "issue": prose_view(task.problem_statement),
        "reveals": list(task.provenance.issue_reveals),
        "goal": _cut(task.plan.goal, 4 * MAX_NAME),
        "steps": [_step(step) for step in task.plan.steps],
        "edits": [_edit(target) for target in task.edit_targets],
        "diff": diff,
        "patch": "" if diff else task.patch[:_RAW_PATCH],
        "failing": _names(task.FAIL_TO_PASS),
        "failing_count": len(task.FAIL_TO_PASS),
        "passing": suite.ranges(task.PASS_TO_PASS),
        "passing_count": len(task.PASS_TO_PASS),
        "facts": _facts(task),
    }


def gallery_row(one: ReportTask) -> dict[str, Any]:
    """What the gallery shows and searches of a task."""
    task = one.task
    places = dict.fromkeys(f"{target.path} {target.symbol}".strip() for target in task.edit_targets)
    return {
        "id": task.instance_id,
        "repo": task.repo,
        "language": task.language,
        "strategy": task.strategy,
        "style": task.issue_style,
        "stage": one.stage,
        "split": one.split,
        "domains": [label.label for label in task.domain],
        "score": round(task.complexity.score, 4),
        "lines": task.complexity.changed_lines,
        "failing": len(task.FAIL_TO_PASS),
        "title": title(task.problem_statement),
        "text": _cut(task.problem_statement.strip(), _SNIPPET),
        "place": _cut(" ".join(places)),
    }


def title(issue: str) -> str:
    """The first line of an issue text, without the marks of a heading."""
    first = next((line.strip() for line in issue.splitlines() if line.strip()), "")
    return _cut(first.lstrip("# "), _TITLE)


def _step(step: PlanStep) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "text": _cut(step.description, 4 * MAX_NAME),
        "files": _names(step.files),
        "symbols": _names(step.symbols),
        "tests": _names(step.tests),
        "tests_count": len(step.tests),
    }


def _edit(target: EditTarget) -> dict[str, Any]:
    return {
        "path": _cut(target.path),
        "symbol": _cut(target.symbol),
        "node": target.node_kind,
        "op": target.op,
        "start": target.start_line,
        "end": target.end_line,
        "search": code_lines(target.search, path=target.path, language=target.language),
        "replace": code_lines(target.replace, path=target.path, language=target.language),
    }


def _facts(task: TaskInstance) -> Mapping[str, Any]:
    made, proven = task.provenance, task.validation
    return {
        "url": _cut(made.url, 4 * MAX_NAME),
        "commit": task.base_commit,
        "version": _cut(task.version),
        "committed_at": task.created_at.isoformat(),
        "generator": made.generator,
        "entity": _cut(made.entity),
        "gymforge": made.gymforge_version,
        "seed": made.seed,
        "config": made.config_hash,
        "hash": task.content_hash,
        "image": _cut(task.image_name),
        "python": made.python_version,
        "mode": made.dependency_mode,
        "dependencies": _names(made.dependencies),
        "command": _cut(" ".join(task.test_command), 4 * MAX_NAME),
        "sandbox": proven.sandbox,
        "baseline_runs": proven.baseline_runs,
        "bugged_runs": proven.bugged_runs,
        "flaky": proven.flaky_excluded,
        "fast_path": proven.fast_path,
        "audited": proven.audited,
    }


def _names(names: Sequence[str]) -> list[str]:
    return [_cut(name) for name in names[:MAX_NAMES]]


def _cut(text: str, limit: int = MAX_NAME) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
