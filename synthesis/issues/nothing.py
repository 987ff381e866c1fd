"""The style that says nothing but that something is wrong."""

from random import Random

from schemas.tasks import Issue
from synthesis.issues.context import IssueContext, Reveal, make_issue

TEMPLATES = (
    "Something in this project is broken. Please find out what it is and repair it.",
    "This code base has a bug. I cannot say more about it: please track it down and fix it.",
    "The project does not do what it should any more. Please find the cause and correct it.",
    "There is a defect somewhere in the source. Find it, and put it right.",
)


class NothingWriter:
    """Reveals nothing; can be written for every candidate, so these texts are shared by many tasks."""

    style = "nothing"
    reveals: tuple[Reveal, ...] = ()

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """One of a few fixed texts."""
        del context
        return make_issue(self, rng.choice(TEMPLATES))
