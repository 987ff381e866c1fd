"""The history of checks: nothing is lost, whoever writes at the same time."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from schemas.errors import DatasetDamaged
from schemas.health import HealthCheck
from storage.health import add_health, read_health
from storage.layout import DatasetLayout


def check(number: int, *against: str) -> HealthCheck:
    moment = datetime(2026, 1, 1, 0, number, tzinfo=UTC)
    return HealthCheck(
        instance_id=f"i{number}", checked_at=moment, sandbox="local", gymforge_version="1", disagreements=against
    )


def test_what_was_added_is_read_in_order(layout: DatasetLayout) -> None:
    assert read_health(layout) == ()
    add_health(layout, [check(0)])
    add_health(layout, [check(1, "ä\nb"), check(2)])
    assert read_health(layout) == (check(0), check(1, "ä\nb"), check(2))
    assert [one.holds for one in read_health(layout)] == [True, False, True]


def test_a_damaged_line_is_named(layout: DatasetLayout) -> None:
    add_health(layout, [check(0)])
    layout.health.write_bytes(layout.health.read_bytes() + b'{"instance_id": 3}\n')
    with pytest.raises(DatasetDamaged, match=r"health\.jsonl, line 2, is damaged.*delete the line"):
        read_health(layout)


@pytest.mark.slow
def test_processes_that_add_at_the_same_time_lose_nothing(layout: DatasetLayout) -> None:
    script = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from schemas.health import HealthCheck; from storage.health import add_health\n"
        "from storage.layout import DatasetLayout\n"
        "for number in range(20):\n"
        "    add_health(DatasetLayout(Path(sys.argv[1])), [HealthCheck(\n"
        "        instance_id=f'{sys.argv[2]}-{number}', checked_at=datetime(2026, 1, 1, tzinfo=UTC), sandbox='local',\n"
        "        gymforge_version='1', disagreements=())])\n"
    )
    several = [subprocess.Popen([sys.executable, "-c", script, str(layout.root), name]) for name in "abc"]
    assert [one.wait(timeout=60) for one in several] == [0, 0, 0]
    assert {one.instance_id for one in read_health(layout)} == {f"{name}-{n}" for name in "abc" for n in range(20)}
