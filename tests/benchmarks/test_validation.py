"""The benchmark of validation, as a user starts it: its last line has what it promises."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CANDIDATES, COMPARED, ROUNDS = 6, 2, 2


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_last_line_is_an_object_with_all_figures(tmp_path: Path) -> None:
    def measure(*more: str) -> dict[str, Any]:
        command = [sys.executable, "benchmarks/validation.py", "examples/tinystats.bundle", "--sandbox", "local"]
        command += ["--candidates", str(CANDIDATES), "--cache", str(tmp_path), "--anchors", *more, "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    found = measure("--truth", str(COMPARED), "--rounds", str(ROUNDS))
    assert (found["candidates"], found["rounds"], found["compared"]) == (CANDIDATES, ROUNDS, COMPARED)
    assert (found["disagreements"], found["disagreeing"], found["unlike_between_rounds"]) == (0, [], {})
    verdicts, seconds = found["verdicts"], found["seconds_per_candidate"]
    assert sum(verdicts.values()) == CANDIDATES
    assert verdicts["accepted"]
    assert found["seconds_per_candidate_min_max"][0] <= seconds <= found["seconds_per_candidate_min_max"][1]
    assert 0 < found["floor_s"] < seconds
    assert {"environment", "baseline", "impact"} <= set(found["shared_s"])
    assert found["audits_s"]
    again = measure()
    assert (again["compared"], again["disagreements"]) == (0, None), "nothing was compared"
    assert again["verdicts"] == verdicts
