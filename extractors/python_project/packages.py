"""Where a project's own code lies: packages and modules, as its build configuration says, else by convention."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import chain
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from extractors.python_project.setup_files import SetupFiles
from extractors.tree import Tree, strings, table

# After setuptools' own discovery (FlatLayoutPackageFinder, FlatLayoutModuleFinder), and what else roots hold.
NOT_PACKAGES = frozenset({
    "asv_bench", "bench", "benches", "benchmark", "benchmarks", "bin", "build", "changelog", "ci", "contrib", "debian",
    "demo", "demos", "dist", "doc", "docs", "documentation", "downstream", "etc", "example", "examples", "exercise",
    "exercises", "extras", "fabfile", "fuzz", "fuzzing", "htmlcov", "manpages", "misc", "news", "newsfragments",
    "notebooks", "packaging", "perf", "profiling", "python", "recipes", "sample", "samples", "script", "scripts",
    "site_scons", "sphinx", "tasks", "test", "testing", "tests", "third_party", "tool", "tools", "tutorial",
    "tutorials", "typing_tests", "unit_test", "unit_tests", "util", "utils", "vendor", "venv",
})  # fmt: skip
_NOT_MODULES = frozenset({
    "benchmark", "benchmarks", "build", "conanfile", "conf", "conftest", "distribute_setup", "dodo", "example",
    "examples", "exercise", "exercises", "ez_setup", "fabfile", "hubconf", "manage", "noxfile", "pavement", "release",
    "runtests", "setup", "tasks", "test", "tests", "toxfile", "versioneer",
})  # fmt: skip
_OTHER_ROOTS = ("lib", "python", "source")


class Layout(StrEnum):
    SRC = "src"
    FLAT = "flat"
    MODULE = "single module"
    DECLARED = "declared"
    """Somewhere else, as the build configuration says."""
    NONE = "none"


class Packages(NamedTuple):
    layout: Layout
    roots: tuple[str, ...]
    """Folders of packages and paths of single modules, sorted, none inside another."""
    where: str


class _Declared(NamedTuple):
    folders: tuple[str, ...] = ()
    """Where packages are looked for, `""` being the root."""
    paths: tuple[str, ...] = ()
    """Packages and modules by path, without a suffix."""
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    where: str = ""


def find_packages(files: Tree, *, name: str, setup: SetupFiles) -> Packages:
    """The packages that a build would ship: declared ones, else `src/`, a flat layout, or single modules.

    Raises:
        ProfileFailed: `pyproject.toml` is not TOML.
    """
    declared = _declared(table(files.toml("pyproject.toml"), "tool"), name, setup)
    src_is_folder = not files.has("src/__init__.py")
    places: Iterator[tuple[list[str], str]] = chain(
        [([root for path in declared.paths if (root := _existing(files, path))], declared.where)],
        ((_in_folder(files, folder, name, declared), declared.where) for folder in declared.folders),
        ((_in_folder(files, folder, name, declared), f"{folder}/") for folder in ["src"] if src_is_folder),
        [(_in_folder(files, "", name, declared), "packages in the root")],
        [(_root_modules(files, name), "modules in the root")],
        ((_in_folder(files, folder, name, declared), f"{folder}/") for folder in _OTHER_ROOTS),
    )
    return next(
        (_packages(found, where) for found, where in places if found), Packages(Layout.NONE, (), "nothing found")
    )


def _in_folder(files: Tree, folder: str, name: str, declared: _Declared) -> list[str]:
    """Packages in a folder. In the root a package needs an `__init__.py` or the project's name, elsewhere only code."""
    prefix = f"{folder}/" if folder else ""
    own_names = {
        _module_name(name),
        _module_name(name).removeprefix("python_"),
        _module_name(name).removesuffix("_python"),
    }
    found: set[str] = set()
    known = frozenset(files.python_files)
    for path in files.python_files:
        if not path.startswith(prefix):
            continue
        top, _, rest = path.removeprefix(prefix).partition("/")
        if not rest:
            if folder and top.removesuffix(".py") not in _NOT_MODULES:
                found.add(path)
            continue
        own = _module_name(top) in own_names
        regular = f"{prefix}{top}/__init__.py" in known
        conventional = own or (top not in NOT_PACKAGES and not top.startswith("_") and (regular or bool(folder)))
        wanted = any(fnmatch.fnmatchcase(top, pattern.partition(".")[0]) for pattern in declared.include)
        unwanted = any(fnmatch.fnmatchcase(top, pattern) for pattern in declared.exclude)
        if conventional and wanted and not unwanted:
            found.add(prefix + top)
    return sorted(found)


def _root_modules(files: Tree, name: str) -> list[str]:
    modules = [path for path in files.python_files if "/" not in path]
    own = [path for path in modules if _module_name(path.removesuffix(".py")) == _module_name(name)]
    if own:
        return own
    return [
        path
        for path in modules
        if path.removesuffix(".py") not in _NOT_MODULES and not path.startswith(("test_", "_")) and "_test." not in path
    ]


