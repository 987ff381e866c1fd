"""What names mean in a set of Python files: modules, classes, instances and functions behind a chain.

An approximation on purpose: one type for a name, no flow, no data structures. What it cannot tell is `None`.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import PurePosixPath
from typing import NamedTuple

from extractors.call_graph import FunctionRef, SourceFiles
from extractors.languages.python_modules import (
    EMPTY_MODULE,
    Module,
    encloses,
    enclosing_class,
    file_of,
    module_names,
    visible,
)
from extractors.languages.python_scan import scan_module
from extractors.languages.python_scopes import BUILTIN, UNKNOWN, Import, Scope
from schemas.code import EntityKind

MAX_DEPTH = 12
"""Longest chain of definitions followed for one name; cycles end here too."""
MAX_STEPS = 3_000
"""Most evaluations for one question: code made to be ambiguous ends as unknown."""
_STEP = re.compile(r"\(\)|\.[^.()]+")
_ROOT = re.compile(r"^[^.()]+")
PROPERTY_DECORATORS = frozenset({"property", "cached_property", "cachedproperty", "lazy_property", "getter", "setter"})


class Kind(Enum):
    MODULE = auto()
    CLASS = auto()
    INSTANCE = auto()
    SUPER = auto()
    """An instance (or class) seen from above its own class."""
    FUNCTION = auto()
    FOREIGN = auto()
    """Something of a builtin type or of a package outside the tree: certainly none of ours."""


class Value(NamedTuple):
    kind: Kind
    path: str = ""
    name: str = ""

    @property
    def ref(self) -> FunctionRef:
        return FunctionRef(self.path, self.name)


FOREIGN = Value(Kind.FOREIGN)
_BUILTIN_NAMES = frozenset(
    (
        *(
            "abs",
            "all",
            "any",
            "ascii",
            "bin",
            "bool",
            "bytearray",
            "bytes",
            "callable",
            "chr",
            "classmethod",
            "compile",
        ),
        *("complex", "delattr", "dict", "dir", "divmod", "enumerate", "eval", "exec", "filter", "float", "format"),
        *(
            "frozenset",
            "getattr",
            "globals",
            "hasattr",
            "hash",
            "hex",
            "id",
            "input",
            "int",
            "isinstance",
            "issubclass",
        ),
        *("iter", "len", "list", "locals", "map", "max", "memoryview", "min", "next", "object", "oct", "open", "ord"),
        *("pow", "print", "property", "range", "repr", "reversed", "round", "set", "setattr", "slice", "sorted"),
        *("staticmethod", "str", "sum", "tuple", "type", "vars", "zip"),
    )
)


class Names:
    """Resolves names and chains over the files of a tree; files are scanned when a name first leads to them."""

    def __init__(self, files: SourceFiles) -> None:
        self.files = files
        self._scanned: dict[str, Module] = {}
        self._paths = sorted({*files.source_files, *files.test_files})
        self._known = frozenset(self._paths)
        self._test_files = frozenset(files.test_files)
        self._modules = module_names(self._paths, self._known)
        self._bases: dict[FunctionRef, tuple[FunctionRef, ...]] = {}
        self._resolving: set[FunctionRef] = set()
        self._budget = MAX_STEPS

    def module(self, path: str) -> Module:
        """The scopes of a file; no scopes for one that cannot be read."""
        if path not in self._scanned:
            tree = self.files.tree(path)
            self._scanned[path] = Module(scan_module(tree)) if tree is not None else EMPTY_MODULE
        return self._scanned[path]

    def scopes(self, ref: FunctionRef) -> tuple[Scope, ...]:
        """Every definition of a name in a file."""
        return tuple(self.module(ref.path).by_name.get(ref.name, ()))

    def evaluate(self, path: str, scope: Scope, chain: str, depth: int = 0) -> Value | None:
        """What a chain stands for in a scope; the answer depends on the files alone, not on earlier questions."""
        if depth == 0 and not self._resolving:
            self._budget = MAX_STEPS
        self._budget -= 1
        root = _ROOT.match(chain)
        if root is None or depth > MAX_DEPTH or root[0] == UNKNOWN or self._budget < 0:
            return None
        steps = _STEP.findall(chain, root.end())
        if root[0] == BUILTIN:
            return FOREIGN
        value: Value | None
        if root[0] == "super" and steps[:1] == ["()"]:
            owner = enclosing_class(self.module(path), scope)
            value, steps = (Value(Kind.SUPER, path, owner) if owner else None), steps[1:]
        else:
            value = self.lookup(path, scope, root[0], depth + 1)
        receiver: Value | None = None
        for step in steps:
            if value is None:
                return None
            if step != "()":
                receiver, value = value, self.attribute(value, step[1:], depth + 1)
            elif receiver is not None and self._gives_its_receiver(value):
                # Not the class that defines the method: the object may be of a subclass.
                value = receiver
            else:
                receiver, value = None, self.called(value, depth + 1)
        return value

    def _gives_its_receiver(self, value: Value) -> bool:
        scopes = self.scopes(value.ref) if value.kind is Kind.FUNCTION else ()
        return any(item.kind is EntityKind.METHOD and set(item.parameters[:1]) & set(item.returns) for item in scopes)

    def lookup(self, path: str, scope: Scope, name: str, depth: int = 0) -> Value | None:
        """What a bare name stands for, by Python's order: local, enclosing functions, module, builtins."""
        module = self.module(path)
        for around in visible(module, scope):
            found, value = self._in_scope(path, around, name, depth)
            if found:
                return value
        for star in module.top.star_imports:
            value = self._imported(path, Import(star, name), depth + 1)
            if value is not None and value.kind is not Kind.FOREIGN:
                return value
        return FOREIGN if name in _BUILTIN_NAMES else None

    def _in_scope(self, path: str, scope: Scope, name: str, depth: int) -> tuple[bool, Value | None]:
        module = self.module(path)
        if name in scope.parameters[:1] and scope.kind is EntityKind.METHOD and scope.names[name] == UNKNOWN:
            return True, _receiver(path, scope)
        dotted = f"{scope.name}.{name}".lstrip(".")
        definition = module.defined(dotted)
        if definition is not None:
            kind = Kind.CLASS if definition.kind is EntityKind.CLASS else Kind.FUNCTION
            return True, Value(kind, path, dotted)
        if name in scope.imports:
            candidates = [self._imported(path, item, depth + 1) for item in scope.imports[name]]
            ours = [value for value in candidates if value is not None and value.kind is not Kind.FOREIGN]
            return True, ours[0] if ours else FOREIGN
        if name not in scope.names:
            return False, None
        value = self.evaluate(path, scope, scope.names[name], depth + 1)
        if value is None and name in scope.parameters:
            value = self.parameter(path, scope, name, depth + 1)
        return True, value

    def parameter(self, path: str, scope: Scope, name: str, depth: int) -> Value | None:
        """What an unannotated parameter holds: known for fixtures alone."""
        fixture = self.fixture(path, scope, name)
        return self.called(Value(Kind.FUNCTION, *fixture), depth) if fixture else None

    def fixture(self, path: str, scope: Scope, name: str) -> FunctionRef | None:
        """The fixture that a test or fixture asks for by the name of a parameter."""
        is_test = scope.name.rpartition(".")[2].startswith("test")
        if path not in self._test_files or not (is_test or scope.fixture):
            return None
        for place in (path, *self._conftests(path)):
            offered = [item for items in self.module(place).by_name.values() for item in items if item.fixture == name]
            usable = [item for item in offered if item != scope and encloses(item, scope, same_file=place == path)]
            if usable:
                return FunctionRef(place, max(usable, key=lambda item: item.name.count(".")).name)
        return None

    def autouse(self, path: str, scope: Scope) -> Iterator[FunctionRef]:
        """The fixtures that a test gets without asking."""
        for place in (path, *self._conftests(path)):
            for items in self.module(place).by_name.values():
                for item in items:
                    if item.autouse and encloses(item, scope, same_file=place == path):
                        yield FunctionRef(place, item.name)

    def _conftests(self, path: str) -> Iterator[str]:
        for folder in PurePosixPath(path).parents:
            conftest = str(folder / "conftest.py")
            if conftest in self._known and conftest != path:
                yield conftest

    def called(self, value: Value, depth: int = 0) -> Value | None:
        """What calling a value gives."""
        if depth > MAX_DEPTH or value.kind is Kind.FOREIGN:
            return FOREIGN if value.kind is Kind.FOREIGN else None
        if value.kind is Kind.CLASS:
            return Value(Kind.INSTANCE, value.path, value.name)
        if value.kind is Kind.INSTANCE:
            method = self.member(value, "__call__")
            return self.called(method, depth + 1) if method else None
        if value.kind is not Kind.FUNCTION:
            return None
        for scope in reversed(self.scopes(value.ref)):
            for chain in scope.returns:
                result = self.evaluate(value.path, scope, chain, depth + 1)
                if result is not None:
                    return result
        return None

    def attribute(self, value: Value, name: str, depth: int = 0) -> Value | None:
        """What an attribute of a value is; a property gives what it returns."""
        if depth > MAX_DEPTH or value.kind is Kind.FOREIGN:
            return FOREIGN if value.kind is Kind.FOREIGN else None
        if value.kind in {Kind.MODULE, Kind.FUNCTION}:
            return self._of_module(value.path, name, depth) if value.kind is Kind.MODULE else None
        if name == "__class__" and value.kind is Kind.INSTANCE:
            return Value(Kind.CLASS, value.path, value.name)
        member = self.member(value, name)
        if member is not None:
            return self.called(member, depth + 1) if self.is_property(member) else member
        found = (self._data_attribute(owner, name, depth) for owner in self.ancestry(value))
        return next((item for item in found if item is not None), None)

    def _data_attribute(self, owner: FunctionRef, name: str, depth: int) -> Value | None:
        module = self.module(owner.path)
        for scope in module.by_name.get(owner.name, ()):
            if name in scope.names:
                return self.evaluate(owner.path, scope, scope.names[name], depth + 1)
        for method in module.members(owner.name):
            if name in method.self_attributes:
                return self.evaluate(owner.path, method, method.self_attributes[name], depth + 1)
        return None

    def member(self, value: Value, name: str) -> Value | None:
        """The function or class that a class defines or inherits under a name; a property is not called."""
        for owner in self.ancestry(value):
            found = self.module(owner.path).defined(f"{owner.name}.{name}")
            if found is not None:
                kind = Kind.CLASS if found.kind is EntityKind.CLASS else Kind.FUNCTION
                return Value(kind, owner.path, found.name)
        return None

    def is_property(self, value: Value) -> bool:
        decorators = (item for scope in self.scopes(value.ref) for item in scope.decorators)
        return any(item.rpartition(".")[2] in PROPERTY_DECORATORS for item in decorators)

    def ancestry(self, value: Value) -> tuple[FunctionRef, ...]:
        """A class and its bases inside the tree, nearest first; without the class itself for `super()`."""
        found: dict[FunctionRef, None] = {}
        todo = [value.ref]
        while todo and len(found) < 100:
            ref = todo.pop(0)
            if ref not in found:
                found[ref] = None
                todo.extend(self.bases(ref))
        return tuple(found)[1:] if value.kind is Kind.SUPER else tuple(found)

    def bases(self, ref: FunctionRef) -> tuple[FunctionRef, ...]:
        """The direct bases of a class that lie in the tree."""
        if ref in self._resolving:
            return ()
        if self._resolving:
            # Inside another class's bases the answer may be cut short by a cycle, so it is neither kept nor taken.
            return self._resolve_bases(ref)
        if ref not in self._bases:
            budget, self._budget = self._budget, MAX_STEPS
            self._bases[ref] = self._resolve_bases(ref)
            self._budget = budget
        return self._bases[ref]

    def _resolve_bases(self, ref: FunctionRef) -> tuple[FunctionRef, ...]:
        module = self.module(ref.path)
        found: list[FunctionRef] = []
        self._resolving.add(ref)
        for scope in self.scopes(ref):
            around = next((item for item in visible(module, scope) if item is not scope), module.top)
            for chain in scope.bases:
                base = self.evaluate(ref.path, around, chain)
                if base is not None and base.kind is Kind.CLASS and base.ref != ref:
                    found.append(base.ref)
        self._resolving.discard(ref)
        return tuple(dict.fromkeys(found))

    def _of_module(self, path: str, name: str, depth: int) -> Value | None:
        value = self.lookup(path, self.module(path).top, name, depth + 1)
        if value is not None and value.kind is not Kind.FOREIGN:
            return value
        submodule = self._find_module(path, f".{name}" if path.endswith("__init__.py") else "")
        return submodule or value

    def _imported(self, path: str, item: Import, depth: int) -> Value | None:
        if depth > MAX_DEPTH:
            return None
        module = self._find_module(path, item.module)
        if not item.attribute:
            return module or FOREIGN
        submodule = self._find_module(
            path,
            f"{item.module.rstrip('.')}.{item.attribute}" if item.module.strip(".") else item.module + item.attribute,
        )
        if module is None:
            return submodule or FOREIGN
        if module.path == path:
            return submodule
        return self.lookup(module.path, self.module(module.path).top, item.attribute, depth + 1) or submodule

    def _find_module(self, path: str, dotted: str) -> Value | None:
        name = dotted.lstrip(".")
        if not dotted:
            return None
        level = len(dotted) - len(name)
        folder = PurePosixPath(path).parent
        if level:
            for _ in range(level - 1):
                folder = folder.parent
            found = file_of(folder / name.replace(".", "/") if name else folder, self._known)
        else:
            found = self._modules.get(name) or file_of(folder / name.replace(".", "/"), self._known)
        return Value(Kind.MODULE, found) if found else None


def _receiver(path: str, scope: Scope) -> Value | None:
    if "staticmethod" in scope.decorators:
        return None
    owner, _, own = scope.name.rpartition(".")
    on_class = "classmethod" in scope.decorators or own in {"__new__", "__init_subclass__", "__class_getitem__"}
    return Value(Kind.CLASS if on_class else Kind.INSTANCE, path, owner)
