"""Measure what every test depends on: each test file alone on the clean tree, forwards and backwards.

A file that passes alone and not backwards is run as a whole from then on, in its order. One that does not pass alone is
measured with another one loaded, where that is enough: pytest loads all files before it runs a test, so what a test
needs of another file is there in any order of tests.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

from schemas.errors import SandboxFailed
from schemas.lines import LineNumbers
from schemas.reports import Baseline, Outcome
from validation.channel import SuiteRun
from validation.impact import Beyond, ImpactMap, TestGroup
from validation.suite import OTHER_RANDOM_SEED, SuiteOptions
from validation.validate import limited
from validation.warm import Ground, WarmServer

SUITE_LIMIT_FACTOR = 10.0
"""A file may take this many times the limit of the whole suite: lines are recorded, which is slow."""
TEST_LIMIT_FACTOR = 10.0
RUNS = 2
"""Of each file, that have to agree about what its tests give."""
MOST_NEEDY = 5
"""Files that do not run alone for which another one is looked for; where there are more, for none."""
LIBRARY = " (library)"
"""How names end that are not the repository's (see `runners/pytest_state.py`)."""


class _Measured(NamedTuple):
    """One file's two runs; none where they did not come to their end."""

    runs: tuple[SuiteRun, ...]
    why_not: str
    forks: bool
    why_not_forks: str
    needs: str = ""
    """The file that was loaded too."""
    bound: tuple[str, ...] = ()
    """Tests that do not pass backwards; where there are any, both runs were in the file's own order."""


def measure_impact(ground: Ground, baseline: Baseline, *, code_files: Sequence[str], workers: int = 1) -> ImpactMap:
    """Run every test file alone, in its order and backwards, with lines, opened files and processes recorded.

    In the second run, random numbers are other ones. It is in the file's own order where backwards some test does not
    pass. A file that does not pass alone is run with another one loaded.

    Only tests that pass on the clean tree are looked at: no other counts for a verdict.

    Raises:
        SandboxFailed: no test server comes up.
    """
    files: dict[str, list[str]] = {}
    for test in sorted(baseline.passing):
        files.setdefault(test.split("::", 1)[0], []).append(test)
    measured = dict(zip(files, _measure_all(ground, baseline, files, code_files, workers), strict=True))
    needy = [name for name, one in measured.items() if not one.runs]
    whole = _measure_whole(ground, baseline, code_files) if needy else ()
    is_seen = bool(whole) and all(run.traced is not None and None not in run.traced.opaque for run in whole)
    if is_seen and len(needy) <= MOST_NEEDY:
        with WarmServer(ground) as warm:
            others = [name for name in files if name not in needy]
            for name in needy:
                needs = _needed_by(warm, baseline, name, files[name], others)
                again = _measure(warm, baseline, name, files[name], code_files, needs=needs) if needs else None
                if again and again.runs:
                    measured[name] = again
    ordered = {name: _in_order(tests, measured[name].runs) for name, tests in files.items()}
    return _Merge(baseline, ordered).merge(measured, whole)


def _in_order(tests: Sequence[str], runs: Sequence[SuiteRun]) -> list[str]:
    """As they ran; as they are where they have no run of their own."""
    wanted = set(tests)
    return [test for test in runs[0].report.outcomes if test in wanted] if runs else list(tests)


def _measure_all(
    ground: Ground,
    baseline: Baseline,
    files: Mapping[str, Sequence[str]],
    code_files: Sequence[str],
    workers: int,
) -> list[_Measured]:
    """In the order of `files`, on as many servers as there are workers."""
    results: dict[str, _Measured] = {}
    waiting = iter(files.items())
    lock = threading.Lock()

    def work() -> None:
        with ExitStack() as stack:
            warm = stack.enter_context(WarmServer(ground))
            for name, tests in _shared(waiting, lock):
                results[name] = _measure(warm, baseline, name, tests, code_files)

    with ThreadPoolExecutor(max_workers=workers) as pool:
        for future in [pool.submit(work) for _ in range(workers)]:
            future.result()
    return [results[name] for name in files]


