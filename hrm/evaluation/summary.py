"""Scores of many tasks in few numbers: each with its interval, by language, domain or complexity, and against another
run's.
"""

from collections.abc import Callable, Mapping, Sequence

from hrm.evaluation.estimates import Difference, Estimate, difference, estimate, pass_at_k
from hrm.evaluation.scores import Score

METRICS: Mapping[str, Callable[[Score], float]] = {
    "bits_per_byte": lambda one: one.bits / max(1, one.bytes),
    "line@1": lambda one: one.line_at_1,
    "line@3": lambda one: one.line_at_3,
    "any_line@1": lambda one: one.any_line_at_1,
    "any_line@3": lambda one: one.any_line_at_3,
    "any_site@1": lambda one: one.any_site_at_1,
    "any_site@3": lambda one: one.any_site_at_3,
    "exact": lambda one: one.is_exact,
    "applies": lambda one: one.applies,
    "segments": lambda one: one.segments,
    "seconds": lambda one: one.seconds,
    "tokens_per_s": lambda one: one.tokens / one.seconds if one.seconds else 0.0,
}
"""Name to one task's value. `bits_per_byte` is a mean over tasks, not over bytes: a long response counts once."""

SLICES: Mapping[str, Callable[[Score], Sequence[str]]] = {
    "language": lambda one: (one.language,),
    "domain": lambda one: one.domains or ("none",),
    "complexity": lambda one: (_quarter(one.complexity),),
}
"""By what scores are told apart, and the groups that a task is of; one task may have several domains."""


def summarize(scores: Sequence[Score], *, seed: int = 0) -> dict[str, Estimate]:
    """Every metric's mean and interval; pass@1 and pass@k where all tasks had `k` attempts judged.

    Raises:
        ValueError: there are no scores.
    """
    return {name: estimate(list(values.values()), seed=seed) for name, values in _values(scores).items()}


def sliced(scores: Sequence[Score], *, seed: int = 0) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Slice to group to metric to estimate."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for name, groups_of in SLICES.items():
        groups: dict[str, list[Score]] = {}
        for one in scores:
            for group in groups_of(one):
                groups.setdefault(group, []).append(one)
        found[name] = {group: summarize(members, seed=seed) for group, members in sorted(groups.items())}
    return found


def compare(ours: Sequence[Score], theirs: Sequence[Score], *, seed: int = 0) -> dict[str, Difference]:
    """By how much each metric that both have is higher in `ours`, task by task.

    Raises:
        ValueError: they are not about the same tasks.
    """
    mine, other = _values(ours), _values(theirs)
    return {name: difference(mine[name], other[name], seed=seed) for name in mine if name in other}


def beside_chance(scores: Sequence[Score], *, seed: int = 0) -> dict[str, Difference]:
    """By how much more often the pointer finds the line than one does who guesses, task by task."""
    values = _values(scores)
    return {
        f"line@{k} - {guess}@{k}": difference(values[f"line@{k}"], values[f"{guess}@{k}"], seed=seed)
        for k in (1, 3)
        for guess in ("any_line", "any_site")
    }


def _values(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Metric to task to value."""
    values = {name: {one.instance_id: float(of(one)) for one in scores} for name, of in METRICS.items()}
    attempts = min((one.attempts for one in scores), default=0)
    for k in sorted({1, attempts} if attempts else ()):
        values[f"pass@{k}"] = {one.instance_id: pass_at_k(one.attempts, one.solved, k) for one in scores}
    return values


def _quarter(complexity: float) -> str:
    low = min(int(complexity * 4), 3) / 4
    return f"{low:.2f} to {low + 0.25:.2f}"
