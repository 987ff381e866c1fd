"""Write the plan of a fix: reproduce, localize, repair, verify; every sentence is counted from the facts.

The grammar of the sentences is in `docs/decomposition.md`; `extractors/plan_check.py` reads them back and counts
again.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from extractors.call_graph import FunctionRef
from extractors.cases import CaseGroup, called_functions, case_name, files_of, group_cases
from extractors.change_syntax import describe_fix
from extractors.edited import edited_symbols
from extractors.facts import TaskFacts
from extractors.index import RepoIndex
from extractors.suspicion import Suspicion, executed_functions, rank_functions
from extractors.syntax import definitions
from schemas.code import EntityKind
from schemas.tasks import EditTarget, Plan, PlanStep, StepKind

MAX_LISTED = 5
"""Most names that one list in a sentence spells out; the rest is counted."""
MAX_VERIFY_TESTS = 50
"""Most passing tests that the last step lists beside the failing ones."""
MAX_CASE_CHARS = 30
MAX_FUNCTIONS = 3
"""Most test functions that the goal names."""


class _Subject(NamedTuple):
    """What was computed once and is said in several steps."""

    facts: TaskFacts
    targets: Sequence[EditTarget]
    code: RepoIndex
    path: str
    edited: tuple[str, ...]
    """Symbols of the clean file that the fix touches, in order of place; `''` is the module itself."""
    calls: tuple[tuple[FunctionRef, int], ...]
    """Functions that failing tests call by name, most often called first."""


def make_plan(facts: TaskFacts, targets: Sequence[EditTarget], index: RepoIndex) -> Plan:
    """The plan of one task; the same facts give the same plan.

    `index` is the index of the clean tree with the baseline's coverage; `targets` are the fix's edits of the file.
    """
    executed = executed_functions(facts.fail_to_pass, index)
    calls = called_functions(facts.fail_to_pass, executed, index)
    subject = _Subject(
        facts=facts,
        targets=targets,
        code=index,
        path=facts.candidate.entity.path,
        edited=edited_symbols(targets, facts.clean),
        calls=tuple(sorted(calls.items(), key=lambda item: (-item[1], item[0]))),
    )
    return Plan(
        goal=_goal(subject),
        steps=(_reproduce(subject), _localize(subject), _repair(subject), _verify(subject)),
    )


def _goal(subject: _Subject) -> str:
    failing = subject.facts.fail_to_pass
    shared = [function.name for function, count in subject.calls if count == len(failing)]
    name = shared[0] if shared else _listed([_shown_symbol(symbol, subject.path) for symbol in subject.edited])
    return f"Make {name} right again for {_scope(group_cases(failing))}"


def _scope(groups: Sequence[CaseGroup]) -> str:
    total = sum(len(group.tests) for group in groups)
    where = f"({_count(total, 'failing test')} in {_listed(sorted({group.path for group in groups}))})"
    if len(groups) > 1:
        ranked = sorted(groups, key=lambda group: -len(group.tests))
        names = [group.function for group in ranked[:MAX_FUNCTIONS]]
        rest = len(groups) - len(names)
        return f"{_listed([*names, *([f'{rest} more'] if rest else [])])} {where}"
    (group,) = groups
    cases = [case_name(test).case for test in group.tests]
    if not all(cases):
        return f"{group.function} {where}"
    noun = "case" if len(cases) == 1 else "cases"
    shown = _listed([f"[{_clip(case)}]" for case in cases])
    return f"{noun} {shown} of {group.function} {where}"


def _reproduce(subject: _Subject) -> PlanStep:
    failing = subject.facts.fail_to_pass
    files = files_of(failing)
    shared = [function.name for function, count in subject.calls if count == len(failing)]
    parts = [f"Run the {_count(len(failing), 'failing test')} of {_listed(files)}"]
    called: list[str] = []
    if shared:
        called = shared[:MAX_LISTED]
        parts.append(f"{'all call' if len(failing) > 1 else 'it calls'} {_listed(shared)}")
    elif subject.calls:
        function, count = subject.calls[0]
        called = [function.name]
        parts.append(f"{count} of {len(failing)} call {function.name}")
    parts.append(_endings(subject))
    return PlanStep(
        kind=StepKind.REPRODUCE, description="; ".join(parts), files=files, symbols=tuple(called), tests=failing
    )


def _endings(subject: _Subject) -> str:
    counts = Counter(_ending(test, subject.facts) for test in subject.facts.fail_to_pass)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(subject.facts.fail_to_pass) == 1:
        return f"it ends in {ranked[0][0]}"
    shown = [f"{count} {'in' if number else 'end in'} {label}" for number, (label, count) in enumerate(ranked)]
    rest = sum(count for _, count in ranked[MAX_LISTED:])
    return ", ".join([*shown[:MAX_LISTED], *([f"{rest} otherwise"] if rest else [])])


def _ending(test: str, facts: TaskFacts) -> str:
    """How a test ends: the exception, and the phase where it is not the test's own call."""
    failure = facts.failures.get(test) or facts.failures.get(test.partition("::")[0])
    if failure is None:
        return "no recorded failure"
    label = " ".join(failure.exception.split()) or "no exception"
    return label if failure.phase == "call" else f"{label} ({failure.phase})"


