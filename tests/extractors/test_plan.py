"""Plans of real tasks say what is true of them, in sentences of bounded length."""

import re

import pytest

from extractors.edits import edit_targets
from extractors.index import RepoIndex
from extractors.plan import make_plan
from schemas.reports import CoverageMap, TestFailure
from schemas.tasks import StepKind


@pytest.fixture
def plans(sample):
    index, tasks = sample
    return {task.name: make_plan(task.facts, task.targets, index) for task in tasks}


def step(plan, kind):
    return next(step for step in plan.steps if step.kind is kind)


def test_steps_are_reproduce_localize_repair_verify(plans):
    for plan in plans.values():
        assert [step.kind for step in plan.steps] == [
            StepKind.REPRODUCE,
            StepKind.LOCALIZE,
            StepKind.REPAIR,
            StepKind.VERIFY,
        ]


def test_goal_names_what_all_failing_tests_call(plans):
    assert (
        plans["operands"].goal
        == "Make rolling_range right again for test_rolling_range (1 failing test in tests/test_series.py)"
    )


def test_goal_names_the_parameter_cases(plans):
    assert (
        plans["runs"].goal
        == "Make runs right again for case [letters] of test_runs (1 failing test in tests/test_series.py)"
    )


def test_reproduce_says_how_the_tests_end(plans):
    reproduce = step(plans["missing"], StepKind.REPRODUCE)

    assert reproduce.description == (
        "Run the 4 failing tests of tests/test_series.py; all call exponential_mean; 4 end in UnboundLocalError"
    )
    assert reproduce.symbols == ("exponential_mean",)
    assert len(reproduce.tests) == 4


def test_reproduce_says_that_modules_do_not_load(plans):
    assert "ImportError (collect)" in step(plans["import"], StepKind.REPRODUCE).description


def test_localize_ranks_by_what_failing_and_passing_tests_reach(plans):
    localize = step(plans["bounds"], StepKind.LOCALIZE)

    assert localize.symbols[:2] == ("_bounds", "windows")
    assert "_bounds (10/10 failing, 1/" in localize.description
    assert localize.description.endswith("; the edit lies in _bounds, rank 1 of 19")


def test_localize_admits_that_the_edit_is_not_the_first_suspect(plans):
    assert "; the edit lies in windows, rank 2 of 19" in step(plans["loop"], StepKind.LOCALIZE).description


def test_localize_says_that_module_level_runs_at_import(plans):
    expected = "the edit lies in the module level of src/tinystats/series.py, which runs at import"
    assert expected in step(plans["import"], StepKind.LOCALIZE).description


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("bounds", "In _bounds: change the comparison operator from `<` to `<=` in the condition of the while loop (1 edit, 1 line)"),
        ("inverted", "In differences: take the comparison out of the negation in the condition of the if statement (1 edit, 1 line)"),
        ("operands", "In rolling_range: swap the operands of the `-` expression in the return statement (1 edit, 1 line)"),
        ("missing", "In exponential_mean: restore the missing assignment to `current` (1 edit, 1 line)"),
        ("runs", "In runs: change the integer from `2` to `1` in the assignment to `found[-1]` (1 edit, 1 line)"),
        ("method", "In Series.__len__: restore the missing method `__len__` (1 edit, 3 lines)"),
        ("loop", "In windows: replace the yield by a for loop (1 edit, 2 lines)"),
        ("shuffled", "In exponential_mean: put 1 of the 4 statements of the body back in order, so that `current` is assigned before it is used (2 edits, 2 lines)"),
        ("branches", "In runs: swap the two branches of `if found and found[-1][0] == value` (2 edits, 4 lines)"),
    ],
)  # fmt: skip
def test_repair_says_what_happens_to_the_syntax(plans, task, expected):
    assert step(plans[task], StepKind.REPAIR).description == expected


def test_repair_quotes_a_change_that_is_no_single_node(sample):
    index, tasks = sample
    clean = tasks[0].facts.clean
    bugged = clean.replace(b"    def __len__(self):", b"    def __len__(self, *rest) -> int:")
    targets = edit_targets("src/tinystats/series.py", bugged, clean)
    plan = make_plan(tasks[0].facts._replace(bugged=bugged), targets, index)

    assert step(plan, StepKind.REPAIR).description == (
        "In Series.__len__: change `(self, *rest) -> int` to `(self)` in the parameters (1 edit, 1 line)"
    )


def test_verify_counts_the_passing_tests_that_execute_the_edit(plans):
    verify = step(plans["runs"], StepKind.VERIFY)

    assert verify.description == "1 failing test passes; 2 passing tests that execute runs still pass"
    assert verify.tests[0] == "tests/test_series.py::test_runs[letters]"


def test_verify_admits_that_no_passing_test_executes_the_edit(plans):
    assert "none of which executes the edited code" in step(plans["operands"], StepKind.VERIFY).description


def test_no_two_tasks_share_a_plan(plans):
    assert len(set(plans.values())) == len(plans)


def test_same_facts_give_the_same_plan_from_a_fresh_index(sample):
    index, tasks = sample
    fresh = RepoIndex(index._root, index.profile, index._coverage)

    assert [make_plan(task.facts, task.targets, fresh) for task in tasks] == [
        make_plan(task.facts, task.targets, index) for task in tasks
    ]


def test_plan_without_any_coverage_says_so(sample):
    index, tasks = sample
    blind = RepoIndex(index._root, index.profile, CoverageMap(tests=(), lines={}, import_lines={}))
    plan = make_plan(tasks[0].facts, tasks[0].targets, blind)

    assert "reach no function of the source; the edit lies in _bounds, whose body no failing test executes" in (
        step(plan, StepKind.LOCALIZE).description
    )


def test_hundreds_of_failing_tests_keep_sentences_short(sample):
    index, tasks = sample
    failing = tuple(f"tests/test_{number}.py::test_{number}[{'x' * 300}{number}]" for number in range(700))
    failures = {test: TestFailure(phase="call", exception=f"Error{number % 40}") for number, test in enumerate(failing)}
    facts = tasks[0].facts._replace(fail_to_pass=failing, failures=failures)
    plan = make_plan(facts, tasks[0].targets, index)

    assert max(map(len, (plan.goal, *(step.description for step in plan.steps)))) < 1_000
    assert len(step(plan, StepKind.VERIFY).tests) <= 700 + 50


def test_many_edits_are_bounded_to_five_clauses(sample):
    index, tasks = sample
    clean = tasks[0].facts.clean
    bugged = clean.replace(b"return ", b"return not ")
    targets = edit_targets("src/tinystats/series.py", bugged, clean)
    plan = make_plan(tasks[0].facts._replace(bugged=bugged), targets, index)

    assert len(targets) > 5
    clauses = step(plan, StepKind.REPAIR).description.split("; ")
    told = [int(times[1]) if (times := re.search(r", (\d+) times$", clause)) else 1 for clause in clauses[:-1]]

    assert len(told) == 5
    assert clauses[-1].startswith(f"and {len(targets) - sum(told)} more ({len(targets)} edits, ")
