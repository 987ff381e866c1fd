"""Through which code a definition can be seen: who mentions it, and who mentions what was made of it at loading.

Whoever notices that a class, or what kind of function a function is, has changed must have it from somewhere: by its
name, by an alias, by something that was built of it while a file was loaded, or by going through all names of a
module. This is told from the text alone, so it is generous: a word that is the same stands for the same thing.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import NamedTuple

from extractors.syntax import language_of, syntax_of
from schemas.repo import Language


class Unit(NamedTuple):
    """The body of a function that lies in no other function."""

    first_line: int
    last_line: int
    words: frozenset[str]
    """All names in it, and the words of its texts; not those of its comments and docstrings."""


class Statement(NamedTuple):
    """Something that runs when its file is loaded."""

    words: frozenset[str]
    binds: frozenset[str]
    """Names through which its outcome can be reached."""
    own: str = ""
    """The name of the definition that it makes, if it makes one."""
    units: tuple[int, ...] = ()
    """Positions of the function bodies that are part of its outcome."""
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


class LanguageRules(NamedTuple):
    """What this module must be told about one language; `syntax.LanguageSyntax.reach` names it."""

    file_names: Callable[[bytes], FileNames]
    everything: frozenset[str]
    """Words by which code goes through all names of a module."""
    members: frozenset[str]
    """Words by which it goes through the names of anything, a module too where the module is named beside them."""
    known_modules: frozenset[str]
    """First parts of modules whose classes do not keep a list of those that derive from them."""


class _Followed(NamedTuple):
    """What names lead to."""

    units: set[tuple[str, int]]
    """Function bodies, by path and position."""
    loads: set[str]
    names: set[str]


class NameIndex:
    """The names in all files of one language."""

    def __init__(self, files: Mapping[str, bytes | None], language: Language) -> None:
        """`files`: path to content, `None` for one that cannot be read; those of other languages are left out."""
        module, _, name = syntax_of(language).reach.partition(":")
        self._rules: LanguageRules | None = getattr(import_module(module), name) if module else None
        self._told = self._rules is not None
        self._files: dict[str, FileNames] = {}
        self._units_of: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        self._statements_of: defaultdict[str, list[_Placed]] = defaultdict(list)
        self._listing: list[_Placed] = []
        self._own_modules = {part.removesuffix(".py") for path in files for part in path.split("/")} | {""}
        for path, content in sorted(files.items()):
            if content is None:
                self._told = False
            elif self._rules is not None and language_of(path) is language:
                self._add(path, self._rules.file_names(content), self._rules)
        self._told_of_heirs = self._classes_told_of_heirs()

    def _add(self, path: str, found: FileNames, rules: LanguageRules) -> None:
        self._told = self._told and found.understood
        self._files[path] = found
        for number, unit in enumerate(found.units):
            for word in unit.words:
                self._units_of[word].add((path, number))
        for statement in found.statements:
            for word in statement.words:
                self._statements_of[word].append(_Placed(path, statement))
            if not statement.words.isdisjoint(rules.everything | rules.members):
                self._listing.append(_Placed(path, statement))

    def _classes_told_of_heirs(self) -> frozenset[str]:
        """Names of classes that are told of every class that derives from them, or may be."""
        classes = [one for found in self._files.values() for one in found.statements if one.own and one.bases]
        found = {one.own for file in self._files.values() for one in file.statements if one.own and one.keeps_list}
        before = -1
        while len(found) > before:
            before = len(found)
            found |= {one.own for one in classes if self._has_strange_base(one) or not one.derives.isdisjoint(found)}
        return frozenset(found)

    def _has_strange_base(self, statement: Statement) -> bool:
        return self._rules is None or not statement.bases <= self._own_modules | self._rules.known_modules

    def reach(self, path: str, names: Collection[str]) -> Reach | None:
        """Through which code these definitions of a file can be seen; `None` where that cannot be told."""
        if self._rules is None or not self._told or not names or path not in self._files:
            return None
        followed = self._follow(path, names, self._rules)
        if followed is None:
            return None
        bodies: dict[str, list[tuple[int, int]]] = {}
        for where, number in sorted(followed.units):
            unit = self._files[where].units[number]
            bodies.setdefault(where, []).append((unit.first_line, unit.last_line))
        return Reach(
            bodies={where: tuple(ranges) for where, ranges in bodies.items()},
            loads=frozenset(followed.loads),
            documented=frozenset(
                where for where, found in self._files.items() if not found.documented.isdisjoint(followed.names)
            ),
        )

    def _follow(self, path: str, names: Collection[str], rules: LanguageRules) -> "_Followed | None":
        """`None` where it goes anywhere."""
        modules = self._names_of_module(path)
        listing = {one for word in rules.everything for one in self._units_of.get(word, ())}
        listing |= {
            (where, number)
            for word in rules.members
            for where, number in self._units_of.get(word, ())
            if not modules.isdisjoint(self._files[where].units[number].words)
        }
        followed = _Followed(listing, set(), set(names))
        waiting = deque(sorted(names))
        for placed in self._listing:
            words = placed.statement.words
            is_own = placed.path == path and not words.isdisjoint(rules.everything)
            if (is_own or not words.isdisjoint(modules)) and not self._take(placed, "", followed, waiting, rules):
                return None
        while waiting:
            name = waiting.popleft()
            followed.units.update(self._units_of.get(name, ()))
            for placed in self._statements_of.get(name, ()):
                if not self._take(placed, name, followed, waiting, rules):
                    return None
        return followed

    def _take(
        self, placed: "_Placed", name: str, followed: "_Followed", waiting: deque[str], rules: LanguageRules
    ) -> bool:
        """Go on from a statement that has to do with `name`; false where that leads anywhere."""
        statement = placed.statement
        is_listed = self._has_strange_base(statement) or not statement.derives.isdisjoint(self._told_of_heirs)
        if statement.scattered or is_listed:
            return False
        if name not in (statement.own, "") and name not in rules.everything and not statement.is_alias:
            followed.loads.add(placed.path)
        followed.units.update((placed.path, number) for number in statement.units)
        waiting.extend(sorted(statement.binds - followed.names))
        followed.names.update(statement.binds)
        return True

    def _names_of_module(self, path: str) -> set[str]:
        """Words for the module of a file, its packages', and those that stand for them somewhere."""
        found = {part.removesuffix(".py") for part in path.split("/")} - {"", "__init__"}
        waiting = sorted(found)
        while waiting:
            for placed in self._statements_of.get(waiting.pop(), ()):
                new = placed.statement.binds - found if placed.statement.is_alias else set()
                found |= new
                waiting.extend(sorted(new))
        return found


class _Placed(NamedTuple):
    """A statement, and the file that it is in."""

    path: str
    statement: Statement
