import pytest

pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.evaluation.scores import Score
from hrm.evaluation.summary import METRICS, compare, sliced, summarize


def score(number: int, **changes: object) -> Score:
    fields: dict[str, object] = {
        "instance_id": f"task{number}",
        "repo": "acme/a",
        "language": "python",
        "domains": (),
        "complexity": 0.1,
        "bits": 16.0,
        "bytes": 8,
        "line_at_1": False,
        "line_at_3": True,
        "any_line_at_1": 0.1,
        "any_line_at_3": 0.3,
        "any_site_at_1": 0.2,
        "any_site_at_3": 0.6,
        "applies": True,
        "is_exact": False,
        "segments": 1,
        "tokens": 10,
        "seconds": 0.5,
        "attempts": 0,
        "solved": 0,
    }
    return Score.model_validate(fields | changes)


def test_every_metric_has_its_mean() -> None:
    found = summarize([score(0, line_at_1=True, is_exact=True), score(1, bits=0.0), score(2), score(3)])
    assert found.keys() == METRICS.keys()
    means = {name: one.mean for name, one in found.items()}
    assert (means["bits_per_byte"], means["line@1"], means["line@3"], means["exact"]) == (1.5, 0.25, 1.0, 0.25)
    assert means["any_site@1"] == pytest.approx(0.2)
    assert {one.tasks for one in found.values()} == {4}


def test_attempts_give_pass_at_1_and_at_as_many_as_all_tasks_had() -> None:
    found = summarize([score(0, attempts=4, solved=1), score(1, attempts=2, solved=0), score(2, attempts=4, solved=4)])
    assert found["pass@1"].mean == pytest.approx((1 / 4 + 0 + 1) / 3)
    assert found["pass@2"].mean == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert "pass@4" not in found
    assert not {name for name in summarize([score(0, attempts=4), score(1)]) if name.startswith("pass")}


def test_groups_are_told_apart_and_a_task_may_be_of_several() -> None:
    scores = [
        score(0, language="go", domains=("web", "data"), complexity=1.0),
        score(1, domains=("web",), complexity=0.25, line_at_1=True),
        score(2, complexity=0.2),
    ]
    found = sliced(scores)
    assert {name: sorted(groups) for name, groups in found.items()} == {
        "language": ["go", "python"],
        "domain": ["data", "none", "web"],
        "complexity": ["0.00 to 0.25", "0.25 to 0.50", "0.75 to 1.00"],
    }
    assert (found["domain"]["web"]["line@1"].mean, found["domain"]["web"]["line@1"].tasks) == (0.5, 2)


def test_two_runs_are_held_against_each_other_by_what_both_have() -> None:
    ours = [score(number, line_at_1=number % 2 == 0, attempts=2) for number in range(40)]
    theirs = [score(number) for number in range(40)]
    found = compare(ours, theirs)
    assert found.keys() == METRICS.keys()
    assert found["line@1"].mean == 0.5
    assert found["line@1"].p < 0.01
    assert found["exact"].p == 1.0
    with pytest.raises(ValueError, match="1 tasks are in one of the two runs alone, task39 first"):
        compare(ours, theirs[:-1])


def test_nothing_is_told_of_no_tasks() -> None:
    with pytest.raises(ValueError, match="no task"):
        summarize([])
