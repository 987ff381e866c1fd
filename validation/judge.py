"""Judge edits by running a task's tests in fresh sandboxes: what rewards, pass@k and predictions rest on."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from extractors.search_replace import apply_search_replace
from schemas.errors import BaselineFailed, SandboxFailed
from schemas.judge import ProposedEdit
from schemas.reports import Outcome, TestReport
from schemas.tasks import TaskInstance
from validation.channel import SuiteRun
from validation.sandbox.protocol import TESTBED, Limits, SandboxBackend
from validation.suite import SuiteOptions, run_suite
from validation.verify import apply_with_git

_FACTOR = 10.0
_TEST_SLACK_S = 10.0
_SUITE_SLACK_S = 60.0
"""Edited, a test and a suite may take ten times as long as on the clean tree, and this much longer."""
NOTHING_PASSES = TestReport(outcomes={})


class _Asked(NamedTuple):
    """What was judged last, by the task and its edited files."""

    instance_id: str
    content: bytes


class SuiteJudge:
    """Judges edits to the tasks of one environment, for one thread at a time.

    Only files that the task's own fix edits may be edited, so that no edit reaches the tests; another one is judged as
    if no test passed, and so is one that does not apply, a suite that was not seen to its end, and one that would not
    end under stock pytest.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        image: str,
        *,
        test_command: Sequence[str],
        environment: Mapping[str, str],
        limits: Limits,
        suite_limit_s: float = 1800.0,
    ) -> None:
        """Runs the clean tree once, for its times.

        Raises:
            BaselineFailed: its suite does not run here.
            SandboxFailed: no sandbox can be opened.
        """
        self._backend, self._image, self._limits = backend, image, limits
        self._command, self._environment = tuple(test_command), dict(environment)
        self._options = SuiteOptions(environment=self._environment, suite_limit_s=suite_limit_s, explain=())
        clean = self._run({})
        if not clean.complete or not any(one is Outcome.PASSED for one in clean.report.outcomes.values()):
            raise BaselineFailed(
                f"the suite does not run on the clean tree of {image}. The end of its log:\n{clean.report.log_tail}"
            )
        self._lingers = clean.lingered
        slowest = clean.report.durations_s
        self._options = self._options._replace(
            limits_s={test: _FACTOR * seconds + _TEST_SLACK_S for test, seconds in slowest.items()},
            default_limit_s=_FACTOR * max(slowest.values(), default=0.0) + _TEST_SLACK_S,
            suite_limit_s=min(suite_limit_s, _FACTOR * clean.report.duration_s + _SUITE_SLACK_S),
            stop_on_timeout=True,
        )
        self._alone: dict[tuple[str, ...], bool] = {}
        self._bugged: tuple[str, Mapping[str, bytes]] = ("", {})
        """The newest task's id, and its files with the bug."""
        self._seen: dict[_Asked, TestReport] = {}

    def judge(self, task: TaskInstance, edits: Sequence[ProposedEdit]) -> TestReport:
        """What the task's tests say after the edits.

        The tests that the bug fails run first, and what fails there, where they pass alone on the clean tree, is all
        that is told. The same edits to the same task, one after the other, are judged once.

        Raises:
            SandboxFailed: two sandboxes died.
        """
        edited = self._edited(task, edits)
        if edited is None:
            return NOTHING_PASSES
        key = _Asked(task.instance_id, _digest(edited))
        if key not in self._seen:
            if any(one.instance_id != task.instance_id for one in self._seen):
                self._seen.clear()
            self._seen[key] = self._judged(task, edited)
        return self._seen[key]

    def _judged(self, task: TaskInstance, edited: Mapping[str, bytes]) -> TestReport:
        wanted = tuple(task.FAIL_TO_PASS)
        if wanted not in self._alone:
            self._alone[wanted] = _pass(self._report({}, wanted), wanted)
        if self._alone[wanted]:
            first = self._report(edited, wanted)
            if not _pass(first, wanted):
                return first
        return self._report(edited, None)

    def _edited(self, task: TaskInstance, edits: Sequence[ProposedEdit]) -> Mapping[str, bytes] | None:
        """The task's files after the edits; `None` where they may not be made, or cannot."""
        if self._bugged[0] != task.instance_id:
            paths = sorted({target.path for target in task.edit_targets})
            with self._backend.open(self._image, limits=self._limits) as sandbox:
                clean = {path: sandbox.get(f"{TESTBED}/{path}") for path in paths}
            self._bugged = (task.instance_id, apply_with_git(clean, task.bug_patch))
        files = dict(self._bugged[1])
        try:
            for edit in edits:
                files[edit.path] = apply_search_replace(files[edit.path], [edit])
        except (KeyError, ValueError):
            return None
        return files

    def _report(self, files: Mapping[str, bytes], select: tuple[str, ...] | None) -> TestReport:
        run = self._run(files, select)
        if not run.complete or run.contradiction or run.out_of_memory or (run.lingered and not self._lingers):
            return run.report.model_copy(update={"outcomes": {}})
        return run.report

    def _run(self, files: Mapping[str, bytes], select: tuple[str, ...] | None = None) -> SuiteRun:
        options = self._options
        if select is not None:
            options = options._replace(files=sorted({test.split("::", 1)[0] for test in select}), select=select)
        try:
            return self._run_once(files, options)
        except SandboxFailed:
            return self._run_once(files, options)

    def _run_once(self, files: Mapping[str, bytes], options: SuiteOptions) -> SuiteRun:
        with self._backend.open(self._image, limits=self._limits) as sandbox:
            for path, content in sorted(files.items()):
                sandbox.put(f"{TESTBED}/{path}", content)
            return run_suite(sandbox, self._command, options=options)


def _pass(report: TestReport, tests: Iterable[str]) -> bool:
    return all(test in report.outcomes and not report.outcomes[test].is_failure for test in tests)


def _digest(files: Mapping[str, bytes]) -> bytes:
    found = sha256()
    for path, content in sorted(files.items()):
        found.update(f"{len(path.encode())} {len(content)} {path}\0".encode() + content)
    return found.digest()
