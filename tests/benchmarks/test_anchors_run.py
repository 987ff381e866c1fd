"""Both anchors and the truth on the sample repository: they agree, and what is done is not done again."""

from pathlib import Path

import pytest

from benchmarks.anchors import fresh, swesmith, truth
from benchmarks.anchors.compare import differences
from benchmarks.anchors.results import Measurement, Store
from benchmarks.anchors.subject import Subject, prepare

ROOT = Path(__file__).parents[2]
SIZE = 2

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return prepare(
        str(ROOT / "examples" / "tinystats.bundle"),
        cache=tmp_path_factory.mktemp("cache"),
        product_cache=ROOT / "build" / "test-cache",
        workers=2,
    )


def test_both_anchors_say_what_is_true_of_the_sample_repository(subject: Subject) -> None:
    true = truth.measure(subject, size=SIZE, workers=2)
    assert {one.accepted for one in true} == {True, False}, "the sample is to hold one of each"
    figures = [anchor.measure(subject, size=SIZE, workers=2) for anchor in (fresh, swesmith)]
    for found in figures:
        with Store.open(found.file) as store:
            said = list(store.measured().values())
        assert len(said) == SIZE
        assert differences(true, said) == ()
        assert all(one.phases_s.keys() == {"start", "apply", "tests", "clean_up"} for one in said)
    quick, shipped = figures
    assert quick.seconds_per_candidate < shipped.seconds_per_candidate


def test_what_is_done_is_not_done_again(subject: Subject) -> None:
    first = fresh.measure(subject, size=SIZE, workers=1)
    kept = first.file.read_bytes()
    assert fresh.measure(subject, size=SIZE, workers=1) == first
    assert first.file.read_bytes() == kept
    more = fresh.measure(subject, size=SIZE + 1, workers=1)
    assert more.candidates == SIZE + 1
    with Store.open(Measurement(subject, fresh.ANCHOR, SIZE, 0, 1).path) as store:
        assert [one.session for one in store.measured().values()] == [1, 1, 2]


def test_a_candidate_that_never_ends_is_timed_out_by_all(subject: Subject) -> None:
    """A bug that loops for ever, in place of a candidate: the limits are shortened to seconds."""
    endless = subject.candidates[0].model_copy(
        update={"bug_patch": _endless(subject, subject.candidates[0].entity.path), "strategy": "endless"}
    )
    prefix = subject.ids[0].rpartition(".")[0]
    changed = subject._replace(
        candidates=(endless,),
        ids=(f"{prefix}.endless__0",),
        baseline=subject.baseline.model_copy(update={"suite_limit_s": 4.0}),
    )
    (true,) = truth.measure(changed, size=1, seed=1)
    quick = fresh.measure(changed, size=1, seed=1)
    assert (true.reason, quick.rejected) == ("timed_out", {"timed_out": 1})


def _endless(subject: Subject, path: str) -> str:
    from extractors.diff import make_patch

    clean = (subject.tree / path).read_bytes()
    return make_patch(path, clean, clean + b"\nwhile True:\n    pass\n")
