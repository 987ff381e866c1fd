"""Keep out tasks that did not hold when they were run again, until they have held several times in a row since."""

from collections.abc import Mapping, Sequence

from schemas.health import HealthCheck
from task_registry.gates.gate import Facts, Finding, GateSettings

RECOVERY = 5
"""A task whose last so many checks all hold is out of quarantine. One that fails in one run of three, say, is seen to
do so twice in a row, as a check asks, in one check of nine."""


def check(tasks: Sequence[Facts], settings: GateSettings) -> Mapping[str, Finding]:
    """See `Gate`. Reasons: `flaky` (it held at least once as well), `broken` (it never did)."""
    del settings
    found = {}
    for task in tasks:
        if in_quarantine(task.checks):
            against = [one for one in task.checks if not one.holds]
            reason = "flaky" if len(against) < len(task.checks) else "broken"
            last = against[-1]
            detail = (
                f"{len(against)} of {len(task.checks)} checks speak against it, last on {last.checked_at:%Y-%m-%d}: "
                f"{last.disagreements[0]}"
            )
            found[task.instance_id] = Finding(reason, detail)
    return found


def in_quarantine(checks: Sequence[HealthCheck]) -> bool:
    """Whether one of a task's last checks speaks against it; `checks` are its own, oldest first."""
    return not all(one.holds for one in checks[-RECOVERY:])
