"""The server that a command starts for itself."""

import os
from pathlib import Path

import pytest

from flows.prefect_server import start_server
from schemas.errors import GymforgeError

pytestmark = pytest.mark.slow


def test_its_log_is_its_own_and_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_URL", "of the user")
    (tmp_path / "server-1.log").write_text("another command's")
    with start_server(tmp_path) as wait_until_ready:
        wait_until_ready()
        assert (tmp_path / f"server-{os.getpid()}.log").exists()
    assert [path.name for path in tmp_path.glob("*.log")] == ["server-1.log"]


def test_the_log_of_a_server_that_did_not_start_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "nonsense")
    with pytest.raises(GymforgeError, match="Its log is") as failed, start_server(tmp_path) as wait_until_ready:
        wait_until_ready()
    (log,) = tmp_path.glob("server-*.log")
    assert str(log) in str(failed.value)
    assert "Could not parse SQLAlchemy URL" in log.read_text()
