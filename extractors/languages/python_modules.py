"""Python files as modules: their scopes by name, what is visible from where, and which file a dotted name means."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from extractors.languages.python_scopes import Scope
from schemas.code import EntityKind


class Module:
    """The scopes of one file by name."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.top = scopes[0]
        self.by_name: dict[str, list[Scope]] = {}
        self.classes = [scope.name for scope in scopes if scope.kind is EntityKind.CLASS]
        for scope in scopes[1:]:
            self.by_name.setdefault(scope.name, []).append(scope)

    def defined(self, name: str) -> Scope | None:
        """The last definition of a name, as when the module has run."""
        found = self.by_name.get(name)
        return found[-1] if found else None

    def members(self, name: str) -> Iterator[Scope]:
        """Functions directly inside a class or function."""
        prefix = f"{name}." if name else ""
        for dotted, scopes in self.by_name.items():
            if dotted.startswith(prefix) and "." not in dotted[len(prefix) :]:
                yield from (scope for scope in scopes if scope.kind is not EntityKind.CLASS)

    def inside(self, name: str) -> Iterator[str]:
        """Names of the functions defined anywhere inside a function."""
        for dotted, scopes in self.by_name.items():
            if dotted.startswith(f"{name}.") and scopes[-1].kind is not EntityKind.CLASS:
                yield dotted


EMPTY_MODULE = Module(
    (Scope("", None, (), {}, {}, (), (), (), (), (), (), (), {}, "", autouse=False),),
)


def enclosing_class(module: Module, scope: Scope) -> str:
    """Name of the innermost class around a scope; empty where there is none."""
    name = scope.name
    while name:
        name = name.rpartition(".")[0]
        around = module.defined(name)
        if around is not None and around.kind is EntityKind.CLASS:
            return name
    return ""


def visible(module: Module, scope: Scope) -> Iterator[Scope]:
    """The scope, the functions around it, the module; classes around it are not visible from inside a function."""
    yield scope
    name = scope.name
    while name:
        name = name.rpartition(".")[0]
        around = module.defined(name) if name else module.top
        if around is not None and around.kind is not EntityKind.CLASS:
            yield around
    if scope.kind is None and scope is not module.top:
        yield module.top


def encloses(fixture: Scope, scope: Scope, *, same_file: bool) -> bool:
    """Whether a fixture is in reach of a test: at module level, or in a class around the test."""
    owner = fixture.name.rpartition(".")[0]
    return not owner or (same_file and scope.name.startswith(f"{owner}."))


def file_of(place: PurePosixPath, known: frozenset[str]) -> str | None:
    for candidate in (f"{place}.py", f"{place}/__init__.py", f"{place}.pyi"):
        if candidate.removeprefix("./") in known:
            return candidate.removeprefix("./")
    return None


def module_names(paths: list[str], known: frozenset[str]) -> dict[str, str]:
    """Dotted module name to file: from the package's root by its `__init__.py` files, and from the root of the tree."""
    names: dict[str, str] = {}
    for path in paths:
        parts = list(PurePosixPath(path).with_suffix("").parts)
        root = len(parts) - 1
        while root > 0 and "/".join([*parts[:root], "__init__.py"]) in known:
            root -= 1
        if parts[-1] == "__init__":
            parts = parts[:-1]
        for dotted in (".".join(parts[root:]), ".".join(parts), ".".join(parts).removeprefix("src.")):
            if dotted:
                names.setdefault(dotted, path)
    return names
