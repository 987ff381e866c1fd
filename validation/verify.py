"""Re-validate finished tasks as a stranger would: git applies the patches, stock pytest runs whole suites, JUnit tells.

No code of the validator's result channel is used, so that the two can disagree.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from schemas.errors import BaselineFailed, SandboxFailed
from schemas.tasks import TaskInstance
from validation.junit import JunitResult, TestAddress, address_of, gravest, read_junit
from validation.sandbox.protocol import ENV_DIR, TESTBED, Limits, Sandbox, SandboxBackend

_BUGGED_FACTOR = 10.0
_BUGGED_SLACK_S = 60.0
"""A bugged suite may take this much longer than the clean one."""
JUNIT_PATH = "/tmp/gymforge-junit.xml"  # noqa: S108 - inside the sandbox, where /tmp is private
ENDING = """
import os, subprocess, sys, time
report, grace_s = sys.argv[1], float(sys.argv[2])
pytest, seen = subprocess.Popen(sys.argv[3:]), None
while pytest.poll() is None and not (seen and time.monotonic() - seen > grace_s):
    time.sleep(0.05)
    seen = seen or (time.monotonic() if os.path.exists(report) else None)
pytest.kill()
sys.exit(pytest.wait())
"""
"""Runs stock pytest, and ends it where it does not end by itself within a while of its report."""
_END_GRACE_S = 15.0
_OUTCOMES_ALONE = ("--tb=no", "-rN")
"""What stock pytest prints is not read, and printing thousands of failing subtests takes it minutes."""

Results = Mapping[TestAddress, JunitResult]


class Verification(NamedTuple):
    instance_id: str
    disagreements: tuple[str, ...]
    """Empty when the task holds."""


class Verifier:
    """Verifies tasks of one environment; the clean tree is run once, for every fixed tree is proved equal to it.

    It is run again where a test that no task records fails with a bug: one that does not pass on the clean tree every
    time (its id holds the time of day, say) says nothing, and may not be recorded.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        image: str,
        *,
        test_command: Sequence[str],
        environment: Mapping[str, str],
        unrecorded: frozenset[str] = frozenset(),
        limits: Limits,
        suite_limit_s: float = 1800.0,
    ) -> None:
        self._backend = backend
        self._image = image
        self._command = tuple(test_command)
        self._environment = dict(environment)
        self._unrecorded = frozenset(map(address_of, unrecorded))
        self._clean_again = threading.Lock()
        self._limits = limits
        self._suite_limit_s = suite_limit_s
        started = monotonic()
        self.clean = self._run({})
        # A bug may keep stock pytest from ending (a test that waits for ever, say).
        self._suite_limit_s = min(suite_limit_s, _BUGGED_FACTOR * (monotonic() - started) + _BUGGED_SLACK_S)

    def verify(self, task: TaskInstance) -> Verification:
        """Check one task in a fresh sandbox; thread-safe.

        Raises:
            SandboxFailed: two sandboxes died, which says nothing about the task.
        """
        try:
            edits = self._bugged_files(task)
        except ValueError as error:
            return Verification(task.instance_id, (str(error),))
        try:
            bugged = self._run(edits)
        except SandboxFailed:
            bugged = self._run(edits)
        if unexpected_failures(task, clean=self.clean, bugged=bugged, unrecorded=self._unrecorded):
            with self._clean_again:
                if unexpected_failures(task, clean=self.clean, bugged=bugged, unrecorded=self._unrecorded):
                    self._unrecorded |= passing(self.clean) - passing(self._run({}))
        return Verification(
            task.instance_id, compare(task, clean=self.clean, bugged=bugged, unrecorded=self._unrecorded)
        )

    def require_baseline(self, task: TaskInstance) -> None:
        """See that the clean tree passes here what the task records; where it does not, that says nothing of the task.

        Raises:
            BaselineFailed: a recorded test does not pass on the clean tree, or not each time.
        """
        lacking = sorted(not_passing(task, clean=self.clean, unrecorded=self._unrecorded))
        if lacking:
            more = f" and {len(lacking) - 1} more" if lacking[1:] else ""
            raise BaselineFailed(
                f"the clean tree is not what it was: {'.'.join(lacking[0])}{more} passed when the tasks were made, and "
                "not now. Is the machine busy, or does the suite depend on the date or on something that has gone?"
            )

    def _bugged_files(self, task: TaskInstance) -> Mapping[str, bytes]:
        """The changed files with the bug; checks on the way that `patch` takes them back, byte for byte."""
        paths = tuple(sorted({target.path for target in task.edit_targets}))
        with self._backend.open(self._image, limits=self._limits) as sandbox:
            clean = {path: sandbox.get(f"{TESTBED}/{path}") for path in paths}
        bugged = apply_with_git(clean, task.bug_patch)
        if apply_with_git(bugged, task.patch) != clean:
            raise ValueError("`patch` does not turn the task's tree back into the clean tree, byte for byte")
        return bugged

    def _run(self, edits: Mapping[str, bytes]) -> Results:
        results = self._run_stock(edits, ())
        if results is None:
            results = self._run_piecewise(edits)
        return results

    def _run_stock(self, edits: Mapping[str, bytes], extra: Sequence[str]) -> Results | None:
        """One stock run in a fresh sandbox; `None` where it left no report because its process died."""
        with self._backend.open(self._image, limits=self._limits) as sandbox:
            for path, content in sorted(edits.items()):
                sandbox.put(f"{TESTBED}/{path}", content)
            return self._read(sandbox, extra)

    def _read(self, sandbox: Sandbox, extra: Sequence[str]) -> Results | None:
        pytest = [*self._command, f"--junitxml={JUNIT_PATH}", *_OUTCOMES_ALONE, *extra]
        command = [f"{ENV_DIR}/bin/python", "-I", "-S", "-c", ENDING, JUNIT_PATH, str(_END_GRACE_S), *pytest]
        sandbox.run(command, timeout_s=self._suite_limit_s, environment=self._environment)
        try:
            return read_junit(sandbox.get(JUNIT_PATH, max_bytes=256 * 1024 * 1024))
        except (FileNotFoundError, ValueError):
            return None

    def _run_piecewise(self, edits: Mapping[str, bytes]) -> Results:
        """Where a test takes the process down, stock pytest leaves no report: run file by file, then test by test."""
        with self._backend.open(self._image, limits=self._limits) as sandbox:
            for path, content in sorted(edits.items()):
                sandbox.put(f"{TESTBED}/{path}", content)
            tests = self._collect(sandbox)
        by_file: dict[str, list[str]] = {}
        for test in tests:
            by_file.setdefault(test.split("::", 1)[0], []).append(test)
        results: dict[TestAddress, list[JunitResult]] = {}
        for name, own in by_file.items():
            others = [f"--ignore={other}" for other in by_file if other != name]
            found = self._run_stock(edits, others)
            if found is None:
                found = {}
                for test in own:
                    # pytest deselects by prefix, so a test whose id begins the wanted one's runs along.
                    siblings = [f"--deselect={sibling}" for sibling in own if not test.startswith(sibling)]
                    alone = self._run_stock(edits, [*others, *siblings]) or {}
                    found = {**found, address_of(test): alone.get(address_of(test), JunitResult.FAILED)}
            for address, result in found.items():
                results.setdefault(address, []).append(result)
        return {address: gravest(seen) for address, seen in results.items()}

    def _collect(self, sandbox: Sandbox) -> tuple[str, ...]:
        command = [*self._command, "--collect-only", "--verbosity=-1"]
        result = sandbox.run(command, timeout_s=self._suite_limit_s, environment=self._environment)
        lines = result.stdout.decode("utf-8", "replace").splitlines()
        tests = tuple(line for line in lines if "::" in line and not line.startswith("ERROR"))
        if not tests:
            raise SandboxFailed(f"stock pytest neither ran nor listed the suite; the end of its log: {lines[-5:]}")
        return tests


