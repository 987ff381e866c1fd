"""Check a plan: read every sentence by the strict grammar and compare each statement with a count of its own."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from extractors.facts import TaskFacts
from extractors.index import RepoIndex
from extractors.plan_recount import Recount, module_of
from extractors.repair_check import repair_violations
from schemas.tasks import EditTarget, Plan, PlanStep, StepKind

# Bounds of the grammar, as documented; stated again so that a change on one side alone is a violation.
_LISTED = 5
_VERIFY_TESTS = 50
_CASE_CHARS = 30
_FUNCTIONS = 3

_GOAL = re.compile(r"Make (.+) right again for (.+)")
_CASES = re.compile(r"(cases?) (.+) of ([^ ]*) \((\d+) failing tests? in (.+)\)", re.DOTALL)
_SINGLE = re.compile(r"([^ ]*) \(1 failing test in (.+)\)")
_MANY = re.compile(r"(.+) \((\d+) failing tests in (.+)\)")
_RUN = re.compile(r"Run the (\d+) failing tests? of (.+)")
_ALL_CALL = re.compile(r"(all call|it calls) (.+)")
_SOME_CALL = re.compile(r"(\d+) of (\d+) call (.+)")
_REACH = re.compile(
    r"The (\d+) failing tests? reach(?:es)? (\d+) functions?: (\d+) in common, (\d+) of these not reached by all "
    r"(\d+) passing tests? of (.+)"
)
_NO_REACH = re.compile(r"The (\d+) failing tests? reach(?:es)? no function of the source")
_SUSPECT = re.compile(r"(.+) \((\d+)/(\d+) failing, (\d+)/(\d+) passing\)")
_EDIT_IN = re.compile(
    r"the edit lies in (.+?), (?:(which runs at import)|(whose body no failing test executes)|rank (\d+) of (\d+))"
)
_VERIFY = re.compile(
    r"(\d+) failing tests? pass(?:es)?; (\d+) passing tests?"
    r"(?: that executes? (.+)|(, none of which executes the edited code,)) still pass(?:es)?"
)


def check_plan(plan: Plan, facts: TaskFacts, targets: Sequence[EditTarget], index: RepoIndex) -> tuple[str, ...]:
    """What is wrong with a plan, one sentence a violation; empty for a plan that is true of this task."""
    kinds = [step.kind for step in plan.steps]
    wanted = [StepKind.REPRODUCE, StepKind.LOCALIZE, StepKind.REPAIR, StepKind.VERIFY]
    if kinds != wanted:
        return (f"steps are {', '.join(kinds)} instead of {', '.join(wanted)}",)
    if index.source(facts.candidate.entity.path) != facts.clean:
        return (f"{facts.candidate.entity.path} of the index is not the clean file",)
    count = Recount(facts, targets, index)
    reproduce, localize, repair, verify = plan.steps
    found = [
        *_said("goal", _goal(plan.goal, count)),
        *_said("reproduce", _reproduce(reproduce, count)),
        *_said("localize", _localize(localize, count)),
        *_said("repair", _repair(repair, count)),
        *_said("verify", _verify(verify, count)),
    ]
    return tuple(found)


def _said(step: str, violations: Iterator[str]) -> Iterator[str]:
    for violation in violations:
        yield f"{step}: {violation}"


def _differs(what: str, said: object, counted: object) -> Iterator[str]:
    if said != counted:
        yield f"{what} is {said!r}, and counts to {counted!r}"


def _goal(text: str, count: Recount) -> Iterator[str]:
    match = _GOAL.fullmatch(text)
    if match is None:
        yield f"no sentence of the grammar: {text!r}"
        return
    shared = [name for name, calls in count.calls if calls == len(count.failing)]
    symbols = [symbol or f"the module level of {count.path}" for symbol in count.edited]
    yield from _differs("the subject", match[1], shared[0] if shared else enumerated(symbols))
    yield from _scope(match[2], count)


def _scope(text: str, count: Recount) -> Iterator[str]:
    total = len(count.failing)
    if len(count.groups) > 1:
        many = _MANY.fullmatch(text)
        if many is None:
            yield f"no sentence of the grammar: {text!r}"
            return
        # Most tests first; `sorted` keeps the order of their first tests.
        names = [key[1] for key in sorted(count.groups, key=lambda key: len(count.groups[key]), reverse=True)]
        rest = [f"{len(names) - _FUNCTIONS} more"] if len(names) > _FUNCTIONS else []
        yield from _differs("the test functions", many[1], enumerated([*names[:_FUNCTIONS], *rest]))
        yield from _differs("the number of failing tests", int(many[2]), total)
        yield from _differs("the test files", many[3], enumerated(count.modules))
        return
    (path, function), cases = next(iter(count.groups.items()))
    if match := _CASES.fullmatch(text):
        clipped = [f"[{case if len(case) <= _CASE_CHARS else case[: _CASE_CHARS - 1] + '…'}]" for case in cases]
        yield from _differs("the cases", match[2], enumerated(clipped))
        yield from _differs("the noun", match[1], "case" if total == 1 else "cases")
        yield from _differs("the test function", match[3], function)
        yield from _differs("the number of failing tests", int(match[4]), total)
        yield from _differs("the test file", match[5], path)
    elif match := _SINGLE.fullmatch(text):
        yield from _differs("the test function", match[1], function)
        yield from _differs("the test file", match[2], path)
        yield from _differs("the number of failing tests", 1, total)
        yield from _differs("the parameters", "", cases[0])
    else:
        yield f"no sentence of the grammar: {text!r}"


def _reproduce(step: PlanStep, count: Recount) -> Iterator[str]:
    yield from _differs("files", step.files, tuple(count.modules))
    yield from _differs("tests", step.tests, count.failing)
    head, *rest = step.description.split("; ")
    match = _RUN.fullmatch(head)
    if match is None or not rest or len(rest) > 2:
        yield f"no sentence of the grammar: {step.description!r}"
        return
    yield from _differs("the number of failing tests", int(match[1]), len(count.failing))
    yield from _differs("the test files", match[2], enumerated(count.modules))
    yield from _calls(rest[0] if len(rest) == 2 else "", step.symbols, count)
    yield from _differs("how the tests end", rest[-1], _endings(count))


def _calls(text: str, symbols: tuple[str, ...], count: Recount) -> Iterator[str]:
    total = len(count.failing)
    shared = [name for name, calls in count.calls if calls == total]
    if match := _ALL_CALL.fullmatch(text):
        yield from _differs("who calls", match[1], "it calls" if total == 1 else "all call")
        yield from _differs("what all failing tests call", match[2], enumerated(shared))
        yield from _differs("symbols", symbols, tuple(shared[:_LISTED]))
    elif match := _SOME_CALL.fullmatch(text):
        best = count.calls[0] if count.calls and not shared else ("", 0)
        yield from _differs("the most called function", (match[3], int(match[1])), best)
        yield from _differs("the number of failing tests", int(match[2]), total)
        yield from _differs("symbols", symbols, (best[0],))
    else:
        yield from _differs("what the failing tests call", text, "" if not count.calls else count.calls[0][0])
        yield from _differs("symbols", symbols, ())


def _endings(count: Recount) -> str:
    labels: Counter[str] = Counter()
    for test in count.failing:
        failure = count.facts.failures.get(test, count.facts.failures.get(module_of(test)))
        if failure is None:
            labels["no recorded failure"] += 1
            continue
        name = " ".join(failure.exception.split())
        labels[(name or "no exception") + ("" if failure.phase == "call" else f" ({failure.phase})")] += 1
    ranked = sorted(labels, key=lambda label: (-labels[label], label))
    if len(count.failing) == 1:
        return f"it ends in {ranked[0]}"
    parts = [f"{labels[label]} in {label}" for label in ranked[:_LISTED]]
    parts[0] = parts[0].replace(" in ", " end in ", 1)
    others = sum(labels[label] for label in ranked[_LISTED:])
    return ", ".join(parts + ([f"{others} otherwise"] if others else []))


def _localize(step: PlanStep, count: Recount) -> Iterator[str]:
    named = count.suspects[:_LISTED]
    symbols = list(dict.fromkeys([item.name for item in named] + [symbol for symbol in count.edited if symbol]))
    yield from _differs("symbols", step.symbols, tuple(symbols))
    yield from _differs("files", step.files, tuple(sorted({count.path} | {item.path for item in named})))
    yield from _differs("tests", step.tests, ())
    head, *rest = step.description.split("; ")
    total = len(count.failing)
    if match := _REACH.fullmatch(head):
        common = [item for item in count.suspects if item.failing == total]
        telling = [item for item in common if item.passing != len(count.neighbours)]
        counted = (total, len(count.suspects), len(common), len(telling), len(count.neighbours))
        yield from _differs("the counts of reached functions", tuple(map(int, match.groups()[:5])), counted)
        yield from _differs("the test files", match[6], enumerated(count.modules))
        yield from _suspects(rest[0] if rest else "", count)
        places = rest[1:]
    elif match := _NO_REACH.fullmatch(head):
        yield from _differs("the number of failing tests", int(match[1]), total)
        yield from _differs("the number of reached functions", 0, len(count.suspects))
        places = rest
    else:
        yield f"no sentence of the grammar: {step.description!r}"
        return
    yield from _differs("the number of edited symbols", len(places), min(len(count.edited), _LISTED))
    for place, symbol in zip(places, count.edited, strict=False):
        yield from _edit_place(place, symbol, count)


def _suspects(text: str, count: Recount) -> Iterator[str]:
    listed = text.removeprefix("most suspicious: ")
    said: list[tuple[object, ...]] = []
    for part in re.split(r"(?<=passing\)), ", listed):
        match = _SUSPECT.fullmatch(part)
        if match is None or listed == text:
            yield f"no sentence of the grammar: {text!r}"
            return
        said.append((match[1], *map(int, match.groups()[1:])))
    total, others = len(count.failing), len(count.neighbours)
    counted = [(item.name, item.failing, total, item.passing, others) for item in count.suspects[:_LISTED]]
    yield from _differs("the list of suspects", said, counted)


def _edit_place(text: str, symbol: str, count: Recount) -> Iterator[str]:
    match = _EDIT_IN.fullmatch(text)
    if match is None:
        yield f"no sentence of the grammar: {text!r}"
        return
    yield from _differs("the edited symbol", match[1], symbol or f"the module level of {count.path}")
    functions = [scope for scope in count.scopes if scope.name == symbol and not scope.is_class]
    suspect = next((item for item in count.suspects if (item.path, item.name) == (count.path, symbol)), None)
    yield from _differs("running at import", bool(match[2]), not functions)
    yield from _differs("being executed by no failing test", bool(match[3]), bool(functions) and suspect is None)
    if match[4] and suspect is not None:
        rank = 1 + len([item for item in count.suspects if item.score > suspect.score])
        yield from _differs("the rank", (int(match[4]), int(match[5])), (rank, len(count.suspects)))


def _repair(step: PlanStep, count: Recount) -> Iterator[str]:
    yield from _differs("files", step.files, (count.path,))
    yield from _differs("symbols", step.symbols, tuple(symbol for symbol in count.edited if symbol))
    yield from _differs("tests", step.tests, ())
    places = enumerated([symbol or f"the module level of {count.path}" for symbol in count.edited])
    prefix = f"In {places}: "
    if not step.description.startswith(prefix):
        yield f"the place is not {places!r}: {step.description!r}"
        return
    yield from repair_violations(
        step.description.removeprefix(prefix), count.targets, bugged=count.facts.bugged, clean=count.facts.clean
    )


def _verify(step: PlanStep, count: Recount) -> Iterator[str]:
    match = _VERIFY.fullmatch(step.description)
    if match is None:
        yield f"no sentence of the grammar: {step.description!r}"
        return
    symbols = [symbol for symbol in count.edited if symbol]
    yield from _differs("the number of failing tests", int(match[1]), len(count.failing))
    counted = len(count.executing) if count.executing else len(count.facts.pass_to_pass)
    yield from _differs("the number of passing tests", int(match[2]), counted)
    yield from _differs("what they execute", match[3] or "", enumerated(symbols) if count.executing else "")
    listed = (count.executing or count.neighbours)[:_VERIFY_TESTS]
    yield from _differs("tests", step.tests, (*count.failing, *listed))
    yield from _differs("files", step.files, tuple(sorted({module_of(test) for test in step.tests})))
    yield from _differs("symbols", step.symbols, tuple(symbols))


def enumerated(names: Sequence[str]) -> str:
    """How a list is said: at most five names, then how many more."""
    parts = list(names) if len(names) <= _LISTED else [*names[:_LISTED], f"{len(names) - _LISTED} more"]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
