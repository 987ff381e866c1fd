"""Finished tasks run again: what one repository, one run or one machine may not decide for the others or for good."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from click.testing import CliRunner

import flows.recheck
from extractors.diff import make_patch
from flows.cli import main
from flows.release import ReleaseSettings, make_release
from flows.reverify import VerificationOutcome, verify_dataset
from schemas.errors import DatasetError, SandboxFailed, StorageFailed
from schemas.health import HealthCheck
from schemas.manifest import Ingestion
from schemas.repo import SandboxKind
from schemas.tasks import TaskInstance
from storage.health import add_health, read_health
from storage.layout import DatasetLayout
from storage.manifest import add_ingestion, open_for_writing
from storage.shards import write_tasks
from validation.sandbox.fake import FakeBackend, FakeCall, result
from validation.sandbox.protocol import TESTBED, CommandResult
from validation.verify import JUNIT_PATH

CLEAN = b"def f(a, b):\n    return a < b\n"
TESTS = ("test_even[a b-ä]", "test_one", "test_two")


def bugged(number: int) -> bytes:
    return CLEAN.replace(b"a < b", b"a > b") + b"#" * number


class Suite:
    """Answers as stock pytest would: a bug fails the first test, but for what a test of this file plans otherwise."""

    def __init__(self) -> None:
        self.runs: list[bytes] = []
        """The tree's file in each run, in order."""
        self.failing: Callable[[bytes, int], tuple[str, ...]] = lambda tree, _run: () if tree == CLEAN else TESTS[:1]
        """Tree and number of its runs before to the tests that fail."""

    def __call__(self, call: FakeCall) -> CommandResult:
        tree = call.files[f"{TESTBED}/s.py"]
        failing = self.failing(tree, self.runs.count(tree))
        self.runs.append(tree)
        cases = "".join(
            f'<testcase classname="tests.test_s" name={quoteattr(test)}>{"<failure/>" * (test in failing)}</testcase>'
            for test in TESTS
        )
        call.files[JUNIT_PATH] = f"<testsuites><testsuite>{cases}</testsuite></testsuites>".encode()
        return result(1 if failing else 0)


@pytest.fixture
def suite() -> Suite:
    return Suite()


