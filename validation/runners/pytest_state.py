"""See what tests leave changed in their process, which tests that run after them would meet.

This file runs in the process of `pytest_worker.py`. Looked at are the names of the repository's modules, of their
classes and of what these hold, a few steps deep, and likewise those that Python has everywhere (`builtins`); the names
of all other modules; and what belongs to the process: variables, folder, path. A test that breaks halfway leaves there
what it would have put back.

What is found has a name: `module.name`, `module.Class.name`, `module.name['key']`, `module.name.attribute`;
`module.name[*]` stands for the set of a dictionary's keys, and a list, set or function for all that it holds. A name
that was not there before has `#` for its numbers. No code of the repository's is called to look at it.
"""

import builtins
import os
import re
import sys
import types
from operator import is_

DEPTH = 3
"""Steps from a module's name into what it holds."""
MOST_ITEMS = 1000
"""Of a container: of a larger one only the size is looked at."""
MOST_NAMES = 5000
LONGEST_KEY = 80
NUMBER = re.compile("[0-9]+")
PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
CLOSED = PLAIN | {types.BuiltinFunctionType, types.ModuleType, property, staticmethod, classmethod}
"""What nothing is looked for in."""
LAZY = frozenset({"__annotations__", "__builtins__", "__doc__", "__slotnames__", "__warningregistry__"})
"""Names that Python itself fills in late."""
TOOLS = frozenset(
    {"_pytest", "pytest", "pluggy", "py", "coverage", "hypothesis", "__main__", "linecache", "warnings"}
)  # fmt: skip
"""Modules that change while they tell of a failure, or between tests."""
LIBRARY = " (library)"
"""What is added to names that are not the repository's."""
PYTESTS_OWN = "PYTEST_CURRENT_TEST"
ATTRIBUTE, KEY, WHOLE = ".%s", "[%s]", ""
"""How what is inside of a thing is named after it; `WHOLE` where it is named as the thing itself."""


class State:
    """What was there when this was made."""

    def __init__(self, root):
        self.root = os.path.join(root, "")
        self.own = {}  # type: dict[str, types.ModuleType]
        self.foreign = {}  # type: dict[str, Names]
        for name, module in list(sys.modules.items()):
            content = getattr(module, "__dict__", None)
            if type(content) is not dict:
                continue
            known = remembered.get(name)
            if known is not None and known.is_current(content):
                self.foreign[name] = known
            elif is_under(self.root, content):
                self.own[name] = module
            elif is_foreign(name):
                self.foreign[name] = Names(content)
        self.process = process()
        self.parts = []  # type: list[Part]
        # Every module holds these names; what is among them has one name whichever modules are loaded.
        self.known = {id(builtins.__dict__)}
        self.enter(builtins, Path(None, "builtins"), DEPTH - 1)
        for name in sorted(self.own):
            self.enter(self.own[name], Path(None, name), DEPTH)

    def enter(self, value, path, depth):
        """Note what a thing holds, and what that holds; it is held itself, so that no other has its identity."""
        if id(value) in self.known:
            return
        self.known.add(id(value))
        for style, content in self.contents(value):
            self.parts.append(Part(value, path, style, content))
            if depth or issubclass(type(value), type):
                inside = content.items() if style is not WHOLE else enumerate(content)
                for key, member in inside:
                    if type(member) not in CLOSED:
                        # A class is no step: it is where a module has its names.
                        deeper = depth if issubclass(type(member), type) else depth - 1
                        self.enter(member, path if style is WHOLE else Path(path, style, key), deeper)

    def contents(self, value):
        """Pairs of style and content: a dictionary by name or key, a list where the whole is what is named."""
        kind = type(value)
        if kind is types.FunctionType:
            content = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
            yield WHOLE, [*content, *value.__dict__.values(), len(value.__dict__)]
        elif kind is types.ModuleType:
            yield ATTRIBUTE, value.__dict__.copy()
        elif issubclass(kind, type):
            if self.is_own(value):
                yield ATTRIBUTE, dict(type.__getattribute__(value, "__dict__"))
        else:
            if issubclass(kind, dict):
                is_small = dict.__len__(value) <= MOST_ITEMS
                yield (KEY, dict.copy(value)) if is_small else (WHOLE, [dict.__len__(value)])
            elif issubclass(kind, (list, tuple, set, frozenset)):
                yield WHOLE, items(value)
            if self.is_own(kind):
                yield ATTRIBUTE, attributes(value)

    def is_own(self, kind):
        """Whether a class is the repository's."""
        module = type.__getattribute__(kind, "__module__")
        return type(module) is str and module in self.own

    def changed(self):
        """Names of what is not as it was, sorted; what was loaded since is not looked at."""
        names = {name for name, value in process().items() if value != self.process[name]}
        names |= {name for name, module in self.own.items() if sys.modules.get(name) is not module}
        for part in self.parts:
            now = next((content for style, content in self.contents(part.value) if style is part.style), None)
            names.update(part.changes(now))
        for name, before in self.foreign.items():
            content = getattr(sys.modules.get(name), "__dict__", None)
            if content is None:
                names.add(name + LIBRARY)
            else:
                names.update("%s.%s%s" % (name, key, LIBRARY) for key in before.changed(content))
        return sorted(names)[:MOST_NAMES]


class Names:
    """The names of a module that is not the repository's, and what they stood for.

    In a fork, whatever is looked at is counted as used, and the page of memory that holds the count is copied: to look
    at all of them, where a number tells that they are as they were, takes longer than most tests.
    """

    __slots__ = ("before", "content", "version")

    def __init__(self, content):
        self.content = content
        self.version = version_of(content)
        self.before = content.copy()

    def is_current(self, content):
        """Whether they certainly are as they were."""
        return content is self.content and self.version is not None and self.version == version_of(content)

    def changed(self, content):
        """The names that stand for something else, or for nothing."""
        if self.is_current(content) or same_values(self.before, content):
            return []
        return [key for key, value in self.before.items() if content.get(key, self) is not value and key not in LAZY]


