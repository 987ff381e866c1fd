"""The style that names the file to look into."""

from random import Random

from schemas.tasks import Issue
from synthesis.issues.context import IssueContext, Reveal, make_issue

TEMPLATES = (
    "Something is wrong in `{path}`. Please look through it and fix what you find.",
    "I traced a bug as far as this file:\n\n- `{path}`\n\nPlease find the mistake in it and correct it.",
    "`{path}` does not behave as it should any more. Can you find out why and repair it?",
    "There is a bug in this project, and I am fairly sure that it sits in `{path}`. Please fix it.",
)


class FilesWriter:
    """Reveals the changed file."""

    style = "files"
    reveals: tuple[Reveal, ...] = (Reveal.FILES,)

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """A candidate changes one file, so there is always something to say."""
        return make_issue(self, rng.choice(TEMPLATES).format(path=context.candidate.entity.path))
