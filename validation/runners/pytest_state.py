"""See what tests leave changed in their process, which tests that run after them would meet.

This file runs in the process of `pytest_worker.py`. Looked at are the names of the repository's modules, of their
classes and of what these hold, a few steps deep; the names of all other modules; and what belongs to the process:
variables, folder, path. A test that breaks halfway leaves there what it would have put back.
"""

import os
import sys
import types

DEPTH = 3
"""Steps from a module's name into what it holds."""
MOST_ITEMS = 1000
"""Of a container: of a larger one only the size is looked at."""
MOST_NAMES = 5000
PLAIN = (int, float, complex, bool, str, bytes, type(None))
LAZY = frozenset({"__annotations__", "__builtins__", "__doc__", "__slotnames__", "__warningregistry__"})
"""Names that Python itself fills in late."""
TOOLS = frozenset({"_pytest", "pytest", "pluggy", "py", "coverage", "hypothesis", "__main__", "linecache", "warnings"})
"""Modules that change while they tell of a failure, or between tests."""


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
                names.add(name)
                continue
            for key, value in before.items():
                if content.get(key, self) is not value and key not in LAZY:
                    names.add("%s.%s" % (name, key))
        return sorted(names)[:MOST_NAMES]

    def look(self):
        seen = {
            "os.environ": dict(os.environ),
            "the current folder": folder(),
            "sys.path": list(sys.path),
        }  # type: dict[str, object]
        for name, module in self.own.items():
            seen[name] = id(sys.modules.get(name))
            for key, value in list(vars(module).items()):
                if key not in LAZY and not isinstance(value, types.ModuleType):
                    self.look_at(seen, name, "%s.%s" % (name, key), value)
        return seen

    def look_at(self, seen, module, name, value):
        seen[name] = self.summary(value, DEPTH)
        if isinstance(value, type) and value.__module__ == module:
            for key, member in list(vars(value).items()):
                inside = "%s.%s" % (name, key)
                if key not in LAZY and inside not in seen and len(name) < MOST_ITEMS:
                    self.look_at(seen, module, inside, member)

    def summary(self, value, depth):
        """What is equal as long as the value is the same, and holds the same."""
        kind = type(value)
        if kind in PLAIN:
            return kind, value
        self.held.append(value)
        if not depth:
            return id(value)
        if kind in (list, tuple):
            content = list(value) if len(value) <= MOST_ITEMS else [len(value)]
        elif kind in (set, frozenset):
            content = sorted(value, key=id) if len(value) <= MOST_ITEMS else [len(value)]
        elif isinstance(value, dict):
            items = list(dict.items(value)) if dict.__len__(value) <= MOST_ITEMS else [(len(value), None)]
            content = [one for item in items for one in item]
        elif kind is types.FunctionType:
            content = [value.__defaults__, value.__kwdefaults__]
        elif kind.__module__ in self.own:
            try:
                content = [object.__getattribute__(value, "__dict__")]
            except AttributeError:
                content = []
        else:
            return id(value)
        return id(value), [self.summary(one, depth - 1) for one in content]


def folder():
    try:
        return os.getcwd()
    except OSError:
        return None
