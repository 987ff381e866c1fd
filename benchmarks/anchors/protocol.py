"""SWE-smith's protocol for one candidate, apart from the containers: its script, and how it reads a log.

Pure functions. They follow `swesmith.harness` 0.0.9 (`utils.py`, `grading.py`, `valid.py`, `profiles/python.py`),
defects included, so that both anchors grade alike. `compare.py` lists the defects.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WORK_TREE = "/testbed"
PATCH_PATH = "/tmp/patch.diff"
SCRIPT_PATH = "/eval.sh"
START = ">>>>> Start Test Output"
END = ">>>>> End Test Output"
SHIPPED_LIMIT_S = 90
"""Its default limit of one candidate's suite."""

REPORTING = ("--disable-warnings", "--color=no", "--tb=no", "--verbosity=1")
"""What its Python profiles add to `pytest`. It says `--verbose`, which a `-q` of the repository's own would undo."""

_LINE = re.compile(r"^(\S+)\s+(FAILED|PASSED|SKIPPED|ERROR|XFAIL)")


class Grade(NamedTuple):
    """What the comparison of two logs gives."""

    failing: tuple[str, ...]
    """Ids of tests that pass on the clean tree and fail with the bug, as the log spells them."""
    passing: int
    """How many pass on both."""


def limit_s(suite_s: float) -> int:
    """The limit of one candidate's suite: the shipped one, or twice the clean suite's time where that is longer.

    Whoever writes a profile for a slow repository has to raise it.
    """
    return max(SHIPPED_LIMIT_S, round(2 * suite_s))


def shell_command(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A test command for the script: the frozen command, told to print one line a test, in the given environment."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    return "; ".join([*exports, shlex.join([*command, *REPORTING])])


def script(test_command: str) -> str:
    """The script that a container runs."""
    lines = ["#!/bin/bash", "set -uxo pipefail", f"cd {WORK_TREE}", f": '{START}'", test_command, f": '{END}'"]
    return "\n".join(lines) + "\n"


def read_log(log: str) -> Mapping[str, str]:
    """Status by test id, from the part of a log between the markers; empty where a marker is missing."""
    _, started, rest = log.partition(f"+ : '{START}'")
    body, ended, _ = rest.partition(f"+ : '{END}'")
    if not (started and ended):
        return {}
    return {match[1]: match[2] for line in body.split("\n") if (match := _LINE.match(line))}


def grade(reference: Mapping[str, str], bugged: Mapping[str, str]) -> Grade:
    """Compare a bugged run with the one on the clean tree; only PASSED and FAILED count."""
    passed = [test for test, status in reference.items() if status == "PASSED"]
    return Grade(
        failing=tuple(sorted(test for test in passed if bugged.get(test) == "FAILED")),
        passing=sum(bugged.get(test) == "PASSED" for test in passed),
    )


def unread(reference: Mapping[str, str], bugged: Mapping[str, str]) -> tuple[str, ...]:
    """Tests that pass on the clean tree, and of which the bugged run's log says nothing that can be read."""
    return tuple(sorted(test for test, status in reference.items() if status == "PASSED" and test not in bugged))
