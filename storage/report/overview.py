"""What the overview shows, counted and measured out: figures, bars, a histogram; pure functions."""

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from schemas.manifest import ShardManifest
from schemas.tasks import SCHEMA_VERSION
from storage.report.code import excerpt
from storage.report.facts import ReportFacts

BINS = 20
MOST_REPOSITORIES = 500
MOST_LINES = 12
HIDDEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
"""Characters that cannot be seen, or that turn the order of others round; `report.js` has the same list."""
_STAGES = {
    "synthesis": "Not a usable change",
    "validation": "Not proven by the tests",
    "finish": "No sound task text or plan",
    "release": "Kept out by a gate",
}
_LEFT = {
    "synthesis": "Candidates",
    "validation": "Proven by the tests",
    "finish": "Validated tasks",
    "release": "Released tasks",
}


class Bar(NamedTuple):
    label: str
    number: float
    share: float
    """Of the largest bar, 0..1: its length."""
    part: float
    """Of all, 0..1."""
    of: int | None = None
    """Of how many `number` is a part, where that is known."""


class FunnelStep(NamedTuple):
    label: str
    left: int
    share: float
    """Of the first step, 0..1."""
    lost: int
    """Between the step before and this one."""
    why: str


def visible(text: object) -> Markup:
    """Text of a repository's for a page: characters that cannot be seen are named."""
    said = str(text)
    parts: list[Markup] = []
    at = 0
    for match in HIDDEN.finditer(said):
        parts += [
            Markup.escape(said[at : match.start()]),
            Markup('<span class="ctl">U+{}</span>').format(f"{ord(match[0]):04X}"),
        ]
        at = match.end()
    return Markup("").join([*parts, Markup.escape(said[at:])])


def overview(manifest: ShardManifest, facts: ReportFacts) -> dict[str, Any]:
    """Everything that the overview's template shows."""
    counts = facts.counts
    total = sum(counts.tasks.values())
    steps = funnel(total, facts.lost)
    return {
        "total": total,
        "figures": _figures(manifest, facts, total),
        "funnel": steps,
        "lost": [(_STAGES[stage], bars(reasons)) for stage, reasons in facts.lost.items() if reasons],
        "histogram": histogram(counts.complexity),
        "median_score": statistics.median(counts.complexity) if counts.complexity else None,
        "languages": bars(counts.languages),
        "domains": bars(counts.domains, total=total),
        "strategies": bars(counts.strategies, of=facts.tried),
        "stages": bars(counts.stages),
        "styles": bars(counts.issue_styles),
        "splits": bars(counts.tasks) if manifest.release else [],
        "times": facts.times,
        "time_bars": bars(facts.times.stages_s, ordered=True) if facts.times else [],
        "example": counts.example,
        "excerpt": excerpt(counts.example.patch, most=MOST_LINES) if counts.example else [],
        "release": manifest.release,
        "gates": _gates(manifest),
        "repositories": manifest.ingestions[:MOST_REPOSITORIES],
        "more_repositories": max(0, len(manifest.ingestions) - MOST_REPOSITORIES),
        "schema": SCHEMA_VERSION,
    }


def bars(
    numbers: Mapping[str, float],
    *,
    of: Mapping[str, int] | None = None,
    total: float | None = None,
    ordered: bool = False,
) -> list[Bar]:
    """Largest first, or in the order that is given; `total` where the numbers overlap."""
    largest, total = max(numbers.values(), default=0) or 1, total or sum(numbers.values()) or 1
    rows = list(numbers.items()) if ordered else sorted(numbers.items(), key=lambda one: (-one[1], one[0]))
    return [Bar(name, number, number / largest, number / total, (of or {}).get(name)) for name, number in rows]


def funnel(tasks: int, lost: Mapping[str, Mapping[str, int]]) -> list[FunnelStep]:
    """From everything that was tried to the tasks that are left."""
    gone = {stage: sum(reasons.values()) for stage, reasons in lost.items()}
    left = tried = tasks + sum(gone.values())
    names = _LEFT
    if not gone.get("finish"):  # then what is proven is what there is, and one level says it
        gone.pop("finish", None)
        names = _LEFT | {"validation": _LEFT["finish"]}
    steps = [FunnelStep("Rewrites tried", tried, 1.0, 0, "")]
    for stage, number in gone.items():
        left -= number
        steps.append(FunnelStep(names[stage], left, left / (tried or 1), number, _STAGES[stage]))
    return steps


def histogram(scores: Sequence[float]) -> list[Bar]:
    """Numbers of tasks by score, in `BINS` equal steps from 0 to 1."""
    counts = [0] * BINS
    for score in scores:
        counts[min(BINS - 1, int(score * BINS))] += 1
    names = (f"{number / BINS:.2f} to {(number + 1) / BINS:.2f}" for number in range(BINS))
    return bars(dict(zip(names, counts, strict=True)), ordered=True)


def _figures(manifest: ShardManifest, facts: ReportFacts, total: int) -> list[tuple[str, str]]:
    """The numbers of the head, each with what it is."""
    counts = facts.counts
    tried = total + sum(sum(reasons.values()) for reasons in facts.lost.values())
    found = [
        (f"{len(counts.repos):,}", "repository" if len(counts.repos) == 1 else "repositories"),
        (f"{len(counts.strategies):,}", "kind of bug" if len(counts.strategies) == 1 else "kinds of bugs"),
    ]
    if counts.tests_failing:
        found.append((f"{statistics.median_low(counts.tests_failing):,}", "failing tests in the median task"))
    if tried:
        found.append((f"{total / tried:.0%}", f"of {tried:,} rewrites became tasks"))
    audited = sum(one.fast_path.audited for one in manifest.ingestions if one.fast_path)
    if audited:
        found.append((f"{audited:,}", "verdicts audited by whole suites"))
    health = counts.health
    if health.rejected_later is not None:
        found.append((f"{health.rejected_later:.1%}", f"of {health.checked:,} tasks run again were rejected later"))
    return found


def _gates(manifest: ShardManifest) -> list[tuple[str, str]]:
    """Gate, and what it kept out or why it was not asked."""
    release = manifest.release
    if release is None:
        return []
    rows = [
        (gate, ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "nothing kept out")
        for gate, reasons in release.dropped.items()
    ]
    return rows + [(gate, f"not checked: {why}") for gate, why in release.not_checked.items()]
