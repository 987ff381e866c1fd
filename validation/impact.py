"""Which tests a change can affect: what was measured on the clean tree, and the choice that follows; no I/O.

A test is affected where it executes a changed function, where its file's loading executes what changed, where it opens
the changed file as data, or where it may depend on more than the lines that ran in its process. All other tests keep
the baseline's outcome. The idea is regression test selection as in Ekstazi (Gligoric et al., ISSTA 2015) and in
mutation testers that run covering tests alone (PIT), at the level of functions.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import Field

from extractors.change_scope import change_scope
from extractors.reach import NameIndex, Reach
from schemas.lines import NumbersByLine
from schemas.model import Model

MOST_NODES = 50
"""Of one file: collecting more of them one by one takes longer than collecting the file."""


class TestGroup(Model):
    """Tests that are loaded together: a test file."""

    __test__ = False

    name: str
    """Path, as in the ids of its tests."""
    tests: tuple[str, ...]
    """Its stable tests, in the order in which they run."""
    load_cpu_s: float
    """CPU seconds until it was loaded, alone."""
    separable: bool
    """Whether its tests, run without the rest of the suite, gave what the baseline has."""
    why_not: str = ""
    """What they gave instead, be it only backwards."""
    together: bool = False
    """Whether a test of it may decide about another one, so that all of them run where one does."""
    bound: tuple[str, ...] = ()
    """Those of its tests that do not pass backwards: they need what comes before them. Where there are any, all tests
    of the file run, in its order, where one does."""
    leaves: bool = False
    """Whether its tests leave anything of the repository's changed: one may need what another one left."""
    needs: str = ""
    """Path of a file that has to be loaded too, where it is separable only so."""


class Beyond(Model):
    """What only the whole suite shows of files that run with another one loaded: not what becomes of a change there."""

    lines: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    """Path to lines that their tests execute, or others of their tests."""
    load_lines: Mapping[str, tuple[int, ...]] = Field(default_factory=dict)
    """Path to lines that the loading of any file executes."""
    opened: tuple[str, ...] = ()
    """Files that are read as data, by their tests or by loading."""


class ImpactMap(Model):
    """What every test of the clean tree depends on. Tests and groups are numbered in the order of the suite."""

    groups: tuple[TestGroup, ...]
    lines: NumbersByLine
    """Path to line to numbers of the tests that execute it; of all tests of a file where its two runs, in opposite
    orders where it passes so, do not agree about a line, for then something lasts from test to test (a cache, a shared
    fixture); only of all that draw random numbers, which were other ones, where just those do not agree."""
    load_lines: NumbersByLine
    """Path to line to numbers of the groups whose loading executes it. Groups that are not separable were seen within
    the whole suite: all that any file's loading executes is theirs, as is all that any of their own tests does."""
    opened: Mapping[str, tuple[int, ...]]
    """Path to numbers of the tests that read it as data."""
    opened_by_loading: Mapping[str, tuple[int, ...]]
    """Path to numbers of the groups whose loading reads it as data."""
    opaque: Mapping[int, str]
    """Number of a test that may depend on more than what was seen of it, to why."""
    cpu_s: Mapping[str, float] = Field(default_factory=dict)
    """CPU seconds by test: the longest that was seen."""
    draws: tuple[int, ...] = ()
    """Numbers of the tests that draw random numbers."""
    beyond: Beyond = Beyond()
    left: tuple[str, ...] = ()
    """Names of what tests of the clean tree leave changed in their process: that is theirs to do."""
    forks: bool
    """Whether workers are forked from a process that has pytest and all libraries loaded."""
    why_not_forks: str = ""

    @property
    def tests(self) -> tuple[str, ...]:
        """All tests, by number."""
        return tuple(test for group in self.groups for test in group.tests)


class Change(NamedTuple):
    """Where one file changed, in lines of the clean tree (from 1, inclusive)."""

    path: str
    bodies: Sequence[tuple[int, int]]
    at_load: bool
    load_lines: Sequence[tuple[int, int]]
    reach: Reach | None = None
    """Through which code it can be seen that something else happens at loading; without it, wherever that happens."""


def read_change(path: str, clean: bytes, bugged: bytes, patch: str, names: NameIndex) -> Change:
    """What `patch`, a diff of one file, changes; `names` are those of all files that any test executes.

    Raises:
        ValueError: the patch is malformed.
    """
    scope = change_scope(path, clean, bugged, patch)
    is_known = bool(scope.names) or not scope.at_load
    runs_at_load = any(names.runs_at_load(path, *body) for body in scope.bodies)
    reach = names.reach(path, scope.names, scope.bodies) if is_known and (scope.names or runs_at_load) else None
    return Change(path, scope.bodies, at_load=scope.at_load, load_lines=scope.load_lines, reach=reach)