def _declared(tool: Mapping[str, Any], name: str, setup: SetupFiles) -> _Declared:
    readers = (_from_setuptools, _from_hatch, _from_poetry, _from_flit, _from_other_tools)
    for reader in readers:
        declared = reader(tool, name)
        if declared.where:
            return declared
    return _from_setup_files(setup)


def _from_setuptools(tool: Mapping[str, Any], _name: str) -> _Declared:
    settings = table(tool, "setuptools")
    mapping = {key: value for key, value in table(settings, "package-dir").items() if isinstance(value, str)}
    find = table(settings, "packages", "find")
    paths = _located(strings(settings.get("packages")), strings(settings.get("py-modules")), mapping)
    folders = strings(find.get("where")) or ([mapping[""]] if "" in mapping else [])
    if not (paths or folders or find):
        return _Declared()
    return _Declared(
        _folders(folders),
        paths,
        tuple(strings(find.get("include"))) or ("*",),
        tuple(strings(find.get("exclude"))),
        "pyproject.toml [tool.setuptools]",
    )


def _from_setup_files(setup: SetupFiles) -> _Declared:
    paths = _located(setup.packages or (), setup.py_modules or (), setup.package_dir)
    folders = [setup.find_where] if setup.find_where else [setup.package_dir[""]] if "" in setup.package_dir else []
    return _Declared(_folders(folders), paths, where=setup.where) if paths or folders else _Declared()


def _from_hatch(tool: Mapping[str, Any], _name: str) -> _Declared:
    target = table(tool, "hatch", "build", "targets", "wheel")
    paths = strings(target.get("packages")) or strings(target.get("only-include"))
    where = "pyproject.toml [tool.hatch.build.targets.wheel]"
    return _Declared(paths=_folders(paths), where=where) if paths else _Declared()


def _from_poetry(tool: Mapping[str, Any], _name: str) -> _Declared:
    packages = table(tool, "poetry").get("packages")
    entries = [item for item in packages if isinstance(item, dict)] if isinstance(packages, list) else []
    paths = [
        f"{item.get('from', '.')}/{item['include']}".split("/*", 1)[0]
        for item in entries
        if isinstance(item.get("include"), str)
    ]
    return _Declared(paths=_folders(paths), where="pyproject.toml [tool.poetry] packages") if paths else _Declared()


def _from_flit(tool: Mapping[str, Any], _name: str) -> _Declared:
    module = table(tool, "flit", "module").get("name") or table(tool, "flit", "metadata").get("module")
    if not isinstance(module, str):
        return _Declared()
    path = module.replace(".", "/")
    return _Declared(paths=(f"src/{path}", path), where="pyproject.toml [tool.flit]")


def _from_other_tools(tool: Mapping[str, Any], name: str) -> _Declared:
    uv = table(tool, "uv", "build-backend")
    if uv:
        root = uv.get("module-root", "src")
        modules = strings(uv.get("module-name")) or [_module_name(name)]
        where = "pyproject.toml [tool.uv.build-backend]"
        return _Declared(paths=_folders(f"{root}/{module.replace('.', '/')}" for module in modules), where=where)
    for keys, where in (
        (("pdm", "build", "package-dir"), "[tool.pdm.build]"),
        (("maturin", "python-source"), "[tool.maturin]"),
    ):
        folder = table(tool, *keys[:-1]).get(keys[-1])
        if isinstance(folder, str):
            return _Declared(_folders([folder]), where=f"pyproject.toml {where}")
    return _Declared()


def _located(packages: Iterable[str], modules: Iterable[str], mapping: Mapping[str, str]) -> tuple[str, ...]:
    """Paths of dotted packages and modules under setuptools' `package_dir`."""
    root = mapping.get("", ".")
    tops = dict.fromkeys(package for package in packages if "*" not in package)
    paths = [mapping.get(package, f"{root}/{package.replace('.', '/')}") for package in tops]
    return _folders([*paths, *(f"{root}/{module.replace('.', '/')}" for module in modules)])


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths from the root, normalised: `./src/` is `src`, `.` is empty."""
    cleaned = ("/".join(part for part in path.split("/") if part not in {"", "."}) for path in paths)
    return tuple(path for path in cleaned if ".." not in path.split("/"))


def _existing(files: Tree, path: str) -> str | None:
    path = path.removesuffix(".py")
    if path and any(file.startswith(f"{path}/") for file in files.python_files):
        return path
    return f"{path}.py" if f"{path}.py" in files.python_files else None


def _packages(found: Iterable[str], where: str) -> Packages:
    ordered = sorted(set(found))
    roots = tuple(root for root in ordered if not any(root.startswith(f"{other}/") for other in ordered))
    if all(root.startswith("src/") for root in roots):
        layout = Layout.SRC
    elif all("/" not in root and root.endswith(".py") for root in roots):
        layout = Layout.MODULE
    else:
        layout = Layout.FLAT if all("/" not in root for root in roots) else Layout.DECLARED
    return Packages(layout, roots, where)


def _module_name(name: str) -> str:
    return canonicalize_name(name).replace("-", "_").replace(".", "_")
