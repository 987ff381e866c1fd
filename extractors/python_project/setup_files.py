"""What `setup.cfg` and `setup.py` say, as far as literals go; neither is ever run."""

import ast
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from extractors.tree import Tree


class SetupFiles(NamedTuple):
    """Values of both files, `setup.cfg` first; `None` where nothing is said."""

    exists: bool = False
    """Whether there is a `setup.py`, or a `setup.cfg` with metadata."""
    name: str = ""
    install_requires: list[str] | None = None
    extras_require: Mapping[str, list[str]] = {}
    tests_require: list[str] | None = None
    setup_requires: list[str] | None = None
    python_requires: str = ""
    packages: list[str] | None = None
    package_dir: Mapping[str, str] = {}
    py_modules: list[str] | None = None
    find_where: str = ""
    unreadable: tuple[str, ...] = ()
    """Arguments of `setup()` that are computed, and so known only after a build."""
    where: str = ""


_MAX_FILES = 20
_MUTATORS = frozenset({"append", "extend", "insert", "pop", "remove", "setdefault", "update"})


class _Computed(Exception):
    """A value that is not a literal."""


def read_setup_files(files: Tree) -> SetupFiles:
    """Both files together.

    Raises:
        ProfileFailed: `setup.cfg` is not INI, or one of them is too large or not UTF-8.
    """
    static = _setup_cfg(files)
    script = _setup_py(files)
    if script is None:
        return static
    if not static.exists:
        return script
    merged = {
        field: getattr(static, field) or getattr(script, field) for field in SetupFiles._fields if field != "unreadable"
    }
    unreadable = tuple(field for field in script.unreadable if not getattr(static, field, None))
    return SetupFiles(**merged, unreadable=unreadable)._replace(where="setup.cfg, setup.py")


def _setup_cfg(files: Tree) -> SetupFiles:
    if not files.has("setup.cfg"):
        return SetupFiles()
    config = files.ini("setup.cfg")
    if not (config.has_section("metadata") or config.has_section("options")):
        return SetupFiles()

    def lines(section: str, key: str) -> list[str] | None:
        return _listed(files, config.get(section, key)) if config.has_option(section, key) else None

    extras = config.options("options.extras_require") if config.has_section("options.extras_require") else []
    package_dir = dict(_pair(line) for line in (lines("options", "package_dir") or []) if "=" in line)
    packages = lines("options", "packages")
    return SetupFiles(
        exists=True,
        name=config.get("metadata", "name", fallback="") or "",
        install_requires=lines("options", "install_requires"),
        extras_require={extra: lines("options.extras_require", extra) or [] for extra in extras},
        tests_require=lines("options", "tests_require"),
        setup_requires=lines("options", "setup_requires"),
        python_requires=config.get("options", "python_requires", fallback="") or "",
        packages=None if packages and packages[0].startswith("find") else _split_names(packages),
        package_dir=package_dir,
        py_modules=_split_names(lines("options", "py_modules")),
        find_where=(config.get("options.packages.find", "where", fallback="") or "").strip(),
        where="setup.cfg",
    )


def _listed(files: Tree, text: str | None) -> list[str]:
    """A list of `setup.cfg`: by lines, by semicolons where it is on one line, or in the files that `file:` names."""
    text = (text or "").strip()
    if text.startswith("file:"):
        names = [name.strip() for name in text.removeprefix("file:").replace("\n", ",").split(",") if name.strip()]
        text = "\n".join(files.read(name) or "" for name in list(dict.fromkeys(names))[:_MAX_FILES])
    parts = text.splitlines() if "\n" in text else text.split(";")
    lines = [line.split(" #", 1)[0].strip() for line in parts]
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def _split_names(lines: list[str] | None) -> list[str] | None:
    return lines and [name.strip() for line in lines for name in line.split(",") if name.strip()]


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.strip(), value.strip()


