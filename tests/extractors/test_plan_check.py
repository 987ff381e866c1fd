"""The checker accepts plans that are true and finds every statement that is not."""

import re
from itertools import pairwise, permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extractors.edits import edit_targets
from extractors.index import RepoIndex
from extractors.plan import make_plan
from extractors.plan_check import check_plan
from extractors.plan_recount import callees, scopes
from extractors.syntax import definitions
from schemas.code import EntityKind
from schemas.repo import Language
from schemas.reports import CoverageMap, TestFailure
from schemas.tasks import Plan

PATH = "src/tinystats/series.py"
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def test_true_plans_have_no_violations(sample):
    index, tasks = sample
    for task in tasks:
        assert check_plan(make_plan(task.facts, task.targets, index), task.facts, task.targets, index) == (), task.name


def test_swapping_the_plans_of_two_tasks_is_found(sample):
    index, tasks = sample
    for one, other in permutations(tasks, 2):
        assert check_plan(make_plan(one.facts, one.targets, index), other.facts, other.targets, index), (
            one.name,
            other.name,
        )


def test_swapping_a_single_step_or_goal_is_found(sample):
    index, tasks = sample
    plans = [make_plan(task.facts, task.targets, index) for task in tasks]
    for (task, plan), (_, other) in pairwise(zip(tasks, plans, strict=True)):
        mixed = [
            plan.model_copy(update={"steps": (*plan.steps[:number], other.steps[number], *plan.steps[number + 1 :])})
            for number in range(4)
        ]
        mixed.append(Plan(goal=other.goal, steps=plan.steps))
        for wrong in mixed:
            assert wrong == plan or check_plan(wrong, task.facts, task.targets, index)


def with_text(plan, place, text):
    if place == 0:
        return plan.model_copy(update={"goal": text})
    step = plan.steps[place - 1].model_copy(update={"description": text})
    return plan.model_copy(update={"steps": (*plan.steps[: place - 1], step, *plan.steps[place:])})


def texts_of(plan):
    return [plan.goal, *(step.description for step in plan.steps)]


@settings(relaxed, max_examples=80)
@given(data=st.data())
def test_any_changed_word_or_number_is_found(sample, data):
    index, tasks = sample
    task = data.draw(st.sampled_from(tasks), label="task")
    plan = make_plan(task.facts, task.targets, index)
    place = data.draw(st.integers(0, 4), label="place")
    text = texts_of(plan)[place]
    word = data.draw(st.sampled_from(list(re.finditer(r"\d+|\w+|`[^`]+`", text))), label="word")
    others = (
        [str(int(word[0]) + 1), str(int(word[0]) - 1)] if word[0].isdigit() else ["zebra", "windows", "``", "`<`", ""]
    )
    other = data.draw(st.sampled_from([option for option in others if option != word[0]]), label="other")
    changed = text[: word.start()] + other + text[word.end() :]

    assert check_plan(with_text(plan, place, changed), task.facts, task.targets, index)


@settings(relaxed, max_examples=50)
@given(data=st.data())
def test_any_changed_file_symbol_or_test_is_found(sample, data):
    index, tasks = sample
    task = data.draw(st.sampled_from(tasks))
    plan = make_plan(task.facts, task.targets, index)
    number = data.draw(st.integers(0, 3))
    field = data.draw(st.sampled_from(["files", "symbols", "tests"]))
    values = list(getattr(plan.steps[number], field))
    change = data.draw(st.sampled_from(["add", "drop", "rename", "reverse"] if values else ["add"]))
    position = data.draw(st.integers(0, max(0, len(values) - 1)))
    if change == "add":
        values.insert(position, "zebra")
    elif change == "drop":
        values.pop(position)
    elif change == "rename":
        values[position] += "x"
    else:
        values = values[::-1] if len(set(values)) > 1 else [*values, "zebra"]
    step = plan.steps[number].model_copy(update={field: tuple(values)})
    wrong = plan.model_copy(update={"steps": (*plan.steps[:number], step, *plan.steps[number + 1 :])})

    assert check_plan(wrong, task.facts, task.targets, index)


@settings(relaxed, max_examples=20)
@given(data=st.data())
def test_sentence_with_something_added_is_found(sample, data):
    index, tasks = sample
    task = data.draw(st.sampled_from(tasks))
    plan = make_plan(task.facts, task.targets, index)
    place = data.draw(st.integers(0, 4))
    text = texts_of(plan)[place]
    extra = data.draw(st.sampled_from(["; run it again", " and more", ".", " 7"]))

    assert check_plan(with_text(plan, place, text + extra), task.facts, task.targets, index)


def test_missing_or_reordered_steps_are_found(sample):
    index, (task, *_) = sample
    plan = make_plan(task.facts, task.targets, index)

    for steps in (plan.steps[:3], plan.steps[::-1], ()):
        assert check_plan(plan.model_copy(update={"steps": steps}), task.facts, task.targets, index)


