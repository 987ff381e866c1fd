"""The benchmark of synthesis, as a user starts it: both sides make candidates, and ours lack none of SWE-smith's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_ours_have_all_of_swesmiths_mutants_and_both_are_timed() -> None:
    command = [sys.executable, "-m", "benchmarks.synthesis", "examples/tinystats.bundle", "--rounds", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    mutants = found["mutants"]
    assert mutants["same"] > 0
    assert (mutants["missing"], mutants["list_of_missing"]) == (0, [])
    # The bundle has an async function, which SWE-smith's adapter does not read: ours are all of its mutants, and more.
    assert found["registered, 1"]["candidates"] > mutants["same"]
    for name in ("swesmith, 1", "registered, 1", "registered, 2", "all, 1", "all, 2"):
        assert found[name]["candidates"] > 0
        assert 0 < found[name]["wall_s"]["min"] <= found[name]["wall_s"]["max"]
    for name in ("registered", "all"):
        assert found[f"{name}, 1"]["candidates"] == found[f"{name}, 2"]["candidates"]
    assert found["all, 1"]["candidates"] >= found["registered, 1"]["candidates"]
    assert found["swesmith, 1"]["times_swesmith_by_wall"] == 1.0
