"""Through which code a definition can be seen: who mentions it, and who mentions what was made of it at loading.

Whoever notices that a class, or what kind of function a function is, has changed must have it from somewhere: by its
name, by an alias, by something that was built of it while a file was loaded, or by going through all names of a
module. This is told from the text alone, so it is generous: a word that is the same stands for the same thing.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple

from extractors.syntax import language_of, syntax_of
from schemas.repo import Language


class Unit(NamedTuple):
    """The body of a function that lies in no other function."""

    first_line: int
    last_line: int
    owner: str
    """Name of the outermost definition that it is in: the function's own, or a class's."""
    words: frozenset[str]
    """All names in it, and the words of its texts; not those of its comments and docstrings."""
    touched: frozenset[str]
    """Names of what it may change: those with an attribute, an index or a declaration as global, those that it hands to
    others, and what it assigns to an attribute of a module."""
    wrapped: bool
    """Whether the function has decorators: one may keep what it gave."""
    is_line: bool
    """Whether it has no line of its own: then it is seen to run where it is defined."""


class Statement(NamedTuple):
    """Something that runs when its file is loaded."""

    words: frozenset[str]
    binds: frozenset[str]
    """Names through which its outcome can be reached."""
    own: str = ""
    """The name of the definition that it makes, if it makes one."""
    units: tuple[int, ...] = ()
    """Positions of the function bodies that are part of its outcome."""
    calls: bool = False
    """Whether it is an assignment that calls something: what is named beside it may be changed there."""
    is_alias: bool = False
    """Whether it only gives another name to something, so that it cannot fail for what that is."""
    scattered: bool = False
    """Whether its effect may be anywhere: a call of its own, a condition, a registry."""
    bases: frozenset[str] = frozenset()
    """Modules that the bases of its class come from, by their first part; empty text for those of the same file or
    package."""
    derives: frozenset[str] = frozenset()
    """Names of those bases."""
    keeps_list: bool = False
    """Whether it is a class that is told of every class that derives from it."""


class FileNames(NamedTuple):
    """The names in a file."""

    units: tuple[Unit, ...]
    statements: tuple[Statement, ...]
    documented: frozenset[str]
    """Words of its docstrings."""
    understood: bool


class Reach(NamedTuple):
    """Through which code something can be seen."""

    bodies: Mapping[str, tuple[tuple[int, int], ...]]
    """Path to first and last line of the function bodies."""
    loads: frozenset[str]
    """Files whose loading does something with it."""
    documented: frozenset[str]
    """Files whose docstrings have a word for it."""
    heirs: frozenset[tuple[str, str]] = frozenset()
    """Files and names of classes that derive from it: what they have of it nobody needs to mention."""


class LanguageRules(NamedTuple):
    """What this module must be told about one language; `syntax.LanguageSyntax.reach` names it."""

    file_names: Callable[[bytes], FileNames]
    everything: frozenset[str]
    """Words by which code goes through all names of a module."""
    members: frozenset[str]
    """What follows a module's name to make a word by which code goes through all names of that module."""
    changers: frozenset[str]
    """Words by which code changes what it does not name."""
    known_modules: frozenset[str]
    """First parts of modules whose classes do not keep a list of those that derive from them."""