@pytest.fixture
def backend(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """Has the environments of `r0` and `r1`, and not that of `gone`."""
    backend = FakeBackend(suite)
    for name in ("r0", "r1"):
        backend.images[name] = {f"{TESTBED}/s.py": CLEAN}

    def opened(kind: str, **_: object) -> FakeBackend:
        return backend if kind == backend.kind else FakeBackend(suite, kind=SandboxKind(kind))

    monkeypatch.setattr(flows.recheck, "open_backend", opened)
    monkeypatch.setattr(flows.reverify, "open_backend", opened)
    return backend


@pytest.fixture
def dataset(tmp_path: Path, make_task: Callable[..., TaskInstance], built: Mapping[str, Any]) -> Callable[..., Path]:
    """Repositories with so many tasks each, in the order of their names."""

    def write(**repositories: int) -> Path:
        number = 0
        for repo, count in repositories.items():
            commit = f"{len(repo) * 16 + number:08x}" * 5
            tasks = []
            for _ in range(count):
                number += 1
                tasks.append(
                    make_task(
                        repo=f"acme/{repo}",
                        base_commit=commit,
                        instance_id=f"acme__{repo}.{commit[:8]}.op_change__{number:010x}",
                        bug_patch=make_patch("s.py", CLEAN, bugged(number)),
                        patch=make_patch("s.py", bugged(number), CLEAN),
                    )
                )
            environment = built["environment"].model_copy(update={"image_name": repo})
            with open_for_writing(tmp_path / "tasks") as layout:
                ingestion = Ingestion(
                    repo=f"acme/{repo}",
                    url="local/x",
                    commit=commit,
                    license_spdx="MIT",
                    sandbox="local",
                    config_hash="0",
                    seed=0,
                    tasks=count,
                    rejected={},
                    quarantined={},
                    shards=write_tasks(layout, repo=f"acme/{repo}", commit=commit, tasks=tasks),
                    rejected_shards=(),
                    **{**built, "environment": environment},
                )
                add_ingestion(layout, ingestion)
        return tmp_path / "tasks"

    return write


def verify(folder: Path, **changes: Any) -> VerificationOutcome:
    asked = {"sample": None, "sandbox": "auto", "source": None, "workers": 1, "record": True} | changes
    return verify_dataset(folder, **asked)


def history(folder: Path) -> list[tuple[str, bool]]:
    return [(check.instance_id.split(".")[0], check.holds) for check in read_health(DatasetLayout(folder))]


@pytest.mark.usefixtures("backend")
def test_a_repository_that_cannot_be_had_stops_no_other_and_is_told(dataset: Callable[..., Path]) -> None:
    folder = dataset(gone=2, r0=1, r1=1)
    outcome = verify(folder)
    assert (outcome.verified, outcome.disagreeing, outcome.left_over) == (2, {}, 2)
    (lost,) = outcome.unchecked
    assert (lost.repo, len(lost.ids), "--source" in lost.reason) == ("acme/gone", 2, True)
    assert history(folder) == [("acme__r0", True), ("acme__r1", True)]


@pytest.mark.usefixtures("backend")
def test_the_command_says_what_could_not_be_checked_and_why(dataset: Callable[..., Path]) -> None:
    ran = CliRunner().invoke(main, ["verify", str(dataset(gone=2, r0=1))])
    assert ran.exit_code == 15
    assert "acme/gone at " in ran.output
    assert "2 tasks not checked: The environment gone is not stored" in ran.output
    assert "1 tasks verified in the local sandbox, 0 disagree." in ran.output
    assert "2 tasks could not be checked. The first: The environment gone" in ran.output


def test_what_one_repository_gave_is_kept_before_the_next_one_begins(
    dataset: Callable[..., Path], backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dataset(r0=1, r1=1)
    check_tasks = flows.reverify.check_tasks

    def killed(asked: Any, ingestion: Ingestion, ids: Any) -> Any:
        if ingestion.repo == "acme/r1":
            raise KeyboardInterrupt
        return check_tasks(asked, ingestion, ids)

    assert backend.has("r0")
    monkeypatch.setattr(flows.reverify, "check_tasks", killed)
    with pytest.raises(KeyboardInterrupt):
        verify(folder)
    assert history(folder) == [("acme__r0", True)]


@pytest.mark.usefixtures("backend")
def test_what_cannot_be_had_does_not_use_up_a_sample(dataset: Callable[..., Path]) -> None:
    """It was checked least often, so it is always asked for first."""
    folder = dataset(gone=3, r0=2)
    outcome = verify(folder, sample=2)
    assert outcome.verified == 2
    again = verify(folder, sample=2)
    assert (again.verified, again.left_over) == (2, 2)


def test_a_task_whose_sandbox_dies_is_told_and_the_others_are_checked(
    dataset: Callable[..., Path], backend: FakeBackend, suite: Suite
) -> None:
    def dies(tree: bytes, _run: int) -> tuple[str, ...]:
        if tree == bugged(1):
            raise SandboxFailed("it died")
        return () if tree == CLEAN else TESTS[:1]

    suite.failing = dies
    outcome = verify(dataset(r0=3))
    assert backend.opened
    assert (outcome.verified, [one.reason for one in outcome.unchecked]) == (2, ["it died"])


@pytest.mark.usefixtures("backend")
def test_nothing_is_kept_of_a_repository_whose_clean_tree_is_not_what_it_was(
    dataset: Callable[..., Path], suite: Suite
) -> None:
    folder = dataset(r0=2)
    suite.failing = lambda tree, _run: TESTS[1:2] if tree == CLEAN else TESTS[:2]
    outcome = verify(folder)
    assert (outcome.verified, outcome.disagreeing, history(folder)) == (0, {}, [])
    assert "the clean tree is not what it was: tests.test_s.test_one passed" in outcome.unchecked[0].reason
    assert suite.runs == [CLEAN], "no time is spent on tasks of which nothing can be said"
    shown = verify(folder, record=False)
    assert all("test_one fails with the fix applied" in one[0] for one in shown.disagreeing.values())


@pytest.mark.usefixtures("backend")
def test_what_one_run_alone_says_against_a_task_is_not_kept(dataset: Callable[..., Path], suite: Suite) -> None:
    folder = dataset(r0=2)

    def once(tree: bytes, run: int) -> tuple[str, ...]:
        if tree == bugged(1):
            return TESTS[:1] if run else TESTS[:2]
        return () if tree == CLEAN else TESTS[:1]

    suite.failing = once
    outcome = verify(folder)
    assert (outcome.verified, outcome.disagreeing) == (1, {})
    assert outcome.unchecked[0].reason == "one run speaks against them, and the one after does not"
    assert history(folder) == [("acme__r0", True)]


@pytest.mark.usefixtures("backend")
def test_what_two_runs_say_against_a_task_is_kept(dataset: Callable[..., Path], suite: Suite) -> None:
    folder = dataset(r0=2)
    suite.failing = lambda tree, _run: () if tree == CLEAN else TESTS[: 2 if tree == bugged(1) else 1]
    outcome = verify(folder)
    assert (outcome.verified, len(outcome.disagreeing), outcome.unchecked) == (2, 1, ())
    assert sorted(history(folder)) == [("acme__r0", False), ("acme__r0", True)]
    assert suite.runs.count(bugged(1)) == 2


@pytest.mark.usefixtures("backend")
def test_a_night_in_which_the_machine_breaks_down_quarantines_nothing(
    dataset: Callable[..., Path], suite: Suite
) -> None:
    """From the second task on everything fails; the clean tree tells, which is run again then."""
    folder = dataset(r0=2)

    def breaks_down(tree: bytes, run: int) -> tuple[str, ...]:
        if tree == bugged(2) or run:
            return TESTS
        return () if tree == CLEAN else TESTS[:1]

    suite.failing = breaks_down
    outcome = verify(folder)
    assert (outcome.verified, history(folder)) == (0, [])
    assert "the clean tree is not what it was" in outcome.unchecked[0].reason


@pytest.mark.usefixtures("backend")
def test_only_the_kind_of_sandbox_in_which_tasks_were_made_is_recorded(dataset: Callable[..., Path]) -> None:
    folder = dataset(r0=1)
    outcome = verify(folder, sandbox="docker")
    assert (outcome.verified, history(folder)) == (0, [])
    assert "made in the local sandbox, and only what they give there is recorded" in outcome.unchecked[0].reason


@pytest.mark.usefixtures("backend")
def test_a_release_is_refused_at_once_where_something_is_to_be_recorded(
    dataset: Callable[..., Path], tmp_path: Path, suite: Suite
) -> None:
    make_release(ReleaseSettings(datasets=(str(dataset(r0=1)),), out=tmp_path / "release"))
    with pytest.raises(DatasetError, match="is a release, which nothing is recorded in"):
        verify(tmp_path / "release")
    assert suite.runs == []


@pytest.mark.usefixtures("backend")
def test_a_folder_that_takes_no_files_is_refused_at_once(
    dataset: Callable[..., Path], suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = dataset(r0=1)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(StorageFailed, match=r"read-only for this user.*leave out --record"):
        verify(folder)
    assert suite.runs == []


@pytest.mark.usefixtures("backend")
def test_a_release_needs_no_health_and_says_how_many_tasks_were_checked(
    dataset: Callable[..., Path], tmp_path: Path
) -> None:
    folder = dataset(gone=2, r0=1)
    ran = CliRunner().invoke(main, ["release", str(folder), "--out", str(tmp_path / "release"), "--near", "2"])
    assert ran.exit_code == 0, ran.output
    assert "run again since they were made: 1 of 3 tasks" in ran.output


@pytest.mark.usefixtures("backend")
def test_the_way_out_of_quarantine_is_a_row_of_checks_that_hold(
    dataset: Callable[..., Path], suite: Suite, tmp_path: Path
) -> None:
    folder = dataset(r0=2)
    broken = suite.failing
    suite.failing = lambda tree, _run: () if tree == CLEAN else TESTS[: 2 if tree == bugged(1) else 1]
    verify(folder)
    suite.failing = broken

    def left_out(name: str) -> int:
        release = make_release(ReleaseSettings(datasets=(str(folder),), out=tmp_path / name)).release
        assert release is not None
        return sum(release.dropped["health"].values())

    for number in range(5):
        assert left_out(f"before-{number}") == 1
        ran = CliRunner().invoke(main, ["verify", str(folder), "--quarantined", "--record"])
        assert (ran.exit_code, "1 tasks verified" in ran.output) == (0, True), ran.output
    assert left_out("after") == 0
    assert "0 tasks verified" in CliRunner().invoke(main, ["verify", str(folder), "--quarantined"]).output
    assert [holds for _, holds in history(folder)].count(False) == 1, "its history is kept"


def test_older_checks_do_not_count_for_the_way_out(dataset: Callable[..., Path], tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from task_registry import load_tasks

    folder = dataset(r0=1)
    (task,) = load_tasks(folder)
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 8)]
    add_health(
        DatasetLayout(folder),
        [
            HealthCheck(
                instance_id=task.instance_id,
                checked_at=moment,
                sandbox="local",
                gymforge_version="1",
                disagreements=("t::a passed",) if moment.day == 3 else (),
            )
            for moment in moments
        ],
    )
    release = make_release(ReleaseSettings(datasets=(str(folder),), out=tmp_path / "release")).release
    assert release is not None
    assert release.dropped["health"] == {"flaky": 1}
