"""The style that names the function, method or class to look into, and its file."""

from random import Random

from schemas.tasks import Issue
from synthesis.issues.context import IssueContext, Reveal, make_issue

TEMPLATES = (
    "The {kind} `{name}` in `{path}` does not work correctly. Please find the mistake and fix it.",
    "I believe that there is a bug in `{name}` (see `{path}`). Could you look into this {kind} and repair it?",
    "There is a bug in this project. These look related:\n\n- file: `{path}`\n- {kind}: `{name}`\n\nPlease fix it.",
    "Please check the {kind} `{name}` in `{path}`: it gives wrong results or fails where it used to work.",
)


class FunctionsWriter:
    """Reveals the changed entity and its file."""

    style = "functions"
    reveals: tuple[Reveal, ...] = (Reveal.FILES, Reveal.FUNCTIONS)

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """A candidate changes one entity, so there is always something to say."""
        entity = context.candidate.entity
        text = rng.choice(TEMPLATES).format(kind=entity.kind.value, name=entity.name, path=entity.path)
        return make_issue(self, text)