def _localize(subject: _Subject) -> PlanStep:
    failing = subject.facts.fail_to_pass
    modules = files_of(failing)
    passing = [test for test in subject.facts.pass_to_pass if test.partition("::")[0] in modules]
    suspicion = rank_functions(failing, passing, subject.code)
    named = suspicion.suspects[:MAX_LISTED]
    where = "; ".join(_edit_place(symbol, suspicion, subject) for symbol in subject.edited[:MAX_LISTED])
    who = f"The {_count(len(failing), 'failing test')} {'reaches' if len(failing) == 1 else 'reach'}"
    if named:
        listed = ", ".join(
            f"{item.function.name} ({item.failing}/{len(failing)} failing, {item.passing}/{len(passing)} passing)"
            for item in named
        )
        description = (
            f"{who} {_count(len(suspicion.suspects), 'function')}: {suspicion.shared} in common, "
            f"{suspicion.distinguishing} of these not reached by all {_count(len(passing), 'passing test')} of "
            f"{_listed(modules)}; most suspicious: {listed}; {where}"
        )
    else:
        description = f"{who} no function of the source; {where}"
    symbols = dict.fromkeys([*(item.function.name for item in named), *filter(None, subject.edited)])
    files = sorted({subject.path, *(item.function.path for item in named)})
    return PlanStep(
        kind=StepKind.LOCALIZE, description=description, files=tuple(files), symbols=tuple(symbols), tests=()
    )


def _edit_place(symbol: str, suspicion: Suspicion, subject: _Subject) -> str:
    name = _shown_symbol(symbol, subject.path)
    defined = definitions(subject.facts.clean, subject.targets[0].language)
    kinds = {item.kind for item in defined if item.name == symbol}
    if not symbol or kinds == {EntityKind.CLASS}:
        return f"the edit lies in {name}, which runs at import"
    rank = suspicion.rank(FunctionRef(subject.path, symbol))
    if rank is None:
        return f"the edit lies in {name}, whose body no failing test executes"
    return f"the edit lies in {name}, rank {rank} of {len(suspicion.suspects)}"


def _repair(subject: _Subject) -> PlanStep:
    clauses = describe_fix(subject.targets, subject.facts.bugged, subject.facts.clean)
    shown = [clause.text for clause in clauses[:MAX_LISTED]]
    if len(clauses) > MAX_LISTED:
        shown.append(f"and {sum(clause.changes for clause in clauses[MAX_LISTED:])} more")
    lines = sum(max(_lines(target.before), _lines(target.after)) for target in subject.targets)
    places = _listed([_shown_symbol(symbol, subject.path) for symbol in subject.edited])
    text = "; ".join(shown)
    size = f"{_count(len(subject.targets), 'edit')}, {_count(lines, 'line')}"
    return PlanStep(
        kind=StepKind.REPAIR,
        description=f"In {places}: {text} ({size})",
        files=(subject.path,),
        symbols=tuple(filter(None, subject.edited)),
        tests=(),
    )


def _verify(subject: _Subject) -> PlanStep:
    facts = subject.facts
    reached = executed_functions(facts.pass_to_pass, subject.code)
    edited = [symbol for symbol in subject.edited if symbol]
    names = {item.name for item in subject.code.definitions(subject.path)}
    own = {FunctionRef(subject.path, name) for name in names if _belongs(name, subject.edited)}
    executing = [test for test, functions in reached.items() if not own.isdisjoint(functions)]
    failing = _count(len(facts.fail_to_pass), "failing test")
    verb = "passes" if len(facts.fail_to_pass) == 1 else "pass"
    if executing:
        one = len(executing) == 1
        rest = f"{_count(len(executing), 'passing test')} that {'executes' if one else 'execute'} {_listed(edited)}"
    else:
        one = len(facts.pass_to_pass) == 1
        rest = f"{_count(len(facts.pass_to_pass), 'passing test')}, none of which executes the edited code,"
    modules = files_of(facts.fail_to_pass)
    neighbours = [test for test in facts.pass_to_pass if test.partition("::")[0] in modules]
    tests = (*facts.fail_to_pass, *(executing or neighbours)[:MAX_VERIFY_TESTS])
    return PlanStep(
        kind=StepKind.VERIFY,
        description=f"{failing} {verb}; {rest} still {'passes' if one else 'pass'}",
        files=files_of(tests),
        symbols=tuple(edited),
        tests=tests,
    )


def _belongs(name: str, edited: Sequence[str]) -> bool:
    """Whether a function is an edited symbol or lies inside one."""
    return any(symbol and f"{name}.".startswith(f"{symbol}.") for symbol in edited)


def _shown_symbol(symbol: str, path: str) -> str:
    return symbol or f"the module level of {path}"


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`, `a, b, c, d, e and 3 more`."""
    shown = [*names[:MAX_LISTED]]
    if len(names) > MAX_LISTED:
        shown.append(f"{len(names) - MAX_LISTED} more")
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)


def _clip(case: str) -> str:
    return case if len(case) <= MAX_CASE_CHARS else f"{case[: MAX_CASE_CHARS - 1]}…"


def _lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n")) if text else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