def _measure_whole(ground: Ground, baseline: Baseline, code_files: Sequence[str]) -> tuple[SuiteRun, ...]:
    """The whole suite, forwards and backwards, for files that do not run alone; none where that does not end."""
    runs = []
    with WarmServer(ground) as warm:
        for reverse in (False, True):
            options = _traced_options(baseline, baseline.test_limits_s, code_files, reverse=reverse, again=reverse)
            try:
                run = warm.run({}, options)
            except SandboxFailed:
                return ()
            if _differs(run, ()):
                return ()
            runs.append(run)
    return tuple(runs)


def _shared(items: Iterator[tuple[str, Sequence[str]]], lock: threading.Lock) -> Iterator[tuple[str, Sequence[str]]]:
    while True:
        with lock:
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def _measure(
    warm: WarmServer,
    baseline: Baseline,
    name: str,
    tests: Sequence[str],
    code_files: Sequence[str],
    *,
    needs: str = "",
) -> _Measured:
    server = warm.server
    forks = server.forks, server.why_not
    runs: list[SuiteRun] = []
    why_not, bound = "", ()  # type: str, tuple[str, ...]
    for reverse in (False, True, False):
        options = _traced_options(baseline, tests, code_files, reverse=reverse, again=bool(runs))
        options = options._replace(files=tuple(sorted({name, needs} - {""})), select=tests)
        try:
            run = warm.run({}, options)
        except SandboxFailed as error:
            return _Measured((), str(error).partition("\n")[0], *forks)
        why = _differs(run, tests)
        why_not = why_not or why + (", backwards" if why and reverse else "")
        if why and reverse and not needs and not _differs(run, ()):
            bound = tuple(_not_passed(run, tests))
        if why and not (reverse and bound):
            return _Measured((), why_not, *forks)
        if not why:
            runs.append(run)
        if len(runs) == RUNS:
            break
    return _Measured(tuple(runs), why_not, *forks, needs, bound)


def _needed_by(warm: WarmServer, baseline: Baseline, name: str, tests: Sequence[str], others: Sequence[str]) -> str:
    """The one of the other files that has to be loaded for these tests of a file to pass; empty where none is found."""

    def is_enough(loaded: Sequence[str]) -> bool:
        options = limited(baseline, tests, scale=1.0)._replace(files=sorted([*loaded, name]), select=tests)
        try:
            run = warm.run({}, options)
        except SandboxFailed:
            return False
        report = run.report
        is_whole = not report.timed_out and not run.contradiction
        return is_whole and all(report.outcomes.get(test) is Outcome.PASSED for test in tests)

    if not is_enough(others):
        return ""
    while len(others) > 1:
        half = len(others) // 2
        others = next((part for part in (others[:half], others[half:]) if is_enough(part)), [])
    return others[0] if others else ""


def _traced_options(
    baseline: Baseline, tests: Iterable[str], code_files: Sequence[str], *, reverse: bool, again: bool
) -> SuiteOptions:
    return SuiteOptions(
        reverse=reverse,
        random_seed=OTHER_RANDOM_SEED if again else 0,
        coverage_of=code_files,
        trace=True,
        state=True,
        limits_s={test: TEST_LIMIT_FACTOR * baseline.test_limits_s[test] for test in tests},
        default_limit_s=SUITE_LIMIT_FACTOR * baseline.suite_limit_s,
        suite_limit_s=SUITE_LIMIT_FACTOR * baseline.suite_limit_s,
    )


def _differs(run: SuiteRun, tests: Sequence[str]) -> str:
    """How a run of passing tests was no success; empty where it was."""
    if run.report.timed_out or run.contradiction or run.coverage is None or run.traced is None:
        return run.contradiction or "it goes over its limit"
    for test in _not_passed(run, tests):
        return f"{test} gives {run.report.outcomes.get(test, Outcome.MISSING).value}"
    return ""


def _not_passed(run: SuiteRun, tests: Sequence[str]) -> list[str]:
    return [test for test in tests if run.report.outcomes.get(test) is not Outcome.PASSED]


