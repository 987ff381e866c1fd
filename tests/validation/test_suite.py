"""Reading the channel, and the command that makes a run repeatable."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import SandboxFailed
from schemas.reports import Outcome
from validation.channel import normalise, read_channel
from validation.sandbox.protocol import CommandResult
from validation.suite import frozen_test_command, pytest_arguments


def result(channel: bytes, *, exit_code: int | None = 0, timed_out: bool = False, stderr: bytes = b"") -> CommandResult:
    return CommandResult(
        exit_code=exit_code,
        stdout=b"",
        stderr=stderr,
        channel=channel,
        timed_out=timed_out,
        out_of_memory=False,
        truncated=False,
        duration_s=1.0,
    )


def record(test: str, when: str = "call", outcome: str = "passed") -> bytes:
    fields = {
        "e": "report",
        "t": test,
        "when": when,
        "outcome": outcome,
        "xfail": False,
        "duration_s": 0.1,
        "cpu_s": 0.1,
    }
    return json.dumps(fields | {"failure": None}).encode() + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        b'["report"]',
        b'{"e": "report", "t": [], "when": 1}',
        b"[" * 200_000,
        b'{"e": "died", "t": "x", "status": 1e999}',
        b'{"e": "coverage", "path": "a", "lines": {"1": [99]}, "imports": []}',
        b'{"e": "coverage", "path": "a", "lines": 3, "imports": []}',
        b'{"e": "nonsense"}',
    ],
    ids=["list", "types", "deep", "infinite", "index", "lines", "unknown"],
)
def test_a_malformed_record_is_refused_and_no_error_of_the_hosts(line: bytes) -> None:
    assert read_channel(result(line)).refused_records == 1


@given(st.binary())
def test_any_bytes_on_the_channel_are_read_without_an_error(channel: bytes) -> None:
    read_channel(result(channel))


@given(st.lists(st.text(), unique=True), st.integers(min_value=0))
def test_a_cut_channel_gives_only_whole_records(tests: list[str], cut: int) -> None:
    whole = b"".join(map(record, tests))
    run = read_channel(result(whole[: cut % (len(whole) + 1)]))
    names = [test.encode("utf-8", "backslashreplace").decode() for test in tests]
    assert list(run.report.outcomes) == names[: len(run.report.outcomes)]


def test_a_failing_teardown_overrides_a_passing_call() -> None:
    run = read_channel(result(record("t") + record("t", "teardown", "failed")))
    assert run.report.outcomes == {"t": Outcome.ERROR}


def test_a_runner_that_never_started_is_the_sandboxs_failure() -> None:
    with pytest.raises(SandboxFailed, match="no such file"):
        read_channel(result(b"", exit_code=127, stderr=b"python: no such file"))


def test_the_command_freezes_what_the_environment_holds_and_nothing_else() -> None:
    command = frozen_test_command(("python", "-m", "pytest", "tests"), ("hypothesis==6", "pytest_xdist==3", "six==1"))
    assert "--hypothesis-seed=0" in command
    assert "-n0" in command
    assert "--randomly-seed=0" not in command
    assert command[:4] == ("python", "-m", "pytest", "tests")


@pytest.mark.parametrize("command", [("tox",), ("python", "setup.py", "test"), ()])
def test_another_runner_is_refused_with_what_to_do(command: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"gymforge\.toml"):
        pytest_arguments(command)


def test_what_differs_between_equal_failures_is_normalised() -> None:
    first = "<A object at 0x7f01abcd> in /tmp/pytest-of-gym/pytest-3/test_a0/x took 0.12s"
    second = "<A object at 0x55e0ffff> in /tmp/pytest-of-gym/pytest-0/test_a0/x took 1.5s"
    assert normalise(first) == normalise(second)
