"""The verifier against stock pytest, with a real git and trusted sample files; the sandbox runs them on the host."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import validation.verify
from extractors.diff import make_patch
from schemas.tasks import TaskInstance
from validation.junit import JunitResult, TestAddress, address_of
from validation.sandbox.fake import FakeBackend, FakeCall, result
from validation.sandbox.protocol import ENV_DIR, TESTBED, CommandResult, Limits
from validation.verify import JUNIT_PATH, Verifier, apply_with_git, compare

CLEAN = b"def double(x):\n    return x * 2\n\n\ndef triple(x):\n    return x * 3\n"
BUGGED = CLEAN.replace(b"x * 2", b"x + 2")
TESTS = b"""
import lib

def test_double(): assert lib.double(3) == 6
def test_double_two(): assert lib.double(2) == 4
def test_triple(): assert lib.triple(2) == 6
"""


def run_trusted(call: FakeCall) -> CommandResult:
    """Run our own sample files with stock pytest, as a sandbox would."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, content in call.files.items():
            if path.startswith(f"{TESTBED}/"):
                (root / path.removeprefix(f"{TESTBED}/")).write_bytes(content)
        command = [sys.executable if word in ("python", f"{ENV_DIR}/bin/python") else word for word in call.command]
        command = [word.replace(JUNIT_PATH, str(root / "junit.xml")) for word in command]
        done = subprocess.run(
            [*command, "-p", "no:randomly"], cwd=root, capture_output=True, check=False, env={"PATH": "/usr/bin:/bin"}
        )
        if (root / "junit.xml").exists():
            call.files[JUNIT_PATH] = (root / "junit.xml").read_bytes()
        return result(done.returncode, stdout=done.stdout, stderr=done.stderr)


def task(bugged: bytes = BUGGED, **changes: object) -> TaskInstance:
    fields: dict[str, object] = {
        "instance_id": "local__lib.00000000.op_change__0",
        "bug_patch": make_patch("lib.py", CLEAN, bugged),
        "patch": make_patch("lib.py", bugged, CLEAN),
        "FAIL_TO_PASS": ("test_lib.py::test_double",),
        "PASS_TO_PASS": ("test_lib.py::test_double_two", "test_lib.py::test_triple"),
        "edit_targets": (_Target("lib.py"),),
    }
    return TaskInstance.model_construct(**fields | changes)


class _Target:
    def __init__(self, path: str) -> None:
        self.path = path


def verifier(tests: bytes = TESTS, unrecorded: frozenset[str] = frozenset()) -> Verifier:
    backend = FakeBackend(run_trusted)
    backend.images["image"] = {f"{TESTBED}/lib.py": CLEAN, f"{TESTBED}/test_lib.py": tests}
    command = ("python", "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors")
    return Verifier(backend, "image", test_command=command, environment={}, unrecorded=unrecorded, limits=Limits())


def test_a_task_that_holds_has_no_disagreement() -> None:
    assert verifier().verify(task()).disagreements == ()


def test_a_recorded_failure_that_does_not_happen_is_found() -> None:
    claimed = task(FAIL_TO_PASS=("test_lib.py::test_double", "test_lib.py::test_double_two"), PASS_TO_PASS=())
    (finding,) = verifier().verify(claimed).disagreements
    assert finding == "test_lib.test_double_two is recorded as failing and does not fail with the bug"


def test_a_failure_that_is_not_recorded_is_found() -> None:
    claimed = task(FAIL_TO_PASS=("test_lib.py::test_triple",), PASS_TO_PASS=("test_lib.py::test_double_two",))
    findings = verifier().verify(claimed).disagreements
    assert any("test_double fails with the bug and is not recorded" in finding for finding in findings)


def test_a_quarantined_failure_is_not_asked_for() -> None:
    tests = TESTS + b"def test_flaky(): assert lib.double(5) == 10\n"
    flaky = frozenset({"test_lib.py::test_flaky"})
    assert verifier(tests, flaky).verify(task()).disagreements == ()
    assert verifier(tests).verify(task()).disagreements != ()


