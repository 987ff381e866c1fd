"""Choose a style for a candidate and hold its text to what the style promises."""

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from random import Random

from schemas.tasks import Issue
from synthesis.issues.context import MAX_TEXT_CHARS, IssueContext, IssueLeaks, IssueWriter, Reveal
from synthesis.issues.leak_check import find_leaks
from synthesis.issues.table import load_writer, style_names

ATTEMPTS = 8
"""How often a style may try, with another seed and more particulars each time."""


def write_issue(
    context: IssueContext,
    *,
    seed: int,
    styles: Sequence[str] | None = None,
    taken: AbstractSet[str] = frozenset(),
) -> Issue:
    """Write an issue in the first style, in an order drawn from seed and bug, that can keep its promise.

    Every style comes first equally often. `taken` holds the texts of other tasks: a text that reveals behaviour
    is never equal to one of them. It is written with more particulars until it is unlike them all, then the next
    style is tried. Deterministic in its arguments; a caller that wants it so over a whole dataset hands the
    candidates over in a fixed order.

    Raises:
        InvalidInput: a style does not exist.
        IssueLeaks: every style either has nothing to say, leaks, or repeats another task's text.
    """
    names = tuple(dict.fromkeys(styles if styles is not None else style_names()))
    writers = {name: load_writer(name) for name in names}
    order = sorted(names)
    _generator(seed, context, "order").shuffle(order)
    refusals = []
    for name in order:
        outcome = _try_style(writers[name], context, seed=seed, taken=taken)
        if isinstance(outcome, Issue):
            return outcome
        refusals.append(f"{name}: {outcome}")
    entity = context.candidate.entity
    raise IssueLeaks(
        f"No issue text for the {context.candidate.strategy} bug in {entity.name} ({entity.path}): "
        f"{'; '.join(refusals) or 'no style was allowed'}. Allow more styles, or leave this candidate out."
    )


def _try_style(writer: IssueWriter, context: IssueContext, *, seed: int, taken: AbstractSet[str]) -> Issue | str:
    """A text that keeps the style's promise, or why there is none."""
    refusal = "nothing to say"
    for attempt in range(ATTEMPTS):
        detailed = context._replace(detail=attempt)
        issue = writer.write(detailed, _generator(seed, context, f"{writer.style}:{attempt}"))
        if issue is None:
            return refusal
        reveals = frozenset(Reveal(name) for name in issue.reveals)
        leaks = find_leaks(issue.text, context, reveals=reveals)
        if not issue.text.strip() or len(issue.text) > MAX_TEXT_CHARS:
            refusal = f"a text of {len(issue.text)} characters"
        elif leaks:
            refusal = f"leaks {leaks[0].kind.value} ({leaks[0].found})"
        elif Reveal.BEHAVIOUR in reveals and issue.text in taken:
            refusal = "another task has the same text"
        else:
            return issue
    return refusal


def _generator(seed: int, context: IssueContext, purpose: str) -> Random:
    """Random numbers that depend on the run's seed, the bug and the purpose, and on nothing else."""
    key = f"{seed}\n{purpose}\n{context.candidate.bug_patch}".encode("utf-8", "surrogatepass")
    return Random(int.from_bytes(hashlib.sha256(key).digest()))  # noqa: S311 - choosing words, not keys