class NameIndex:
    """The names in all files of one language."""

    def __init__(
        self,
        files: Mapping[str, bytes | None],
        language: Language,
        *,
        loading: Mapping[str, Collection[int]] = MappingProxyType({}),
    ) -> None:
        """`files`: path to content, `None` for one that cannot be read; those of other languages are left out.

        `loading`: path to the lines that were executed while any file was loaded.
        """
        module, _, name = syntax_of(language).reach.partition(":")
        self.rules: LanguageRules = getattr(import_module(module), name) if module else _NO_RULES
        self.files = {
            path: self.rules.file_names(content)
            for path, content in sorted(files.items())
            if content is not None and language_of(path) is language
        }
        self._told = None not in files.values() and all(found.understood for found in self.files.values())
        self._loading = loading
        self._own_modules = {part.removesuffix(".py") for path in files for part in path.split("/")} | {""}
        self.units_of: dict[str, list[Place]] = {}
        """Word to the function bodies that have it, by path and position."""
        self.statements_of: dict[str, list[_Placed]] = {}
        self.kept: set[str] = set()
        """Names of what is made while a file is loaded and can be changed later."""
        for path, found in self.files.items():
            for number, unit in enumerate(found.units):
                for word in unit.words:
                    self.units_of.setdefault(word, []).append(Place(path, number))
            for statement in found.statements:
                for word in statement.words:
                    self.statements_of.setdefault(word, []).append(_Placed(path, statement))
                if not statement.is_alias:
                    self.kept |= statement.binds
        self._told_of_heirs = self._classes_told_of_heirs()

    def reach(self, path: str, names: Collection[str] = (), bodies: Collection[tuple[int, int]] = ()) -> Reach | None:
        """Through which code it can be seen that something else happens while files are loaded.

        `names` are definitions of the file that are not what they were, `bodies` the first and last lines of
        functions that do something else; of these, only what they do at loading is followed here. `None` where it
        cannot be told who can see it.
        """
        if not self._told or path not in self.files:
            return None
        walk = _Walk(self, path)
        try:
            walk.go(names, self._units_at(path, bodies))
        except _Anywhere:
            return None
        found: dict[str, list[tuple[int, int]]] = {}
        for place in sorted(walk.units):
            unit = self.unit(place)
            found.setdefault(place.path, []).append((unit.first_line, unit.last_line))
        return Reach(
            bodies={where: tuple(ranges) for where, ranges in found.items()},
            loads=frozenset(walk.loads),
            heirs=frozenset(walk.heirs),
            documented=frozenset(
                where for where, names in self.files.items() if not names.documented.isdisjoint(walk.seen)
            ),
        )

    def unit(self, place: "Place") -> Unit:
        """The function body at a place."""
        return self.files[place.path].units[place.number]

    def runs_at_load(self, path: str, first_line: int, last_line: int) -> bool:
        """Whether any of these lines was executed while a file was loaded."""
        lines = self._loading.get(path, ())
        return any(line in lines for line in range(first_line, last_line + 1))

    def is_listed(self, statement: Statement) -> bool:
        """Whether a base of its class may keep a list of what derives from it."""
        return self._has_strange_base(statement) or not statement.derives.isdisjoint(self._told_of_heirs)

    def _units_at(self, path: str, bodies: Collection[tuple[int, int]]) -> "list[Place]":
        return [
            Place(path, number)
            for number, unit in enumerate(self.files[path].units)
            for first, last in bodies
            if unit.first_line <= last and first <= unit.last_line and self.runs_at_load(path, first, last)
        ]

    def _classes_told_of_heirs(self) -> frozenset[str]:
        """Names of classes that are told of every class that derives from them, or may be."""
        classes = [one for found in self.files.values() for one in found.statements if one.own and one.bases]
        found = {one.own for file in self.files.values() for one in file.statements if one.own and one.keeps_list}
        before = -1
        while len(found) > before:
            before = len(found)
            found |= {one.own for one in classes if self._has_strange_base(one) or not one.derives.isdisjoint(found)}
        return frozenset(found)

    def _has_strange_base(self, statement: Statement) -> bool:
        return not statement.bases <= self._own_modules | self.rules.known_modules

    def names_of_module(self, path: str) -> set[str]:
        """Words for the module of a file, its packages', and those that stand for them somewhere."""
        found = {part.removesuffix(".py") for part in path.split("/")} - {"", "__init__"}
        waiting = sorted(found)
        while waiting:
            for placed in self.statements_of.get(waiting.pop(), ()):
                new = placed.statement.binds - found if placed.statement.is_alias else set()
                found |= new
                waiting.extend(sorted(new))
        return found


class Place(NamedTuple):
    """A function body, by its file and its position there."""

    path: str
    number: int


class _Placed(NamedTuple):
    """A statement, and the file that it is in."""

    path: str
    statement: Statement


class _Anywhere(Exception):
    """It cannot be told where something goes."""


