"""Edits judged by real suites in the real embedded sandbox."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from extractors.acquire import acquire
from extractors.diff import make_patch
from extractors.profile import profile_repository
from schemas.errors import BaselineFailed, SandboxFailed
from schemas.judge import Judge, ProposedEdit, is_solved
from schemas.reports import Outcome
from schemas.tasks import TaskInstance
from validation.environment import build_environment
from validation.judge import SuiteJudge
from validation.sandbox.protocol import Limits
from validation.sandbox.select import open_backend
from validation.suite import frozen_test_command, with_runner

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
PROJECT = '[build-system]\nrequires = ["flit_core>=3.11"]\nbuild-backend = "flit_core.buildapi"\n'
PROJECT += '[project]\nname = "calc"\nversion = "1"\ndescription = "d"\n'
CLEAN = "import os\n\n\ndef add(a, b):\n    return a + b\n\n\ndef negate(a):\n    return -a\n"
BUGGED = CLEAN.replace("a + b", "a - b")
TESTS = """
import calc
def test_add(): assert calc.add(1, 2) == 3
def test_add_none(): assert calc.add(1, 0) == 1
def test_negate(): assert calc.negate(1) == -1
def test_skipped():
    import pytest
    pytest.skip("never")
"""
ADD, NONE, NEGATE = (f"tests/test_calc.py::test_{name}" for name in ("add", "add_none", "negate"))


@pytest.fixture(scope="module")
def open_judge(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], SuiteJudge]:
    folder = tmp_path_factory.mktemp("judge")
    source = folder / "calc"
    for name, text in {"pyproject.toml": PROJECT, "calc.py": CLEAN, "tests/test_calc.py": TESTS}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t.example"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)
    cache = ROOT / "build" / "test-cache"
    checkout = acquire(str(source), ref=None, cache_dir=folder / "cache", destination=folder / "tree")
    profile = profile_repository(checkout.path)
    backend = open_backend("local", cache_dir=cache)
    environment = build_environment(checkout.path, checkout.ref, with_runner(profile), backend=backend, cache_dir=cache)

    def make(command: tuple[str, ...] | None = None) -> SuiteJudge:
        return SuiteJudge(
            backend,
            environment.image_name,
            test_command=command or frozen_test_command(profile.test_command, environment.dependencies),
            environment=profile.environment,
            limits=Limits(),
        )

    return make


@pytest.fixture(scope="module")
def judge(open_judge: Callable[[], SuiteJudge]) -> SuiteJudge:
    return open_judge()


@pytest.fixture
def task(make_task: Callable[..., TaskInstance]) -> TaskInstance:
    target = make_task().edit_targets[0].model_dump()
    target |= {"path": "calc.py", "search": "    return a - b\n", "replace": "    return a + b\n"}
    return make_task(
        bug_patch=make_patch("calc.py", CLEAN.encode(), BUGGED.encode()),
        edit_targets=[target],
        FAIL_TO_PASS=(ADD,),
        PASS_TO_PASS=(NONE, NEGATE),
    )


def edit(search: str, replace: str, path: str = "calc.py") -> ProposedEdit:
    return ProposedEdit(path=path, search=search, replace=replace)


FIX = edit("    return a - b\n", "    return a + b\n")
OTHERWISE = edit("    return a - b\n", "    return sum((a, b))\n")
HALF = edit("    return a - b\n", "    return abs(a) + abs(b) + (b == 0)\n")
ENDLESS = edit("    return a - b\n", "    while True: pass\n")
EXIT = edit("    return a - b\n", "    os._exit(0)\n")


def test_what_mends_the_bug_is_solved_however_it_is_written(judge: Judge, task: TaskInstance) -> None:
    for fix in (FIX, OTHERWISE):
        report = judge.judge(task, [fix])
        assert is_solved(task, report)
        assert report.outcomes["tests/test_calc.py::test_skipped"] is Outcome.SKIPPED, "the whole suite has run"


def test_what_does_not_mend_it_is_told_by_the_failing_tests_alone(judge: Judge, task: TaskInstance) -> None:
    for edits in ([], [edit("    return -a\n", "    return 0 - a\n")]):
        report = judge.judge(task, edits)
        assert dict(report.outcomes) == {ADD: Outcome.FAILED}
        assert not is_solved(task, report)


def test_what_mends_it_and_breaks_another_test_is_not_solved(judge: Judge, task: TaskInstance) -> None:
    report = judge.judge(task, [HALF])
    assert (report.outcomes[ADD], report.outcomes[NONE]) == (Outcome.PASSED, Outcome.FAILED)
    assert not is_solved(task, report)


def test_edits_follow_one_another(judge: Judge, task: TaskInstance) -> None:
    first, second = edit("    return a - b\n", "    return b\n"), edit("    return b\n", "    return a + b\n")
    assert is_solved(task, judge.judge(task, [first, second]))
    assert not judge.judge(task, [second, first]).outcomes


@pytest.mark.parametrize(
    "edits",
    [
        [edit("not there\n", "x\n")],
        [edit("\n", "x\n")],
        [FIX, edit("def test_add(): assert calc.add(1, 2) == 3\n", "", "tests/test_calc.py")],
        [FIX, edit("", "import pytest\n", "conftest.py")],
        [FIX, edit("", "x", "../outside.py")],
    ],
    ids=["nowhere", "more than once", "a test", "a plugin", "outside"],
)
def test_what_cannot_be_made_or_may_not_be_passes_nothing(
    judge: Judge, task: TaskInstance, edits: list[ProposedEdit]
) -> None:
    assert not judge.judge(task, edits).outcomes


def test_what_does_not_end_or_ends_the_process_is_not_solved(judge: Judge, task: TaskInstance) -> None:
    for fault in (ENDLESS, EXIT):
        report = judge.judge(task, [fault])
        assert not is_solved(task, report)
        assert report.outcomes.get(ADD) is not Outcome.PASSED


def test_a_suite_whose_end_contradicts_its_report_solves_nothing(judge: Judge, task: TaskInstance) -> None:
    """All tests pass, and the process says that one failed."""
    lies = edit("import os\n", "import atexit, os\natexit.register(os._exit, 1)\n")
    assert not judge.judge(task, [FIX, lies]).outcomes


def test_the_same_edits_are_judged_once(judge: SuiteJudge, task: TaskInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    judged = judge._judged
    monkeypatch.setattr(judge, "_seen", {})
    monkeypatch.setattr(judge, "_judged", lambda *given: ran.append(given) or judged(*given))
    other = task.model_copy(update={"instance_id": f"{task.instance_id}0"})
    for one, edits in ((task, []), (task, [FIX]), (task, []), (task, [FIX]), (other, [FIX]), (task, [FIX])):
        judge.judge(one, edits)
    assert [one.instance_id for one, _ in ran] == [one.instance_id for one in (task, task, other, task)]


def test_a_test_that_passes_only_among_others_is_judged_by_the_whole_suite(
    judge: SuiteJudge, task: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "_alone", {(ADD,): False})
    monkeypatch.setattr(judge, "_seen", {})
    report = judge.judge(task, [])
    assert report.outcomes[ADD] is Outcome.FAILED
    assert report.outcomes[NEGATE] is Outcome.PASSED


def test_a_sandbox_that_died_once_is_tried_again(
    judge: SuiteJudge, task: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, deaths = judge._run_once, []

    def dying(*given: object) -> object:
        deaths.append(given)
        if len(deaths) <= dying_times:
            raise SandboxFailed("gone")
        return run(*given)

    monkeypatch.setattr(judge, "_run_once", dying)
    dying_times = 1
    monkeypatch.setattr(judge, "_seen", {})
    assert is_solved(task, judge.judge(task, [FIX]))
    deaths, dying_times = [], 2
    monkeypatch.setattr(judge, "_seen", {})
    with pytest.raises(SandboxFailed):
        judge.judge(task, [FIX])


def test_a_suite_that_does_not_run_judges_nothing(open_judge: Callable[..., SuiteJudge]) -> None:
    with pytest.raises(BaselineFailed, match="does not run on the clean tree"):
        open_judge(("python", "-m", "pytest", "no-such-folder"))