class _Merge:
    """Fold the runs of all files into one map."""

    def __init__(self, baseline: Baseline, files: Mapping[str, Sequence[str]]) -> None:
        self.baseline = baseline
        self.files = files
        self.numbers = {test: number for number, test in enumerate(test for tests in files.values() for test in tests)}
        self.lines = LineNumbers()
        self.load_lines = LineNumbers()
        self.opened: dict[str, set[int]] = {}
        self.opened_by_loading: dict[str, set[int]] = {}
        self.opaque: dict[int, str] = {}
        self.cpu_s: dict[str, float] = {}
        self.draws: set[int] = set()
        self.left: set[str] = set()
        self.beyond_lines: dict[str, set[int]] = {}
        self.beyond_load_lines: dict[str, set[int]] = {}
        self.beyond_opened: set[str] = set()

    def merge(self, measured: Mapping[str, _Measured], whole: Sequence[SuiteRun] = ()) -> ImpactMap:
        """The map; files that have no runs of their own are judged by those of the `whole` suite."""
        groups = []
        for run in (*whole, *(run for one in measured.values() for run in one.runs)):
            self.left |= run.left
            assert run.traced is not None
            self.draws |= {self.numbers[test] for test in run.traced.draws if test in self.numbers}
        for number, (name, tests) in enumerate(self.files.items()):
            one = measured[name]
            if one.runs:
                self.take(number, tests, one.runs)
                if one.needs:
                    self.take_beyond(tests, one.runs, whole)
            else:
                self.take_from_whole(number, tests, whole)
            groups.append(
                TestGroup(
                    name=name,
                    tests=tuple(tests),
                    load_cpu_s=max((run.report.load_cpu_s for run in one.runs), default=0.0),
                    separable=bool(one.runs),
                    why_not=one.why_not,
                    together=any(run.traced is not None and run.traced.hooks for run in one.runs),
                    needs=one.needs,
                    bound=one.bound,
                    leaves=any(not name.endswith(LIBRARY) for run in one.runs for name in run.left),
                )
            )
        last = [*measured.values()][-1]
        return ImpactMap(
            groups=tuple(groups),
            lines=self.lines.joined(),
            load_lines=self.load_lines.joined(),
            opened=_sorted(self.opened),
            opened_by_loading=_sorted(self.opened_by_loading),
            opaque=dict(sorted(self.opaque.items())),
            cpu_s=dict(sorted(self.cpu_s.items())),
            draws=tuple(sorted(self.draws)),
            left=tuple(sorted(self.left)),
            beyond=Beyond(
                lines=_sorted(self.beyond_lines),
                load_lines=_sorted(self.beyond_load_lines),
                opened=tuple(sorted(self.beyond_opened)),
            ),
            forks=last.forks,
            why_not_forks=last.why_not_forks,
        )

    def take(self, group: int, tests: Sequence[str], runs: Sequence[SuiteRun]) -> None:
        everyone = frozenset(self.numbers[test] for test in tests)
        drawing = everyone & self.draws
        covered = [_lines_of(run, self.numbers) for run in runs]
        for path, line in sorted({place for one in covered for place in one}):
            found = [one.get((path, line), frozenset()) for one in covered]
            agreed = found[0] if all(one == found[0] for one in found) else everyone
            if agreed is everyone and all(one - drawing == found[0] - drawing for one in found):
                agreed = found[0] | drawing
            self.lines.add(path, line, agreed)
        for run in runs:
            for test in tests:
                self.cpu_s[test] = max(self.cpu_s.get(test, 0.0), run.report.cpu_s.get(test, 0.0))
            assert run.coverage is not None
            for path, lines in run.coverage.import_lines.items():
                for line in lines:
                    self.load_lines.add(path, line, frozenset([group]))
        self.take_opened(group, everyone, runs)
        self.take_opaque(everyone, runs)

    def take_from_whole(self, group: int, tests: Sequence[str], runs: Sequence[SuiteRun]) -> None:
        """What a file depends on that does not run alone: all that any of its tests does, and all that is loaded.

        It is needed to know which changes its tests may notice; a change that they may is judged by whole suites.
        """
        everyone = frozenset(self.numbers[test] for test in tests)
        if not runs:
            self.opaque.update(dict.fromkeys(everyone, "its file runs neither alone nor with all others"))
        for run in runs:
            assert run.coverage is not None
            assert run.traced is not None
            for path, line in _lines_of(run, {test: self.numbers[test] for test in tests}):
                self.lines.add(path, line, everyone)
            for path, lines in run.coverage.import_lines.items():
                for line in lines:
                    self.load_lines.add(path, line, frozenset([group]))
            for path, readers in run.traced.opened.items():
                if None in readers or not readers.isdisjoint(tests):
                    self.opened.setdefault(path, set()).update(everyone)
            why = next((why for test, why in run.traced.opaque.items() if test is None or test in set(tests)), "")
            if why:
                self.opaque.update(dict.fromkeys(everyone, why))

    def take_beyond(self, tests: Sequence[str], runs: Sequence[SuiteRun], whole: Sequence[SuiteRun]) -> None:
        """What a file depends on in the whole suite and not in its own runs, in which just one other was loaded."""
        numbers = {test: self.numbers[test] for test in tests}
        known = {(place, test) for run in runs for place, found in _lines_of(run, numbers).items() for test in found}
        loaded = {place for run in runs for place in _loaded_lines(run)}
        opened = {one for run in runs for one in _opened(run)}
        for run in whole:
            for (path, line), found in _lines_of(run, numbers).items():
                if any(((path, line), test) not in known for test in found):
                    self.beyond_lines.setdefault(path, set()).add(line)
            for path, line in _loaded_lines(run) - loaded:
                self.beyond_load_lines.setdefault(path, set()).add(line)
            more = {(path, test) for path, test in _opened(run) if test is None or test in numbers} - opened
            self.beyond_opened |= {path for path, _ in more}
            assert run.traced is not None
            self.opaque |= {numbers[test]: why for test, why in run.traced.opaque.items() if test in numbers}

    def take_opened(self, group: int, everyone: frozenset[int], runs: Sequence[SuiteRun]) -> None:
        seen = [run.traced.opened for run in runs if run.traced is not None]
        for path in sorted({path for one in seen for path in one}):
            by_run = [one.get(path, frozenset()) for one in seen]
            if any(None in tests for tests in by_run):
                self.opened_by_loading.setdefault(path, set()).add(group)
            found = [frozenset(self.numbers[test] for test in tests if test in self.numbers) for tests in by_run]
            agreed = found[0] if all(one == found[0] for one in found) else everyone
            if agreed:
                self.opened.setdefault(path, set()).update(agreed)

    def take_opaque(self, everyone: frozenset[int], runs: Sequence[SuiteRun]) -> None:
        seen = [run.traced.opaque for run in runs if run.traced is not None]
        if all(set(one) == set(seen[0]) for one in seen) and None not in seen[0]:
            affected = frozenset(self.numbers[test] for test in seen[0] if test in self.numbers)
        else:
            affected = everyone if any(seen) else frozenset()
        why = next((why for one in seen for why in one.values()), "")
        self.opaque.update(dict.fromkeys(affected, why))


def _lines_of(run: SuiteRun, numbers: Mapping[str, int]) -> dict[tuple[str, int], frozenset[int]]:
    assert run.coverage is not None
    tests = run.coverage.tests
    known: dict[tuple[int, ...], frozenset[int]] = {}

    def numbered(positions: tuple[int, ...]) -> frozenset[int]:
        if positions not in known:
            known[positions] = frozenset(
                numbers[tests[position]] for position in positions if tests[position] in numbers
            )
        return known[positions]

    return {
        (path, line): found
        for path, lines in run.coverage.lines.items()
        for line, positions in lines.items()
        if (found := numbered(positions))
    }


def _loaded_lines(run: SuiteRun) -> set[tuple[str, int]]:
    assert run.coverage is not None
    return {(path, line) for path, lines in run.coverage.import_lines.items() for line in lines}


def _opened(run: SuiteRun) -> Iterator[tuple[str, str | None]]:
    assert run.traced is not None
    return ((path, test) for path, tests in run.traced.opened.items() for test in tests)


def _sorted(found: Mapping[str, set[int]]) -> dict[str, tuple[int, ...]]:
    return {path: tuple(sorted(found[path])) for path in sorted(found)}