def compare(
    task: TaskInstance, *, clean: Results, bugged: Results, unrecorded: frozenset[TestAddress]
) -> tuple[str, ...]:
    """What speaks against the task: the bug must fail exactly FAIL_TO_PASS, and the fix nothing that is recorded.

    `unrecorded` are the tests that no task may record: quarantined ones, and those that do not pass on the clean tree
    (an unexpected pass, which JUnit calls a pass, is one).
    """
    fail_to_pass = set(map(address_of, task.FAIL_TO_PASS))
    pass_to_pass = set(map(address_of, task.PASS_TO_PASS))
    ever_passing = passing(clean) - unrecorded
    findings = [
        ("fails with the fix applied", not_passing(task, clean=clean, unrecorded=unrecorded)),
        ("is recorded as failing and does not fail with the bug", fail_to_pass - failing(ever_passing, bugged)),
        (
            "fails with the bug and is not recorded",
            unexpected_failures(task, clean=clean, bugged=bugged, unrecorded=unrecorded),
        ),
        (
            "is recorded as passing and does not pass with the bug",
            {a for a in pass_to_pass if bugged.get(a) is not JunitResult.PASSED},
        ),
    ]
    return tuple(f"{'.'.join(address)} {what}" for what, addresses in findings for address in sorted(addresses))


def not_passing(task: TaskInstance, *, clean: Results, unrecorded: frozenset[TestAddress]) -> frozenset[TestAddress]:
    """Tests that the task records and that do not pass on the clean tree."""
    return frozenset(map(address_of, (*task.FAIL_TO_PASS, *task.PASS_TO_PASS))) - (passing(clean) - unrecorded)


def unexpected_failures(
    task: TaskInstance, *, clean: Results, bugged: Results, unrecorded: frozenset[TestAddress]
) -> frozenset[TestAddress]:
    """Tests that the bug breaks and the task does not say so."""
    return failing(passing(clean) - unrecorded, bugged) - frozenset(map(address_of, task.FAIL_TO_PASS))


def passing(results: Results) -> frozenset[TestAddress]:
    return frozenset(address for address, result in results.items() if result is JunitResult.PASSED)


def failing(tests: frozenset[TestAddress], results: Results) -> frozenset[TestAddress]:
    """Those of the tests that fail or are not there."""
    return frozenset(test for test in tests if results.get(test, JunitResult.FAILED) is JunitResult.FAILED)


def apply_with_git(files: Mapping[str, bytes], patch: str) -> Mapping[str, bytes]:
    """The files after `git apply`, strict.

    Raises:
        ValueError: git refuses the patch.
    """
    with tempfile.TemporaryDirectory(prefix="gymforge-verify-") as folder:
        root = Path(folder)
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        result = subprocess.run(
            ["git", "-c", "core.autocrlf=false", "apply", "--whitespace=nowarn", "-"],
            cwd=root,
            input=patch.encode(),
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_CEILING_DIRECTORIES": folder,
            },
        )
        if result.returncode != 0:
            raise ValueError(f"git does not apply the patch: {result.stderr.decode('utf-8', 'replace').strip()}")
        return {path: (root / path).read_bytes() for path in files}