remembered = {}  # type: dict[str, Names]
"""By module; what `remember` saw."""


def remember(root):
    """See what is loaded from elsewhere than `root`, for all processes that are forked from this one."""
    Versions.read = Versions.reader()
    for name, module in list(sys.modules.items()):
        content = getattr(module, "__dict__", None)
        if type(content) is dict and is_foreign(name) and not is_under(os.path.join(root, ""), content):
            remembered[name] = Names(content)


def is_foreign(name):
    """Whether a module that is not the repository's is looked at."""
    return name.partition(".")[0] not in TOOLS and not name.startswith("pytest_")


def is_under(root, content):
    """Whether a module's file, as it says itself, is under a folder."""
    return str(content.get("__file__", "")).startswith(root)


class Versions:
    """CPython, up to 3.12, keeps a number in every dictionary that each change makes another one (PEP 509)."""

    read = None
    """What tells it; `None` where this Python has none, and until `remember` needs it."""

    @classmethod
    def reader(cls):
        if sys.implementation.name != "cpython" or sys.version_info >= (3, 13):
            return None
        import ctypes

        place = object.__basicsize__ + ctypes.sizeof(ctypes.c_ssize_t)

        def read(content):
            return ctypes.c_uint64.from_address(id(content) + place).value

        return read if cls.holds(read) else None

    @staticmethod
    def holds(read):
        """Whether every change is seen, and nothing else."""
        content = {}  # type: dict[str, object]
        seen = [read(content)]
        for change in (
            lambda: content.update(one=1),
            lambda: content.update(one=2),
            lambda: content.update(two=2),
            lambda: content.pop("one"),
            content.clear,
        ):
            change()
            seen.append(read(content))
        return len(set(seen)) == len(seen) and read(content) == seen[-1]


def version_of(content):
    return Versions.read(content) if Versions.read else None


class Path:
    """The way from a module to a thing, told as text only where it is asked for."""

    __slots__ = ("key", "parent", "style")

    def __init__(self, parent, style, key=None):
        self.parent = parent
        self.style = style
        self.key = key

    def __str__(self):
        if self.parent is None:
            return self.style
        return str(self.parent) + self.style % told(self.style, self.key)


class Part:
    """One thing, and what it held."""

    __slots__ = ("before", "path", "style", "value")

    def __init__(self, value, path, style, before):
        self.value = value
        self.path = path
        self.style = style
        self.before = before

    def changes(self, now):
        """Names of what differs."""
        if now is None:
            return [str(self.path)]
        if self.style is WHOLE:
            alike = len(now) == len(self.before) and all(map(same, now, self.before))
            return [] if alike else [str(self.path)]
        if same_values(self.before, now):
            return []
        before, found = self.before, []
        if self.style is KEY:
            if len(before) != len(now) or not all(map(same, before, now)):
                found.append(str(self.path) + "[*]")
            # Keys of other types are compared by code of theirs.
            before, now = plainly_keyed(before), plainly_keyed(now)
        else:
            found += ["%s.%s" % (self.path, key) for key in set(before) - set(now) if key not in LAZY]
            found += ["%s.%s" % (self.path, unnumbered(key)) for key in set(now) - set(before) if key not in LAZY]
        for key, value in before.items():
            if key in now and not same(value, now[key]) and key not in LAZY:
                found.append(str(self.path) + self.style % told(self.style, key))
        return found


def unnumbered(name):
    """A name that was made while tests ran: where such are counted, others have other numbers in another run."""
    return NUMBER.sub("#", str(name))


def plainly_keyed(content):
    return {key: value for key, value in content.items() if type(key) in PLAIN}


def told(style, key):
    if style is ATTRIBUTE:
        return key
    return repr(key)[:LONGEST_KEY] if type(key) in PLAIN else "a key that is a %s" % type(key).__name__


def same(one, other):
    return one is other or (type(one) in PLAIN and type(one) is type(other) and one == other)


def same_values(before, now):
    """Whether two dictionaries are alike at first sight."""
    return len(before) == len(now) and all(map(is_, before, now)) and all(map(is_, before.values(), now.values()))


def process():
    return {
        "os.environ": {name: value for name, value in os.environ.items() if name != PYTESTS_OWN},
        "the current folder": folder(),
        "sys.path": list(sys.path),
    }


def items(value):
    """What a list, tuple or set holds; only the size of a large one."""
    kind = next(one for one in (list, tuple, set, frozenset) if issubclass(type(value), one))
    if kind.__len__(value) > MOST_ITEMS:
        return [kind.__len__(value)]
    content = list(kind.__iter__(value))
    return content if kind in (list, tuple) else sorted(content, key=id)


def attributes(value):
    """Names and values of an object's own attributes, those in slots as well."""
    found = {}  # type: dict[str, object]
    classes = [type.__getattribute__(kind, "__dict__") for kind in type.__getattribute__(type(value), "__mro__")]
    holder = next((content["__dict__"] for content in classes if "__dict__" in content), None)
    if type(holder) is types.GetSetDescriptorType:  # and no property of the class's own
        found.update(holder.__get__(value))
    for content in classes:
        for name, member in list(content.items()):
            if type(member) is types.MemberDescriptorType:
                try:
                    found[name] = member.__get__(value)
                except AttributeError:
                    pass  # it has no value yet
    return found


def folder():
    try:
        return os.getcwd()
    except OSError:
        return None
