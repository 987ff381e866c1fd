"""Which tests a tool can tell of that reads pytest's printed log, as SWE-bench 4.1 and SWE-smith 0.0.9 do.

Both take a test's id to end at the first white space. SWE-bench then files a test under the beginning of its id;
SWE-smith passes over the line. Another test of that name would get the wrong result.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from storage.formats.format import Playable


class Lists(NamedTuple):
    """The tests of a task that can be told of."""

    fail_to_pass: list[str]
    pass_to_pass: list[str]


class Seen:
    """Sorts tests of tasks as they come, and keeps the names of those that cannot be told of."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._unseen: dict[str, set[str]] = defaultdict(set)

    def lists(self, playable: Playable) -> Lists | None:
        """The tests that a log tells of; `None` where it tells of none that fails, so that nothing can be graded."""
        task, ingestion = playable.task, playable.recipe.ingestion
        recorded = (*task.FAIL_TO_PASS, *task.PASS_TO_PASS)
        others = (*ingestion.not_passing, *ingestion.quarantined)
        unseen = unseen_tests(recorded, others=others, test_files=ingestion.profile.test_files)
        self._unseen[playable.recipe.name] |= unseen
        lists = Lists(
            [test for test in task.FAIL_TO_PASS if test not in unseen],
            [test for test in task.PASS_TO_PASS if test not in unseen],
        )
        if lists.fail_to_pass:
            return lists
        self.left_out.append(task.instance_id)
        return None

    @property
    def unseen(self) -> dict[str, tuple[str, ...]]:
        """Repository to the tests that cannot be told of, sorted."""
        return {name: tuple(sorted(tests)) for name, tests in sorted(self._unseen.items()) if tests}


def unseen_tests(recorded: Iterable[str], *, others: Iterable[str], test_files: Iterable[str]) -> set[str]:
    """Those of the recorded tests whose result cannot be read from a log.

    `others`: further tests of the suite, whose lines may be taken for those of recorded ones.
    `test_files`: paths in the repository; pytest prints ids with these, and records them from the folder of its
    configuration, which may be another.
    """
    recorded = tuple(recorded)
    taken = {key for test in (*recorded, *others) for key in [read_id(test)] if key != test}
    elsewhere = {test.partition("::")[0] for test in recorded} & _ends(tuple(test_files))
    return {test for test in recorded if read_id(test) != test or test in taken or test.partition("::")[0] in elsewhere}


@lru_cache(maxsize=16)
def _ends(test_files: tuple[str, ...]) -> frozenset[str]:
    """What paths are called from folders inside the repository, where that is no path in it."""
    parts = [PurePosixPath(path).parts for path in test_files]
    return frozenset("/".join(one[start:]) for one in parts for start in range(1, len(one))) - frozenset(test_files)


def read_id(test: str) -> str:
    """What is left of an id in a log."""
    return next(iter(test.split()), "")
