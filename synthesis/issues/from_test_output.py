"""The style that tells what a failing test does and sees, without the test's name and without the place."""

import re
from random import Random

from schemas.tasks import Issue
from synthesis.issues import phrases
from synthesis.issues.context import MAX_TEXT_CHARS, IssueContext, Reveal, make_issue
from synthesis.issues.leak_check import find_leaks, module_names
from synthesis.issues.names import bound_names
from synthesis.issues.observation import Observation, observe

MAX_OBSERVED = 40
"""Failing tests that are read; of more, a sample drawn from the generator."""

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
            part = f"{rng.choice(ANOTHER)} {_lower_first(phrases.report(other, rng))}"
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
    """`strutils.slugify(...)` becomes `slugify(...)` where `strutils` is the changed module; its imports go."""
    stem, dotted = module_names(context.candidate.entity.path)
    own = {name for source in context.test_sources.values() for name in bound_names(source)}
    names = [*sorted(dotted, key=len, reverse=True), *([stem] if stem and stem not in own else [])]
    if not names:
        return seen
    joined = "|".join(map(re.escape, names))
    qualifier = re.compile(rf"(?<![\w.])(?:{joined})\.(?=[^\W\d])")
    imports = re.compile(rf"^[ \t]*(?:from|import)\s[^\n]*?(?<!\w)(?:{joined})(?!\w)[^\n]*\n?", re.MULTILINE)
    code = qualifier.sub("", seen.code)
    snippet = qualifier.sub("", imports.sub("", seen.snippet)).strip("\n")
    return seen._replace(
        code=code,
        snippet="" if snippet == code and "\n" not in snippet else snippet,
        actual=qualifier.sub("", seen.actual),
        expected=qualifier.sub("", seen.expected),
        other=qualifier.sub("", seen.other),
        message=qualifier.sub("", seen.message),
    )


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:] if text[:2] != "I " else text
