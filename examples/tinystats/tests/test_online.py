import asyncio
import math

import pytest

from tinystats.describe import mean, variance
from tinystats.online import Accumulator, RunningMean, RunningRange, RunningVariance, consume

DATA = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]


async def readings(values):
    for value in values:
        await asyncio.sleep(0)
        yield value


def test_running_mean_agrees_with_mean():
    assert RunningMean().extend(DATA).result == pytest.approx(mean(DATA))


def test_running_variance_agrees_with_variance():
    assert RunningVariance().extend(DATA).result == pytest.approx(variance(DATA))


def test_running_variance_knows_the_mean():
    assert RunningVariance().extend(DATA).mean == pytest.approx(5)


def test_running_variance_survives_a_large_offset():
    shifted = [1e9 + value for value in (4, 7, 13, 16)]
    assert RunningVariance().extend(shifted).result == pytest.approx(30)


def test_running_range():
    assert RunningRange().extend([3, -1, 8, 2]).result == (-1, 8)


def test_calls_can_be_chained():
    assert RunningMean().add(1).add(2).result == 1.5


@pytest.mark.parametrize("gap", [None, math.nan], ids=["None", "nan"])
def test_gaps_are_not_counted(gap):
    accumulator = RunningMean().extend([1, gap, 3])
    assert (accumulator.count, accumulator.result) == (2, 2)


@pytest.mark.parametrize(
    ("kind", "seen", "needed"),
    [(RunningMean, 0, 1), (RunningRange, 0, 1), (RunningVariance, 1, 2)],
)
def test_too_few_values(kind, seen, needed):
    accumulator = kind().extend([1] * seen)
    with pytest.raises(ValueError, match=f"{kind.__name__} has seen {seen} of {needed} values"):
        _ = accumulator.result


@pytest.mark.parametrize("cut", [0, 1, 3, 8])
def test_merging_parts_gives_the_whole(cut):
    left, right = RunningVariance().extend(DATA[:cut]), RunningVariance().extend(DATA[cut:])
    merged = left.merge(right)
    assert merged.count == len(DATA)
    assert merged.mean == pytest.approx(5)
    assert merged.result == pytest.approx(32 / 7)


def test_merging_nothing():
    assert RunningVariance().merge(RunningVariance()).count == 0


def test_accumulator_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Accumulator()


def test_consume_reads_an_asynchronous_source():
    accumulator = asyncio.run(consume(RunningMean(), readings([1, 2, 6])))
    assert accumulator.result == 3


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (2, 2), (9, 3)])
def test_consume_stops_at_the_limit(limit, expected):
    assert asyncio.run(consume(RunningMean(), readings([1, 2, 6]), limit=limit)).count == expected
