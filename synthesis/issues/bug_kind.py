"""The style that says what sort of mistake was made, and nothing about where."""

from random import Random

from schemas.tasks import Issue
from synthesis.issues.context import IssueContext, Reveal, make_issue

TEMPLATES = (
    "There is a bug in this code base. {kind} Please find the place and correct it.",
    "Some behaviour of this project is wrong. What I can say about the cause: {kind}\n\nPlease fix it.",
    "A mistake crept into the source. My best guess at its nature: {kind}\n\nPlease look for it and repair it.",
    "Please look for a bug of this sort and fix it: {kind}",
)
MAX_KIND_CHARS = 1000


class BugKindWriter:
    """Reveals what the strategy does, in the strategy's own words."""

    style = "bug_kind"
    reveals: tuple[Reveal, ...] = (Reveal.BUG_KIND,)

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """`None` where the strategy does not explain itself."""
        kind = " ".join(context.candidate.explanation.split())
        if not kind or len(kind) > MAX_KIND_CHARS:
            return None
        if kind[-1] not in ".!?":
            kind += "."
        return make_issue(self, rng.choice(TEMPLATES).format(kind=kind))
