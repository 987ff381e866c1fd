"""The style that tells what a failing test does and sees, without the test's name and without the place."""

import re
from random import Random

from schemas.tasks import Issue
from synthesis.issues import phrases
from synthesis.issues.context import MAX_TEXT_CHARS, IssueContext, Reveal, make_issue
from synthesis.issues.leak_check import find_leaks, module_names
from synthesis.issues.names import bound_names
from synthesis.issues.observation import Observation
from synthesis.issues.observe import observe

MAX_OBSERVED = 40
"""Failing tests that are read; of more, a sample drawn from the generator."""

_LOCALS = re.compile(r"(?:\w+\.)*\w+\.<locals>\.")
"""What Python puts before the name of a class that a test makes."""
_TEST_FOLDER = re.compile(r"<tmp>/[\w-]+/")
"""The folder that pytest makes for a test, named after it."""

SECOND_CASE_SHARE = 0.35
TITLE_SHARE = 0.5

ANOTHER = ("Another case:", "The same trouble elsewhere:", "Something else that I see:", "Also:")
CLOSINGS = (
    "",
    "",
    "Please look into it.",
    "This used to work.",
    "Could you have a look?",
    "I would expect this to work as before.",
)


class FromTestOutputWriter:
    """Reveals behaviour: calls, inputs and results from the failing tests' own code and their failures."""

    style = "from_test_output"
    reveals: tuple[Reveal, ...] = (Reveal.BEHAVIOUR,)

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """`None` where no failing test shows anything that can be told."""
        seen = _best_first(_observations(context, rng), rng)
        if not seen:
            return None
        wanted = 1 + context.detail + (1 if rng.random() < SECOND_CASE_SHARE else 0)
        parts = [phrases.report(seen[0], rng)]
        if rng.random() < TITLE_SHARE and (title := phrases.title(seen[0], rng)):
            parts.insert(0, title)
        for other in _unlike(seen)[1:wanted]:
            part = phrases.report(other, rng, lead=rng.choice(ANOTHER))
            if len("\n\n".join([*parts, part])) < MAX_TEXT_CHARS - 200:
                parts.append(part)
        if context.detail and len(seen) > 1:
            parts.append(f"I count {len(context.fail_to_pass)} cases that go wrong.")
        if closing := rng.choice(CLOSINGS):
            parts.append(closing)
        return make_issue(self, "\n\n".join(parts))


def _observations(context: IssueContext, rng: Random) -> list[Observation]:
    """What the failing tests show, without what would leak, in the order of the tests."""
    tests = list(context.fail_to_pass)
    if len(tests) > MAX_OBSERVED:
        tests = sorted(rng.sample(tests, MAX_OBSERVED))
    found = []
    for test in tests:
        failure = context.failure_of(test)
        seen = observe(test, failure, context.test_sources.get(test)) if failure is not None else None
        if seen is not None and (harmless := _harmless(_without_module(seen, context), context)) is not None:
            found.append(harmless)
    return list(dict.fromkeys(found))


def _best_first(found: list[Observation], rng: Random) -> list[Observation]:
    """The most telling ones first, equals shuffled."""
    rng.shuffle(found)
    return sorted(found, key=lambda seen: seen.rank)


def _unlike(found: list[Observation]) -> list[Observation]:
    """The same, with one observation for each kind of call before a second one for any."""
    first: dict[str, Observation] = {}
    for seen in found:
        first.setdefault(seen.code.split("(", 1)[0], seen)
    firsts = list(first.values())
    return firsts + [seen for seen in found if seen not in firsts]


def _harmless(seen: Observation, context: IssueContext) -> Observation | None:
    """The observation without an error message that leaks; `None` where something else does."""
    if seen.message and _leaks(seen.message, context):
        seen = seen._replace(message="")
    text = "\n".join(f"`{part}`" for part in (seen.code, seen.actual, seen.expected, seen.other, seen.error) if part)
    return None if _leaks(f"{text}\n```\n{seen.snippet}\n```", context) else seen


def _leaks(text: str, context: IssueContext) -> bool:
    return bool(find_leaks(text, context, reveals=frozenset({Reveal.BEHAVIOUR})))


def _without_module(seen: Observation, context: IssueContext) -> Observation:
    """`strutils.slugify(...)` becomes `slugify(...)` where `strutils` is the changed module; its imports go.

    The same for the modules of the tests, whose names stand in printed values.
    """
    own = {name for source in context.test_sources.values() for name in bound_names(source)}
    tests = {test.split("[", 1)[0].split("::", 1)[0] for test in context.fail_to_pass}
    names: set[str] = set()
    for path in (context.candidate.entity.path, *tests):
        stem, dotted = module_names(path)
        names.update(dotted, {stem} - own - {""})
    joined = "|".join(map(re.escape, sorted(names, key=lambda name: (-len(name), name))))
    qualifier = re.compile(rf"(?<![\w.])(?:{joined})\.(?=[^\W\d])") if names else _LOCALS
    imports = re.compile(rf"^[ \t]*(?:from|import)\s[^\n]*?(?<!\w)(?:{joined})(?!\w)[^\n]*\n?", re.MULTILINE)

    def plain(value: str) -> str:
        return _TEST_FOLDER.sub("<tmp>/", qualifier.sub("", _LOCALS.sub("", value)))

    code = plain(seen.code)
    snippet = plain(imports.sub("", seen.snippet) if names else seen.snippet).strip("\n")
    return seen._replace(
        code=code,
        snippet="" if snippet == code and "\n" not in snippet else snippet,
        actual=plain(seen.actual),
        expected=plain(seen.expected),
        other=plain(seen.other),
        message=plain(seen.message),
    )
