"""A measurement summed up: seconds a candidate, by phase, and what came out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.anchors.results import Measured, Measurement, Reference, Session, Store
from schemas.errors import InvalidInput
from schemas.model import Model


class Figures(Model):
    """A measurement summed up."""

    anchor: str
    repo: str
    commit: str
    image: str
    seed: int
    workers: int
    candidates: int
    wall_s: float
    seconds_per_candidate: float
    phases_s: Mapping[str, float]
    """Mean seconds a candidate by phase; with several workers their sum is more than `seconds_per_candidate`."""
    slowest_s: float
    accepted: int
    rejected: Mapping[str, int]
    reference_s: float
    """The run on the clean tree, which is not in the above; 0 where there is none."""
    mean_load: float | None
    """Of the machine while it was measured; `None` where it was not noted."""
    dates: tuple[str, ...]
    machines: tuple[Mapping[str, str], ...]
    file: Path


def figures(measurement: Measurement, store: Store) -> Figures:
    """Sum up what is done of the sample.

    Raises:
        InvalidInput: nothing is done yet.
    """
    done = store.measured()
    lines = [done[one.id] for one in measurement.sample() if one.id in done]
    if not lines:
        raise InvalidInput(f"{measurement.path} holds nothing of the sample yet")
    sessions = [one for one in store.of_kind(Session) if isinstance(one, Session)]
    numbers = {line.session for line in lines}
    wall_s = wall(lines)
    loads = [line.load for line in lines if line.load is not None]
    return Figures(
        anchor=measurement.anchor,
        repo=measurement.subject.ref.name,
        commit=measurement.subject.ref.commit,
        image=measurement.subject.environment.image_name,
        seed=measurement.seed,
        workers=measurement.workers,
        candidates=len(lines),
        wall_s=round(wall_s, 2),
        seconds_per_candidate=round(wall_s / len(lines), 3),
        phases_s=mean_phases(lines),
        slowest_s=round(max(line.seconds for line in lines), 2),
        accepted=sum(line.accepted for line in lines),
        rejected=dict(sorted(Counter(line.reason for line in lines if not line.accepted).items())),
        reference_s=round(
            max((one.seconds for one in store.of_kind(Reference) if isinstance(one, Reference)), default=0.0), 2
        ),
        mean_load=round(sum(loads) / len(loads), 2) if loads else None,
        dates=tuple(sorted({one.date for one in sessions if one.number in numbers})),
        machines=_unique([one.machine for one in sessions if one.number in numbers]),
        file=measurement.path,
    )


def wall(lines: Sequence[Measured]) -> float:
    """Seconds by the clock in which one of these candidates at least was worked on."""
    total_s, session, until_s = 0.0, 0, 0.0
    for line in sorted(lines, key=lambda line: (line.session, line.started_s)):
        if line.session != session:
            session, until_s = line.session, line.started_s
        total_s += max(0.0, line.ended_s - max(line.started_s, until_s))
        until_s = max(until_s, line.ended_s)
    return total_s


def mean_phases(lines: Sequence[Measured]) -> Mapping[str, float]:
    """Mean seconds of each phase that is known."""
    sums: Counter[str] = Counter()
    for line in lines:
        sums.update(line.phases_s)
    return {phase: round(seconds / len(lines), 3) for phase, seconds in sums.items()}


def _unique(machines: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    return tuple(one for number, one in enumerate(machines) if one not in machines[:number])


def counts(lines: Sequence[Measured]) -> dict[str, object]:
    """What came out, without times: for the truth, whose times compare with nothing."""
    return {
        "candidates": len(lines),
        "accepted": sum(line.accepted for line in lines),
        "rejected": dict(sorted(Counter(line.reason for line in lines if not line.accepted).items())),
        "over_limit": {line.id: line.facts["over_limit"] for line in lines if "over_limit" in line.facts},
        "skipped": {line.id: line.facts["skipped"] for line in lines if "skipped" in line.facts},
    }