def test_coverage_that_changed_since_is_found(sample):
    index, (task, *_) = sample
    plan = make_plan(task.facts, task.targets, index)
    coverage = index._coverage
    # One passing test more executes every line of the edited file.
    new = coverage.tests.index(task.facts.pass_to_pass[0])
    lines = {line: tuple(sorted({*tests, new})) for line, tests in coverage.lines[PATH].items()}
    changed = CoverageMap(tests=coverage.tests, lines={**coverage.lines, PATH: lines}, import_lines={})

    found = check_plan(plan, task.facts, task.targets, RepoIndex(index._root, index.profile, changed))

    assert any(violation.startswith("localize: ") for violation in found)
    assert any(violation.startswith("verify: ") for violation in found)


def test_failures_of_another_kind_are_found(sample):
    index, (task, *_) = sample
    plan = make_plan(task.facts, task.targets, index)
    failures = {**task.facts.failures, task.facts.fail_to_pass[0]: TestFailure(phase="setup", exception="OSError")}

    (violation,) = check_plan(plan, task.facts._replace(failures=failures), task.targets, index)
    said, counted = "10 end in AssertionError", "9 end in AssertionError, 1 in OSError (setup)"

    assert violation == f"reproduce: how the tests end is {said!r}, and counts to {counted!r}"


@st.composite
def rewrites(draw, source):
    """The source with lines dropped, doubled, moved, re-indented or edited."""
    lines = source.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        other = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "swap", "double", "word", "operator", "indent", "block"])):
            case "drop":
                del lines[number]
            case "swap":
                lines[number], lines[other] = lines[other], lines[number]
            case "double":
                lines.insert(number, lines[other])
            case "word":
                lines[number] = re.sub(
                    r"\w+", draw(st.sampled_from(["x", "1", "not y", "f(a, b)", "a; b", "é"])), lines[number], count=1
                )
            case "operator":
                lines[number] = re.sub(
                    r"[-+<>=]", draw(st.sampled_from(["*", " - ", "<=", "and", "#"])), lines[number], count=1
                )
            case "indent":
                lines[number] = "    " + lines[number]
            case "block":
                del lines[number : number + draw(st.integers(2, 8))]
    return "".join(lines)


@settings(relaxed, max_examples=40)
@given(data=st.data())
def test_plans_of_any_rewrite_and_any_verdict_pass_the_check(sample, data):
    index, tasks = sample
    clean = tasks[0].facts.clean
    bugged = data.draw(rewrites(clean.decode())).encode()
    targets = edit_targets(PATH, bugged, clean)
    if not targets:
        return
    tests = index._coverage.tests
    failing = data.draw(st.sets(st.sampled_from(tests), min_size=1, max_size=12))
    labels = st.builds(
        TestFailure, phase=st.sampled_from(["call", "setup"]), exception=st.sampled_from(["", "E", "Odd Name", "F"])
    )
    facts = tasks[0].facts._replace(
        bugged=bugged,
        fail_to_pass=tuple(sorted(failing)),
        pass_to_pass=tuple(sorted(set(tests) - failing)),
        failures=data.draw(st.dictionaries(st.sampled_from(sorted(failing)), labels)),
    )

    assert check_plan(make_plan(facts, targets, index), facts, targets, index) == ()


@pytest.mark.parametrize("name", ["series", "describe", "online", "checks", "cli"])
def test_recounted_scopes_are_the_definitions(sample, name):
    index, _ = sample
    source = index.source(f"src/tinystats/{name}.py")
    found = [
        (item.name, item.kind is EntityKind.CLASS, item.span.start_byte, item.span.end_byte)
        for item in definitions(source, Language.PYTHON)
    ]

    assert [
        (item.name, item.is_class, item.start_byte, item.end_byte) for item in scopes(source, Language.PYTHON)
    ] == found


def test_callees_tell_bare_names_from_attributes():
    text = "def test(x):\n    a(b.c(1)).d(e)\n    f[0](2)\n    g\n    class K(L): pass\n"

    assert callees(text, Language.PYTHON) == {"a", ".c", ".d"}


def test_moved_blank_lines_are_no_move(sample):
    index, (task, *_) = sample
    clean = task.facts.clean
    bugged = clean.replace(b"import pairwise\n", b"import pairwise\n\n").replace(
        b"\n\n\nclass Series", b"\nclass Series"
    )
    targets = edit_targets(PATH, bugged, clean)
    facts = task.facts._replace(bugged=bugged)
    plan = make_plan(facts, targets, index)

    assert len(targets) == 2
    assert "remove 1 line at the top level;" in plan.steps[2].description
    assert check_plan(plan, facts, targets, index) == ()