def _setup_py(files: Tree) -> SetupFiles | None:
    text = files.read("setup.py")
    if text is None:
        return None
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return SetupFiles(exists=True, unreadable=("install_requires",), where="setup.py")
    call = next((node for node in ast.walk(module) if _is_setup(node)), None)
    if not isinstance(call, ast.Call):
        return SetupFiles(exists=True, unreadable=("install_requires",), where="setup.py")
    literals = _Literals(_constants(module))
    arguments: dict[str, ast.expr] = {word.arg: word.value for word in call.keywords if word.arg}
    values: dict[str, Any] = {}
    unreadable = []
    for word in call.keywords:
        if word.arg is None:  # setup(**metadata)
            try:
                values |= _mapping(literals.value(word.value))
            except _Computed:
                unreadable.append("install_requires")
    for key, node in arguments.items():
        try:
            values[key] = literals.value(node)
        except _Computed:
            unreadable.append(key)
    find_where = _find_where(arguments.get("packages"))
    return SetupFiles(
        exists=True,
        name=values["name"] if isinstance(values.get("name"), str) else "",
        install_requires=_texts(values.get("install_requires")),
        extras_require={str(key): _texts(value) or [] for key, value in _mapping(values.get("extras_require")).items()},
        tests_require=_texts(values.get("tests_require")),
        setup_requires=_texts(values.get("setup_requires")),
        python_requires=values["python_requires"] if isinstance(values.get("python_requires"), str) else "",
        packages=_texts(values.get("packages")),
        package_dir={str(key): str(value) for key, value in _mapping(values.get("package_dir")).items()},
        py_modules=_texts(values.get("py_modules")),
        find_where=find_where,
        unreadable=tuple(dict.fromkeys(unreadable)),
        where="setup.py",
    )


def _is_setup(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (isinstance(function, ast.Name) and function.id == "setup") or (
        isinstance(function, ast.Attribute) and function.attr == "setup"
    )


def _constants(module: ast.Module) -> dict[str, ast.expr]:
    """Names that the module's top level binds exactly once, to what they are bound."""
    bound: dict[str, list[ast.expr]] = {}
    for node in module.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    bound.setdefault(target.id, []).append(node.value)
    changed = {name for node in ast.walk(module) if (name := _changed_name(node))}
    return {name: values[0] for name, values in bound.items() if len(values) == 1 and name not in changed}


def _changed_name(node: ast.AST) -> str | None:
    """The name whose value this node changes in place (`x += ...`, `x.append(...)`, `x[...] = ...`)."""
    match node:
        case ast.AugAssign(target=ast.Name(id=name)):
            return name
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in _MUTATORS:
            return name
        case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name))]):
            return name
    return None


class _Literals:
    """Evaluates literals, names of literals and their sums; stops at a budget, for names may multiply."""

    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self._names = names
        self._budget = 10_000

    def value(self, node: ast.expr, depth: int = 0) -> Any:
        self._budget -= 1
        if self._budget < 0 or depth > 50:
            raise _Computed
        depth += 1
        match node:
            case ast.Constant():
                return node.value
            case ast.Name() if node.id in self._names:
                return self.value(self._names[node.id], depth)
            case ast.List() | ast.Tuple():
                return [self.value(item, depth) for item in node.elts]
            case ast.Dict():
                keys = [self.value(key, depth) for key in node.keys if key is not None]
                if len(keys) != len(node.keys) or not all(isinstance(key, str) for key in keys):
                    raise _Computed
                return dict(zip(keys, (self.value(value, depth) for value in node.values), strict=True))
            case ast.BinOp(op=ast.Add()):
                left, right = self.value(node.left, depth), self.value(node.right, depth)
                if isinstance(left, list) and isinstance(right, list):
                    return left + right
        raise _Computed


def _find_where(node: ast.expr | None) -> str:
    """The folder of `find_packages("src")` or `find_packages(where="src")`."""
    if not isinstance(node, ast.Call):
        return ""
    candidates = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "where")]
    texts = [item.value for item in candidates if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return texts[0] if texts else ""


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [line for line in re.split(r"\n", value) if line.strip()]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else None
