"""See what tests leave changed in their process, which tests that run after them would meet.

This file runs in the process of `pytest_worker.py`. Looked at are the names of the repository's modules, of their
classes and of what these hold, a few steps deep; the names of all other modules; and what belongs to the process:
variables, folder, path. A test that breaks halfway leaves there what it would have put back.

What is found has a name: `module.name`, `module.Class.name`, `module.name['key']`, `module.name.attribute`;
`module.name[*]` stands for the set of a dictionary's keys. No code of the repository's is called to look at it.
"""

import os
import sys
import types

DEPTH = 3
"""Steps from a module's name into what it holds."""
MOST_ITEMS = 1000
"""Of a container: of a larger one only the size is looked at."""
MOST_NAMES = 5000
LONGEST_KEY = 80
PLAIN = (int, float, complex, bool, str, bytes, type(None))
ORDERED = (list, tuple)
LAZY = frozenset({"__annotations__", "__builtins__", "__doc__", "__slotnames__", "__warningregistry__"})
"""Names that Python itself fills in late."""
TOOLS = frozenset(
    {"_pytest", "pytest", "pluggy", "py", "coverage", "hypothesis", "__main__", "linecache", "warnings"}
)  # fmt: skip
"""Modules that change while they tell of a failure, or between tests."""
LIBRARY = " (library)"
"""What is added to names that are not the repository's."""
PYTESTS_OWN = "PYTEST_CURRENT_TEST"


class State:
    """What was there when this was made."""

    def __init__(self, root):
        self.root = os.path.join(root, "")
        self.own = {}  # type: dict[str, types.ModuleType]
        self.foreign = {}  # type: dict[str, dict[str, object]]
        for name, module in list(sys.modules.items()):
            content = getattr(module, "__dict__", None)
            if type(content) is not dict:
                continue
            if str(content.get("__file__", "")).startswith(self.root):
                self.own[name] = module
            elif name.partition(".")[0] not in TOOLS and not name.startswith("pytest_"):
                self.foreign[name] = content.copy()
        self.held = []  # type: list[object]
        """Whatever is told by its identity: while it is held, nothing else has the same."""
        self.before = self.look()

    def changed(self):
        """Names of what is not as it was, sorted; what was loaded since is not looked at."""
        now = self.look()
        names = {name for name, value in self.before.items() if now.get(name) != value} | (set(now) - set(self.before))
        for name, before in self.foreign.items():
            content = getattr(sys.modules.get(name), "__dict__", None)
            if content is None:
                names.add(name + LIBRARY)
                continue
            for key, value in before.items():
                if content.get(key, self) is not value and key not in LAZY:
                    names.add("%s.%s%s" % (name, key, LIBRARY))
        return sorted(names)[:MOST_NAMES]

    def look(self):
        seen = {
            "os.environ": {name: value for name, value in os.environ.items() if name != PYTESTS_OWN},
            "the current folder": folder(),
            "sys.path": list(sys.path),
        }  # type: dict[str, object]
        classes = set()  # type: set[int]
        for name, module in self.own.items():
            seen[name] = id(sys.modules.get(name))
            for key, value in list(vars(module).items()):
                if key not in LAZY and not issubclass(type(value), types.ModuleType):
                    self.look_at(seen, classes, name, "%s.%s" % (name, key), value, DEPTH)
        return seen

    def look_at(self, seen, classes, module, name, value, depth):
        """Enter what a name stands for, and, by names of their own, what that holds."""
        kind = type(value)
        try:
            if issubclass(kind, type):
                self.hold(seen, name, value)
                if id(value) not in classes and type.__getattribute__(value, "__module__") == module:
                    classes.add(id(value))
                    for key, member in list(type.__getattribute__(value, "__dict__").items()):
                        if key not in LAZY:
                            self.look_at(seen, classes, module, "%s.%s" % (name, key), member, depth)
            elif depth and issubclass(kind, dict) and dict.__len__(value) <= MOST_ITEMS:
                self.hold(seen, name, value)
                seen[name + "[*]"] = [self.summary(key, 0) for key in dict.keys(value)]
                for key, member in list(dict.items(value)):
                    told = repr(key)[:LONGEST_KEY] if type(key) in PLAIN else str(id(key))
                    self.look_at(seen, classes, module, "%s[%s]" % (name, told), member, depth - 1)
                self.look_at_attributes(seen, classes, module, name, value, depth)
            elif depth and kind.__module__ in self.own:
                seen[name] = self.summary(value, depth, of_attributes=False)
                self.look_at_attributes(seen, classes, module, name, value, depth)
            else:
                seen[name] = self.summary(value, depth)
        except Exception:  # whatever a class does to its objects
            self.hold(seen, name, value)

    def look_at_attributes(self, seen, classes, module, name, value, depth):
        for key, member in attributes(value):
            self.look_at(seen, classes, module, "%s.%s" % (name, key), member, depth - 1)

    def hold(self, seen, name, value):
        self.held.append(value)
        seen[name] = id(value)

    def summary(self, value, depth, of_attributes=True):
        """What is equal as long as the value is the same, and holds the same."""
        kind = type(value)
        if kind in PLAIN:
            return kind, value
        self.held.append(value)
        if not depth or issubclass(kind, type):
            return id(value)
        content = []  # type: list[object]
        if kind is types.FunctionType:
            content = [value.__defaults__, value.__kwdefaults__, value.__dict__]
        elif issubclass(kind, (list, tuple, set, frozenset, dict)):
            content = items(value)
        if of_attributes and kind.__module__ in self.own:
            content += [part for pair in attributes(value) for part in pair]
        return id(value), [self.summary(one, depth - 1) for one in content]


def items(value):
    """What a container holds; only the size of a large one."""
    kind = next(one for one in (list, tuple, set, frozenset, dict) if issubclass(type(value), one))
    if kind.__len__(value) > MOST_ITEMS:
        return [kind.__len__(value)]
    if kind is dict:
        return [one for pair in dict.items(value) for one in pair]
    content = list(kind.__iter__(value))
    return content if kind in ORDERED else sorted(content, key=id)


def attributes(value):
    """Names and values of an object's own attributes, those in slots as well."""
    try:
        found = list(object.__getattribute__(value, "__dict__").items())
    except AttributeError:
        found = []
    for kind in type(value).__mro__:
        for name, member in list(kind.__dict__.items()):
            if type(member) is types.MemberDescriptorType:
                try:
                    found.append((name, member.__get__(value)))
                except AttributeError:
                    pass  # it has no value yet
    return found


def folder():
    try:
        return os.getcwd()
    except OSError:
        return None
