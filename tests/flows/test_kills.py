"""The command is killed again and again at random moments, and loses, repeats and changes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sandbox", "kills"),
    [
        pytest.param("local", 50, marks=pytest.mark.sandbox, id="local"),
        pytest.param("docker", 10, marks=pytest.mark.docker, id="docker"),
    ],
)
def test_nothing_is_lost_repeated_or_changed_by_kills(sandbox: str, kills: int, shared_cache: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--kills", str(kills), "--sandbox", sandbox]
    done = subprocess.run(
        [*command, "--cache-dir", str(shared_cache), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert result["kills"] == kills
    assert done.returncode == 0
