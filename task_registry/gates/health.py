"""Keep out tasks that did not hold when they were run again, once and for all: quarantine, with its history."""

from collections.abc import Mapping, Sequence

from task_registry.gates.gate import Facts, Finding, GateSettings


def check(tasks: Sequence[Facts], settings: GateSettings) -> Mapping[str, Finding]:
    """See `Gate`. Reasons: `flaky` (it held at least once as well), `broken` (it never did)."""
    del settings
    found = {}
    for task in tasks:
        against = [one for one in task.checks if not one.holds]
        if against:
            reason = "flaky" if len(against) < len(task.checks) else "broken"
            last = against[-1]
            detail = (
                f"{len(against)} of {len(task.checks)} checks speak against it, last on {last.checked_at:%Y-%m-%d}: "
                f"{last.disagreements[0]}"
            )
            found[task.instance_id] = Finding(reason, detail)
    return found
