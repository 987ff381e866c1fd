"""The static call graph of Python files, and where pytest's test ids enter it."""

import ast
import doctest
from collections.abc import Iterator
from pathlib import PurePosixPath

import tree_sitter

from extractors.call_graph import Entry, FunctionRef, SourceFiles
from extractors.languages.python_names import Kind, Names, Value
from extractors.languages.python_scan import scan_module
from extractors.languages.python_scopes import Scope
from extractors.syntax import definitions_in, parse
from schemas.code import EntityKind
from schemas.repo import Language

_CONSTRUCTORS = ("__new__", "__init__", "__post_init__", "__attrs_post_init__", "__attrs_pre_init__")
_CLASS_SETUP = (
    *("asyncSetUp", "asyncTearDown", "setUp", "setUpClass", "setup", "setup_class", "setup_method"),
    *("tearDown", "tearDownClass", "teardown", "teardown_class", "teardown_method"),
)
_MODULE_SETUP = (
    *("setUpModule", "setup_function", "setup_module"),
    *("tearDownModule", "teardown_function", "teardown_module"),
)
_BUILTIN_METHODS = frozenset(
    (
        *("add", "append", "appendleft", "as_integer_ratio", "capitalize", "casefold", "center", "clear", "close"),
        *(
            "conjugate",
            "copy",
            "count",
            "decode",
            "difference",
            "discard",
            "encode",
            "endswith",
            "expandtabs",
            "extend",
        ),
        *("fileno", "find", "flush", "format", "format_map", "fromhex", "fromkeys", "get", "hex", "index", "insert"),
        *("intersection", "isalnum", "isalpha", "isdecimal", "isdigit", "isdisjoint", "islower", "isspace", "issubset"),
        *("issuperset", "isupper", "items", "join", "keys", "ljust", "lower", "lstrip", "move_to_end", "open"),
        *("partition", "pop", "popitem", "popleft", "read", "readline", "readlines", "remove", "removeprefix"),
        *("removesuffix", "replace", "reverse", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "seek"),
        *("send", "setdefault", "sort", "split", "splitlines", "start", "startswith", "strip", "swapcase", "tell"),
        *("throw", "title", "translate", "truncate", "union", "update", "upper", "values", "write", "writelines"),
        "zfill",
    )
)
"""Methods of builtin types: a name so common says nothing about a receiver that is not known."""