def test_a_test_whose_id_changes_from_run_to_run_is_not_asked_for() -> None:
    tests = (
        TESTS
        + b"""
import pytest, time
@pytest.mark.parametrize("now", [str(time.time_ns())])
def test_now(now): assert lib.double(1) == 2 or True
"""
    )
    assert verifier(tests).verify(task()).disagreements == ()


def test_a_recorded_test_that_does_not_pass_twice_on_the_clean_tree_is_found(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    tests = (
        TESTS
        + b"""
import os, pytest
def test_once():
    first = not os.path.exists(SEEN)
    open(SEEN, "w").close()
    assert first
"""
    )
    recorded = task(PASS_TO_PASS=("test_lib.py::test_double_two", "test_lib.py::test_once"))
    findings = verifier(tests.replace(b"SEEN", repr(str(seen)).encode())).verify(recorded).disagreements
    assert "test_lib.test_once fails with the fix applied" in findings


def test_a_suite_whose_process_does_not_end_is_read_after_its_report(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(validation.verify, "_END_GRACE_S", 1.0)
    waited = tmp_path / "waited"
    tests = (
        TESTS
        + b"""
import threading, time
def wait():
    time.sleep(40)
    open(WAITED, "w").close()
threading.Thread(target=wait).start()
"""
    )
    assert verifier(tests.replace(b"WAITED", repr(str(waited)).encode())).verify(task()).disagreements == ()
    assert not waited.exists()


def test_a_fix_that_does_not_restore_the_clean_file_is_found() -> None:
    wrong = make_patch("lib.py", BUGGED, CLEAN.replace(b"x * 2", b"2 * x"))
    (finding,) = verifier().verify(task(patch=wrong)).disagreements
    assert "byte for byte" in finding


def test_a_patch_that_git_refuses_is_found() -> None:
    other = make_patch("lib.py", CLEAN.replace(b"double", b"twice"), BUGGED.replace(b"double", b"twice"))
    (finding,) = verifier().verify(task(bug_patch=other)).disagreements
    assert "git does not apply the patch" in finding


def test_a_bug_that_kills_the_process_is_judged_test_by_test() -> None:
    deadly = b"import os\n" + CLEAN.replace(b"return x * 3", b"os._exit(3)")
    crash = task(
        bugged=deadly,
        bug_patch=make_patch("lib.py", CLEAN, deadly),
        patch=make_patch("lib.py", deadly, CLEAN),
        FAIL_TO_PASS=("test_lib.py::test_triple",),
        PASS_TO_PASS=("test_lib.py::test_double", "test_lib.py::test_double_two"),
    )
    assert verifier().verify(crash).disagreements == ()


def test_a_test_that_is_skipped_with_the_bug_is_neither_failing_nor_passing() -> None:
    clean = {address_of("t.py::a"): JunitResult.PASSED, address_of("t.py::b"): JunitResult.PASSED}
    bugged: Mapping[TestAddress, JunitResult] = {
        address_of("t.py::a"): JunitResult.FAILED,
        address_of("t.py::b"): JunitResult.SKIPPED,
    }
    honest = task(FAIL_TO_PASS=("t.py::a",), PASS_TO_PASS=())
    assert compare(honest, clean=clean, bugged=bugged, unrecorded=frozenset()) == ()
    claiming = task(FAIL_TO_PASS=("t.py::a",), PASS_TO_PASS=("t.py::b",))
    assert len(compare(claiming, clean=clean, bugged=bugged, unrecorded=frozenset())) == 1


@pytest.mark.parametrize("name", ["lib.py", "sub folder/ünï.py"])
def test_git_applies_patches_for_any_path(name: str) -> None:
    assert apply_with_git({name: CLEAN}, make_patch(name, CLEAN, BUGGED)) == {name: BUGGED}
