"""Suites in the real embedded sandbox, with a real environment: what verdicts must not be fooled by."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from extractors.acquire import acquire
from extractors.profile import profile_repository
from schemas.reports import Baseline, Outcome, Rejection, VerdictStatus
from validation.baseline import BaselineSettings, measure_baseline
from validation.environment import build_environment
from validation.sandbox.protocol import Limits
from validation.sandbox.select import open_backend
from validation.suite import frozen_test_command, with_runner
from validation.validate import Proof, Suite, prove

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
PROJECT = '[build-system]\nrequires = ["flit_core>=3.11"]\nbuild-backend = "flit_core.buildapi"\n'
PROJECT += '[project]\nname = "calc"\nversion = "1"\ndescription = "d"\n'
CALC = "def add(a, b):\n    return a + b\n\n\ndef negate(a):\n    return -a\n"
BUG = {"calc.py": CALC.replace("a + b", "a - b").encode()}
TESTS = (
    "from calc import add, negate\ndef test_add(): assert add(1, 2) == 3\ndef test_negate(): assert negate(1) == -1\n"
)

Build = Callable[[Mapping[str, str]], Suite]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Commit the files, then walk to the baseline as the pipeline does."""

    def walk(files: Mapping[str, str]) -> Suite:
        source = tmp_path / "calc"
        for name, text in ({"pyproject.toml": PROJECT, "calc.py": CALC, "tests/test_calc.py": TESTS} | files).items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
            (source / name).chmod(0o755 if text.startswith("#!") else 0o644)
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
            subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)
        cache = ROOT / "build" / "test-cache"
        checkout = acquire(str(source), ref=None, cache_dir=tmp_path / "cache", destination=tmp_path / "tree")
        profile = profile_repository(checkout.path)
        backend = open_backend("local", cache_dir=cache)
        environment = build_environment(
            checkout.path, checkout.ref, with_runner(profile), backend=backend, cache_dir=cache
        )
        command = frozen_test_command(profile.test_command, environment.dependencies)
        baseline = measure_baseline(
            backend,
            environment.image_name,
            test_command=command,
            source_files=profile.source_files,
            environment=profile.environment,
            limits=Limits(),
            settings=BaselineSettings(test_limit_s=5.0),
        )
        command = frozen_test_command(profile.test_command, environment.dependencies, without=baseline.hanging)
        return Suite(backend, environment.image_name, command, baseline, profile.environment, Limits())

    return walk


def verdict_of(suite: Suite, edits: Mapping[str, bytes] = BUG) -> Proof:
    proof = prove(suite, edits)
    suite.backend.remove(suite.image)
    return proof


def names(tests: tuple[str, ...]) -> list[str]:
    return [test.split("::")[-1] for test in tests]


def test_stopping_at_the_first_failure_is_overruled(build: Build) -> None:
    suite = build({"pytest.ini": "[pytest]\naddopts = -x --ff --strict-config\n"})
    verdict = verdict_of(suite).verdict
    assert names(verdict.fail_to_pass) == ["test_add"]
    assert names(verdict.pass_to_pass) == ["test_negate"]


def test_variables_of_the_profile_reach_the_tests(build: Build) -> None:
    suite = build(
        {
            "gymforge.toml": '[environment]\nMY_FLAG = "yes"\n',
            "tests/test_flag.py": "import os\ndef test_flag(): assert os.environ['MY_FLAG'] == 'yes'\n",
        }
    )
    assert suite.baseline.stable["tests/test_flag.py::test_flag"] is Outcome.PASSED


def test_a_changed_file_keeps_its_mode(build: Build) -> None:
    suite = build(
        {
            "tool.py": "#!/usr/bin/env python3\nprint('ran')\n",
            "tests/test_tool.py": "import subprocess\ndef test_tool(): subprocess.run(['./tool.py'], check=True)\n",
        }
    )
    proof = verdict_of(suite, {"tool.py": b"#!/usr/bin/env python3\nprint('ran too')\n"})
    assert proof.verdict.reason is Rejection.NO_TEST_FAILED


def test_a_test_that_hangs_on_the_clean_tree_spoils_no_candidate(build: Build) -> None:
    suite = build({"tests/test_hang.py": "import time\ndef test_hang(): time.sleep(600)\n"})
    assert suite.baseline.hanging == ("tests/test_hang.py::test_hang",)
    assert verdict_of(suite).verdict.status is VerdictStatus.ACCEPTED


LINGERS = """
import threading, time
from calc import add
def test_starts_a_thread():
    if add(1, 2) {when} 3: threading.Thread(target=time.sleep, args=(600,)).start()
"""


def test_a_bug_that_keeps_the_test_process_from_ending_is_rejected(build: Build) -> None:
    verdict = verdict_of(build({"tests/test_thread.py": LINGERS.format(when="!=")})).verdict
    assert verdict.reason is Rejection.TIMED_OUT
    assert "does not end" in verdict.detail


def test_a_test_process_that_never_ends_by_itself_spoils_no_candidate(build: Build) -> None:
    suite = build({"tests/test_thread.py": LINGERS.format(when="==")})
    assert suite.baseline.lingers
    assert verdict_of(suite).verdict.status is VerdictStatus.ACCEPTED


def test_records_written_past_the_worker_are_impossible_or_refused(build: Build) -> None:
    forger = """
import glob, json, os

def test_forges():
    line = json.dumps({"e": "report", "t": "tests/test_calc.py::test_ghost", "when": "call", "outcome": "passed",
                       "xfail": False, "duration_s": 0, "cpu_s": 0, "failure": None}) + "\\n"
    opened = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for path in glob.glob(f"/proc/{pid}/fd/*"):
            if int(pid) == os.getpid():
                continue
            try:
                with open(path, "w") as file:
                    file.write(line)
            except OSError:
                continue
"""
    suite = build({"tests/test_forge.py": forger})
    baseline: Baseline = suite.baseline
    suite.backend.remove(suite.image)
    assert "tests/test_calc.py::test_ghost" not in {*baseline.stable, *baseline.quarantined}
    assert baseline.stable["tests/test_calc.py::test_add"] is Outcome.PASSED


def test_more_crashes_than_restarts_are_incomplete_and_not_failures(build: Build) -> None:
    crashes = "import os, pytest\nfrom calc import add\n@pytest.mark.parametrize('n', range(60))\n"
    crashes += "def test_n(n):\n    if add(1, 2) != 3: os._exit(1)\n"
    suite = build({"tests/test_a_crash.py": crashes})
    assert verdict_of(suite).verdict.reason is Rejection.INCOMPLETE
