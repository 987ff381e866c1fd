"""The style that lists the failing tests."""

from random import Random

from schemas.tasks import Issue
from synthesis.issues.context import IssueContext, Reveal, bulleted, make_issue

ONE = (
    "A test fails that should pass:\n\n{tests}\n\nPlease change the code, not the test, so that it passes.",
    "The suite is red because of one test:\n\n{tests}\n\nPlease find out what broke it and fix the source.",
    "This test used to pass and does not any more:\n\n{tests}\n\nPlease repair the code that it tests.",
)
MANY = (
    "{count} tests fail that should pass:\n\n{tests}\n\nPlease change the code, not the tests, so that they pass.",
    "The suite is red. These tests fail:\n\n{tests}\n\nPlease find out what broke them and fix the source.",
    "These {count} tests used to pass and do not any more:\n\n{tests}\n\nPlease repair the code that they test.",
)


class FailingTestsWriter:
    """Reveals the ids of the failing tests, as many as fit."""

    style = "tests"
    reveals: tuple[Reveal, ...] = (Reveal.TESTS,)

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """`None` where no failing test is known."""
        tests = context.fail_to_pass
        if not tests:
            return None
        template = rng.choice(ONE if len(tests) == 1 else MANY)
        return make_issue(self, template.format(count=len(tests), tests=bulleted(tests, noun="test")))