class Selection(NamedTuple):
    """What has to run to judge a change."""

    files: tuple[str, ...]
    """Groups to load, in the order of the suite."""
    tests: tuple[str, ...]
    """Tests to run, in the order of the suite."""
    whole: str
    """Why the whole suite has to run instead; empty where it does not."""
    nodes: tuple[str, ...] = ()
    """The files, narrowed to what has to be collected of them: ids without parameters, of tests or of whole files."""
    along: tuple[str, ...] = ()
    """Those of the tests that the change does not affect, and that run because their file runs as a whole."""
    presumes_loading: bool = False
    """Whether it holds only as long as every file can be loaded: where one cannot, more tests are affected."""


class ImpactIndex:
    """An `ImpactMap` laid out for choosing, again and again."""

    def __init__(self, impact: ImpactMap) -> None:
        self.impact = impact
        self.tests = impact.tests
        self.number_of = {test: number for number, test in enumerate(self.tests)}
        self.executed = frozenset({*impact.lines, *impact.load_lines})
        """Files of which any line was executed."""
        self._group_of: list[int] = []
        self._members: list[range] = []
        for number, group in enumerate(impact.groups):
            first = len(self._group_of)
            self._group_of += [number] * len(group.tests)
            self._members.append(range(first, first + len(group.tests)))
        self._number_of_group = {group.name: number for number, group in enumerate(impact.groups)}
        self._documents = frozenset(
            number for number, group in enumerate(impact.groups) if any(_is_example(test) for test in group.tests)
        )
        """Groups that have examples in texts for tests: what these execute is in no function's lines."""
        self._draws = frozenset(impact.draws)
        self._left = frozenset(impact.left)
        self._unread = {number for number, group in enumerate(impact.groups) if group.name not in self.executed}
        """Groups whose own file is no code that was seen to run."""

    def select(self, change: Change, *, presume_loading: bool = True) -> Selection:
        """The tests that `change` can affect; in any case all of them where loading is not presumed to succeed."""
        numbers = set(self.impact.opaque)
        numbers.update(self.impact.opened.get(change.path, ()))
        groups = set(self.impact.opened_by_loading.get(change.path, ()))
        if change.path in self._number_of_group:
            groups.add(self._number_of_group[change.path])
        own_lines = self.impact.lines.get(change.path, {})
        numbers.update(_within(own_lines, change.bodies), _within(own_lines, change.load_lines))
        loading = _within(self.impact.load_lines.get(change.path, {}), change.bodies)
        if change.at_load:
            loading |= self._loading(change.path)
        reach = change.reach if presume_loading else None
        if reach is None:
            groups |= loading
        else:
            numbers.update(self._seeing(reach))
            groups |= {group for group in self._documents if self.impact.groups[group].name in reach.documented}
            groups |= self._unread
            # What a file needs that does not run alone is not understood.
            groups |= {group for group in loading if not self._runs_alone(group)}
        for group in groups:
            numbers.update(self._members[group])
        if reach is not None:
            for probed in (loading, *(self._loading(path) for path in sorted(reach.loads))):
                self._see_loaded(probed, numbers)
        for group in {self._group_of[number] for number in numbers}:
            if self.impact.groups[group].together:
                numbers.update(self._members[group])
        selection = self.selection(numbers)
        if not selection.whole and self._is_beyond(change):
            selection = selection._replace(whole="a file that needs another one may notice it")
        return selection._replace(presumes_loading=reach is not None)

    def groups_of(self, tests: Iterable[str]) -> list[int]:
        """Numbers of the files that these tests are in, sorted."""
        return sorted({self._group_of[self.number_of[test]] for test in tests})

    def drawing(self, tests: Iterable[str]) -> list[str]:
        """Those of the tests that draw random numbers."""
        return [test for test in tests if self.number_of[test] in self._draws]

    def may_need_others(self, tests: Iterable[str]) -> bool:
        """Whether any of these tests may give something else on the clean tree where others of its file do not run."""
        return any(self.impact.groups[self._group_of[self.number_of[test]]].leaves for test in tests)

    def needing_others(self, tests: Iterable[str]) -> list[str]:
        """Those of the tests that need more than is in their own run: what they give depends on more than the bug.

        Their file needs another one, or they need what comes before them in it, which other files may bring too.
        """
        groups = {test: self.impact.groups[self._group_of[self.number_of[test]]] for test in tests}
        return [test for test, group in groups.items() if group.needs or test in group.bound]

    def left_by(self, names: Collection[str], selection: Selection) -> frozenset[str]:
        """Those of the names that no test file leaves changed on the clean tree, where other tests may notice.

        `names`: what was changed after the tests of `selection`.
        """
        is_all = len(selection.tests) == len(self.tests)
        return frozenset() if is_all else frozenset(names) - self._left

    def _is_beyond(self, change: Change) -> bool:
        """Whether a file that needs another one may notice it by what was seen of it in the whole suite alone."""
        beyond = self.impact.beyond
        bodies = dict(change.reach.bodies) if change.reach else {}
        places = [*bodies.items(), (change.path, change.bodies), (change.path, change.load_lines)]
        loads = {change.path, *(change.reach.loads if change.reach else ())} if change.at_load or change.reach else ()
        return (
            change.path in beyond.opened
            or any(_touches(beyond.lines.get(path, ()), ranges) for path, ranges in places)
            or _touches(beyond.load_lines.get(change.path, ()), change.bodies)
            or any(path in beyond.load_lines for path in loads)
        )

    def _runs_alone(self, number: int) -> bool:
        group = self.impact.groups[number]
        return group.separable and not group.needs

    def _loading(self, path: str) -> set[int]:
        """The groups that load a file."""
        return {group for found in self.impact.load_lines.get(path, {}).values() for group in found}

    def _seeing(self, reach: Reach) -> set[int]:
        """The tests that execute what can see it, and those that have it by inheritance."""
        numbers: set[int] = set()
        for path, bodies in reach.bodies.items():
            numbers.update(_within(self.impact.lines.get(path, {}), bodies))
        for path, name in reach.heirs:
            numbers.update(self._tests_of_class(path, name))
        return numbers

    def _tests_of_class(self, path: str, name: str) -> list[int]:
        group = self._number_of_group.get(path)
        members = () if group is None else self._members[group]
        return [number for number in members if name in self.tests[number].split("::")[1:-1]]

    def _see_loaded(self, groups: Iterable[int], numbers: set[int]) -> None:
        """Have at least one test of these groups among them, where there are any: the quickest."""
        loading = [test for group in groups for test in self._members[group]]
        if loading and numbers.isdisjoint(loading):
            numbers.add(min(loading, key=self._probe_cost))

    def _probe_cost(self, number: int) -> tuple[bool, float, int]:
        group = self.impact.groups[self._group_of[number]]
        cost_s = group.load_cpu_s + self.impact.cpu_s.get(self.tests[number], 0.0)
        return bool(group.bound) or not self._runs_alone(self._group_of[number]), cost_s, number

    def selection(self, numbers: Iterable[int]) -> Selection:
        """These tests, with those that have to run where they do, and the files to load for them."""
        chosen = set(numbers)
        own = {self._group_of[test] for test in chosen}
        bound = {test for number in own if self.impact.groups[number].bound for test in self._members[number]}
        ordered = sorted(chosen | bound)
        needed = {self.impact.groups[number].needs for number in own} - {""}
        own.update(self._number_of_group[name] for name in needed)
        groups = [self.impact.groups[number] for number in sorted(own)]
        inseparable = next((group for group in groups if not group.separable), None)
        return Selection(
            files=tuple(group.name for group in groups),
            nodes=tuple(node for group in groups for node in self._nodes(group, ordered)),
            tests=tuple(self.tests[number] for number in ordered),
            along=tuple(self.tests[number] for number in sorted(bound - chosen)),
            whole=f"{inseparable.name} does not run alone: {inseparable.why_not}" if inseparable else "",
        )

    def _nodes(self, group: TestGroup, numbers: Sequence[int]) -> list[str]:
        if group.together or group.bound:
            return [group.name]  # what is asked for one by one runs in the order in which it is asked for
        members = self._members[self._number_of_group[group.name]]
        inside = numbers[bisect_left(numbers, members.start) : bisect_left(numbers, members.stop)]
        nodes = list(dict.fromkeys(self.tests[number].partition("[")[0] for number in inside))
        is_plain = "[" not in group.name and all(node.startswith(f"{group.name}::") for node in nodes)
        return nodes if nodes and is_plain and len(nodes) <= MOST_NODES else [group.name]

    def cpu_s(self, selection: Selection) -> float:
        """CPU seconds that loading and running it takes, about."""
        return self.load_cpu_s(selection.files) + sum(self.impact.cpu_s.get(test, 0.0) for test in selection.tests)

    def load_cpu_s(self, files: Iterable[str]) -> float:
        """CPU seconds that loading these files takes, at most."""
        return sum(self.impact.groups[self._number_of_group[name]].load_cpu_s for name in files)


def _is_example(test: str) -> bool:
    """Whether a test is a text's example (`doctest`): its name has a module's in it, which no function's has."""
    return "." in test.partition("::")[2].partition("[")[0]


def _touches(lines: Collection[int], ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= line <= last for first, last in ranges for line in lines)


def _within(lines: Mapping[int, tuple[int, ...]], ranges: Iterable[tuple[int, int]]) -> set[int]:
    found: set[int] = set()
    for first, last in ranges:
        if last - first < len(lines):
            hits: Iterable[tuple[int, ...]] = (lines.get(line, ()) for line in range(first, last + 1))
        else:
            hits = (numbers for line, numbers in lines.items() if first <= line <= last)
        for numbers in hits:
            found.update(numbers)
    return found