class _Walk:
    """Follow what is another thing than it was, and what is called at loading and does something else."""

    def __init__(self, index: NameIndex, path: str) -> None:
        self.index = index
        self.path = path
        self.seen: set[str] = set()
        """Names of what is another thing."""
        self.called: set[str] = set()
        """Names of functions and classes that do something else at loading."""
        self.units: set[Place] = set()
        """Function bodies that can see it."""
        self.loads: set[str] = set()
        self.heirs: set[tuple[str, str]] = set()
        self._ran: set[Place] = set()
        self._needs_caller: set[str] = set()
        """Those among `called` that were seen to run at loading."""
        self._waiting: deque[tuple[bool, str]] = deque()

    def go(self, names: Collection[str], running: Collection[Place]) -> None:
        """Walk to the end.

        Raises:
            _Anywhere: there is none.
        """
        self.add(names)
        for place in running:
            self.run(place)
        self.list_all()
        while self._waiting:
            is_called, name = self._waiting.popleft()
            if is_called:
                self.follow_calls(name)
                continue
            for place in self.index.units_of.get(name, ()):
                self.see(place)
            for placed in self.index.statements_of.get(name, ()):
                self.take(placed, name)

    def follow_calls(self, name: str) -> None:
        """Whoever calls a function at loading, or a method of a class; where nobody here does, somebody else does."""
        is_found = name not in self._needs_caller
        for place in self.index.units_of.get(name, ()):
            if self.index.unit(place).owner != name:
                is_found = self.run(place) or is_found
        for placed in self.index.statements_of.get(name, ()):
            if placed.statement.is_alias:
                self._needs_caller |= placed.statement.binds if name in self._needs_caller else set()
                self.call(placed.statement.binds)
            elif placed.statement.own != name:
                self.take(placed, name)
            is_found = is_found or placed.statement.own != name
        if not is_found:
            raise _Anywhere

    def list_all(self) -> None:
        """What goes through all names of a module."""
        rules, modules = self.index.rules, self.index.names_of_module(self.path)
        members = {f"{module}{member}" for module in modules for member in rules.members}
        for word in sorted(rules.everything | members):
            for place in self.index.units_of.get(word, ()):
                self.see(place)
            for placed in self.index.statements_of.get(word, ()):
                is_own = placed.path == self.path and word in rules.everything
                if is_own or not placed.statement.words.isdisjoint(modules | members):
                    self.take(placed, word)

    def add(self, names: Collection[str]) -> None:
        new = sorted(set(names) - self.seen)
        self.seen.update(new)
        self._waiting.extend((False, name) for name in new)

    def call(self, names: Collection[str]) -> None:
        new = sorted(set(names) - self.called)
        self.called.update(new)
        self._waiting.extend((True, name) for name in new)

    def see(self, place: Place) -> None:
        """A function body that can see it; called at loading, it may do something else there."""
        self.units.add(place)
        self.run(place)

    def run(self, place: Place) -> bool:
        """A function body that does something else, as far as it is executed at loading; whether it is."""
        unit = self.index.unit(place)
        if not self.index.runs_at_load(place.path, unit.first_line, unit.last_line):
            return False
        if place not in self._ran:
            if not unit.words.isdisjoint(self.index.rules.changers):
                raise _Anywhere
            self._ran.add(place)
            if not unit.is_line:
                self._needs_caller.add(unit.owner)
            self.call([unit.owner])
            self.add(unit.touched & self.index.kept)
            if unit.wrapped:
                self.add([unit.owner])
        return True

    def take(self, placed: _Placed, name: str) -> None:
        """A statement that has to do with `name`."""
        statement = placed.statement
        if statement.scattered or self.index.is_listed(statement):
            raise _Anywhere
        if name != statement.own and name not in self.index.rules.everything and not statement.is_alias:
            self.loads.add(placed.path)
        if statement.bases:
            self.heirs.update((placed.path, bound) for bound in statement.binds)
        for number in statement.units:
            self.see(Place(placed.path, number))
        self.add(statement.binds | (statement.words & self.index.kept if statement.calls else set()))


_NO_RULES = LanguageRules(
    file_names=lambda _: FileNames((), (), frozenset(), understood=False),
    everything=frozenset(),
    members=frozenset(),
    changers=frozenset(),
    known_modules=frozenset(),
)