class PythonCallGraph:
    """Calls between the functions of a tree, resolved by names alone; nothing is imported or run.

    A call is followed through imports, definitions of the module, `self`, attributes with a known class, constructors
    (to `__init__` and the class), properties, operators on instances, overriding methods of subclasses, and fixtures by
    argument name. A function that is only passed on or returned counts as called there. A method of an unknown receiver
    is followed when a single method of the source files has that name.
    """

    def __init__(self, files: SourceFiles) -> None:
        self._files = files
        self._names = Names(files)
        self._callees: dict[FunctionRef, tuple[FunctionRef, ...]] = {}
        self._entries: dict[str, Entry | None] = {}
        self._by_method: dict[str, tuple[FunctionRef, ...]] | None = None
        self._subclasses: dict[FunctionRef, tuple[FunctionRef, ...]] | None = None

    def callees(self, function: FunctionRef) -> tuple[FunctionRef, ...]:
        """What a function may call, in the order of its source."""
        if function not in self._callees:
            found: dict[FunctionRef, None] = {}
            for scope in self._names.scopes(function):
                if scope.kind is not EntityKind.CLASS:
                    found.update(dict.fromkeys(self._called_in(function.path, scope)))
            self._callees[function] = tuple(found)
        return self._callees[function]

    def imports(self, path: str) -> tuple[str, ...]:
        """Absolute names of the modules that a file imports, anywhere in it, sorted."""
        module = self._names.module(path)
        scopes = [module.top, *(scope for scopes in module.by_name.values() for scope in scopes)]
        named = {item.module for scope in scopes for items in scope.imports.values() for item in items}
        named.update(star for scope in scopes for star in scope.star_imports)
        return tuple(sorted(name for name in named if name and not name.startswith(".")))

    def entry(self, test_id: str) -> Entry | None:
        """Where a test of pytest enters: `path::Class::test[parameters]`, or `path::module.function` for a doctest."""
        if test_id not in self._entries:
            path, _, rest = test_id.partition("::")
            parts = rest.partition("[")[0].split("::")
            self._entries[test_id] = (self._test_function(path, parts) or self._doctest(path, rest)) if rest else None
        return self._entries[test_id]

    # What a function calls.

    def _called_in(self, path: str, scope: Scope) -> Iterator[FunctionRef]:
        for chain in scope.calls:
            yield from self._call(path, scope, chain)
        for chain in scope.loads:
            yield from self._load(path, scope, chain)
        for chain in scope.implicit:
            yield from self._members(path, scope, chain, known_receiver=True)
        for chain in scope.decorators:
            # The wrapper that a decorator put around this function runs with it, however deep it is defined.
            value = self._names.evaluate(path, self._around(path, scope), chain)
            if value is not None and value.kind is Kind.FUNCTION:
                yield from (FunctionRef(value.path, name) for name in self._names.module(value.path).inside(value.name))
        for name in scope.parameters:
            fixture = self._names.fixture(path, scope, name)
            if fixture:
                yield fixture

    def _call(self, path: str, scope: Scope, chain: str) -> Iterator[FunctionRef]:
        value = self._names.evaluate(path, scope, chain)
        if value is not None and value.kind is Kind.FUNCTION:
            yield value.ref
        elif value is not None and value.kind is Kind.CLASS:
            yield value.ref
            members = (self._names.member(value, name) for name in _CONSTRUCTORS)
            yield from (member.ref for member in members if member is not None)
        elif value is not None and value.kind is Kind.INSTANCE:
            member = self._names.member(value, "__call__")
            if member is not None:
                yield member.ref
        if "." in chain:
            yield from self._members(path, scope, chain, known_receiver=value is not None)

    def _load(self, path: str, scope: Scope, chain: str) -> Iterator[FunctionRef]:
        if "." in chain:
            for ref in self._members(path, scope, chain, known_receiver=False):
                if self._names.is_property(Value(Kind.FUNCTION, *ref)) or self._is_function(path, scope, chain):
                    yield ref
            return
        value = self._names.evaluate(path, scope, chain)
        if value is not None and value.kind is Kind.FUNCTION:
            yield value.ref

    def _is_function(self, path: str, scope: Scope, chain: str) -> bool:
        value = self._names.evaluate(path, scope, chain)
        return value is not None and value.kind is Kind.FUNCTION

    def _members(self, path: str, scope: Scope, chain: str, *, known_receiver: bool) -> Iterator[FunctionRef]:
        """The functions that the last attribute of a chain may be, with those that override it."""
        receiver, _, name = chain.rpartition(".")
        value = self._names.evaluate(path, scope, receiver)
        if value is None:
            alone = () if known_receiver or name in _BUILTIN_METHODS else self._methods_named(name)
            yield from alone if len(alone) == 1 else ()
            return
        if value.kind is Kind.MODULE:
            found = self._names.attribute(value, name)
            if found is not None and found.kind is Kind.FUNCTION:
                yield found.ref
            return
        if value.kind not in {Kind.INSTANCE, Kind.CLASS, Kind.SUPER}:
            return
        member = self._names.member(value, name)
        if member is not None and member.kind is Kind.FUNCTION:
            yield member.ref
        if scope.parameters[:1] == (receiver,) and scope.kind is EntityKind.METHOD:
            yield from self._overrides(value.ref, name)

    def _around(self, path: str, scope: Scope) -> Scope:
        """The scope in which a definition's decorators are evaluated."""
        module = self._names.module(path)
        return module.defined(scope.name.rpartition(".")[0]) or module.top

    def _methods_named(self, name: str) -> tuple[FunctionRef, ...]:
        if self._by_method is None:
            found: dict[str, dict[FunctionRef, None]] = {}
            for path in self._files.source_files:
                for dotted, scopes in self._names.module(path).by_name.items():
                    if scopes[-1].kind is EntityKind.METHOD:
                        found.setdefault(dotted.rpartition(".")[2], {})[FunctionRef(path, dotted)] = None
            self._by_method = {method: tuple(refs) for method, refs in found.items()}
        return self._by_method.get(name, ())

    def _overrides(self, owner: FunctionRef, name: str) -> Iterator[FunctionRef]:
        """Methods of subclasses, for `self` may be an instance of any of them."""
        if self._subclasses is None:
            direct: dict[FunctionRef, list[FunctionRef]] = {}
            for path in (*self._files.source_files, *self._files.test_files):
                for cls in (FunctionRef(path, name) for name in self._names.module(path).classes):
                    for base in self._names.bases(cls):
                        direct.setdefault(base, []).append(cls)
            self._subclasses = {base: tuple(found) for base, found in direct.items()}
        seen = {owner}
        todo = list(self._subclasses.get(owner, ()))
        while todo:
            subclass = todo.pop(0)
            if subclass in seen:
                continue
            seen.add(subclass)
            todo.extend(self._subclasses.get(subclass, ()))
            override = self._names.module(subclass.path).defined(f"{subclass.name}.{name}")
            if override is not None and override.kind is not EntityKind.CLASS:
                yield FunctionRef(subclass.path, override.name)

    # Where tests enter.

    def _test_function(self, path: str, parts: list[str]) -> Entry | None:
        module = self._names.module(path)
        owner = ".".join(parts[:-1])
        ref: FunctionRef | None = FunctionRef(path, ".".join(parts))
        scope = module.defined(".".join(parts))
        if scope is None and owner and module.defined(owner) is not None:
            # Inherited from a base class, perhaps of another file.
            member = self._names.member(Value(Kind.CLASS, path, owner), parts[-1])
            ref = member.ref if member is not None else None
            scope = self._names.module(ref.path).defined(ref.name) if ref else None
        if ref is None or scope is None or scope.kind is EntityKind.CLASS:
            return None
        calls = dict.fromkeys(self._setup(path, owner, scope))
        return Entry(ref, is_doctest=False, calls=tuple(calls))

    def _setup(self, path: str, owner: str, scope: Scope) -> Iterator[FunctionRef]:
        module = self._names.module(path)
        for name in _MODULE_SETUP:
            if module.defined(name) is not None:
                yield FunctionRef(path, name)
        if owner:
            members = (self._names.member(Value(Kind.CLASS, path, owner), name) for name in _CLASS_SETUP)
            yield from (member.ref for member in members if member is not None)
        yield from self._names.autouse(path, scope)

    def _doctest(self, path: str, rest: str) -> Entry | None:
        symbol = _documented(path, rest)
        if symbol is None or (symbol and self._names.module(path).defined(symbol) is None):
            return None
        tree = self._files.tree(path)
        code = _doctest_code(docstring(tree, symbol)) if tree is not None else ""
        scopes = scan_module(parse(code.encode(), Language.PYTHON))
        calls: dict[FunctionRef, None] = {}
        for scope in scopes:
            calls.update(dict.fromkeys(self._called_in(path, scope)))
        return Entry(FunctionRef(path, symbol), is_doctest=True, calls=tuple(calls))


def _documented(path: str, rest: str) -> str | None:
    """The symbol of a doctest's name, `package.module.Class.method`; empty for the module, `None` for another form."""
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    for start in range(len(parts)):
        module = ".".join(parts[start:])
        if rest == module:
            return ""
        if rest.startswith(f"{module}."):
            return rest[len(module) + 1 :]
    return None


def docstring(tree: tree_sitter.Tree, symbol: str) -> str:
    """The docstring of a definition, or of the module for an empty symbol; empty where there is none."""
    node = tree.root_node
    if symbol:
        found = [item.node for item in definitions_in(tree, Language.PYTHON) if item.name == symbol]
        body = found[-1].child_by_field_name("body") if found else None
        if body is None:
            return ""
        node = body
    statements = [child for child in node.named_children if child.type != "comment"]
    first = statements[0].named_children if statements and statements[0].type == "expression_statement" else []
    if not first or first[0].type not in {"string", "concatenated_string"} or first[0].text is None:
        return ""
    try:
        value = ast.literal_eval(first[0].text.decode("utf-8", "replace"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


def _doctest_code(text: str) -> str:
    try:
        examples = doctest.DocTestParser().get_examples(text)
    except ValueError:
        return ""
    return "".join(example.source for example in examples)
