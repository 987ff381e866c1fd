"""Read a checkout that may be hostile: bounded sizes, no link out of the tree, every parse error names its file."""

import configparser
import os
import re
import stat
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any

from schemas.errors import ProfileFailed

_MAX_CONFIG_BYTES = 1024 * 1024
_MAX_FILES = 200_000
_MAX_DEPTH = 40

# Left by tools, never part of a package; hidden folders are left out by their dot.
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "__pypackages__"})

# Python's own reader takes a time that grows with the square of the parts.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""")


class Tree:
    """The files of a checkout, by POSIX paths from its root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._resolved = root.resolve()

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Regular files, sorted; links and hidden folders are left out.

        Raises:
            ProfileFailed: there are absurdly many.
        """
        found: list[str] = []
        for folder, folders, names in os.walk(self.root):
            inside = Path(folder).relative_to(self.root).as_posix()
            depth = 0 if inside == "." else inside.count("/") + 1
            folders[:] = [name for name in folders if self._entered(Path(folder, name)) and depth < _MAX_DEPTH]
            prefix = "" if inside == "." else f"{inside}/"
            found += [prefix + name for name in names if stat.S_ISREG(Path(folder, name).lstat().st_mode)]
            if len(found) > _MAX_FILES:
                msg = f"the repository holds more than {_MAX_FILES} files; gymforge does not profile trees of this size"
                raise ProfileFailed(msg)
        return tuple(sorted(path for path in found if path.isprintable()))

    @cached_property
    def python_files(self) -> tuple[str, ...]:
        return tuple(path for path in self.files if path.endswith(".py"))

    def names_at(self, folder: str) -> list[str]:
        """Paths of what lies directly in a folder, sorted; nothing where the folder is absent or a link."""
        place = self.root / folder
        if place.is_symlink() or not place.is_dir():
            return []
        return sorted(f"{folder}/{name}" if folder else name for name in os.listdir(place))  # noqa: PTH208

    def safe_path(self, path: str) -> Path | None:
        """The regular file at `path`; `None` where there is none, or where a link leads out of the tree."""
        try:
            target = (self.root / path).resolve()
            inside = target.is_relative_to(self._resolved) and target.is_file()
        except (OSError, ValueError, RuntimeError):  # a loop of links, a name that is too long, a NUL
            return None
        return target if inside else None

    def has(self, path: str) -> bool:
        return self.safe_path(path) is not None

    def read(self, path: str) -> str | None:
        """Text of a configuration file; `None` where there is none.

        Raises:
            ProfileFailed: it is too large, or not UTF-8.
        """
        target = self.safe_path(path)
        if target is None:
            return None
        size = target.stat().st_size
        if size > _MAX_CONFIG_BYTES:
            msg = f"{path} is {size} bytes long; gymforge reads configuration files up to {_MAX_CONFIG_BYTES}"
            raise ProfileFailed(msg)
        try:
            return target.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            msg = f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8"
            raise ProfileFailed(msg) from None

    def toml(self, path: str) -> dict[str, Any]:
        """A TOML file as it stands; empty where there is none.

        Raises:
            ProfileFailed: it is not TOML.
        """
        text = self.read(path)
        return {} if text is None else parse_toml(text, path=path)

    def ini(self, path: str) -> configparser.ConfigParser:
        """An INI file as tox and setuptools read it, without interpolation; empty where there is none.

        Raises:
            ProfileFailed: it is not INI.
        """
        return parse_ini(self.read(path) or "", path=path)

    @staticmethod
    def _entered(folder: Path) -> bool:
        skipped = folder.name.startswith(".") or folder.name in _SKIPPED_FOLDERS or folder.name.endswith(".egg-info")
        return not skipped and not folder.is_symlink() and not (folder / "pyvenv.cfg").exists()


def parse_toml(text: str, *, path: str) -> dict[str, Any]:
    """TOML text as a mapping; a failure names `path`."""
    if _LONG_KEY.search(text):
        msg = f"{path} holds a dotted key of over 100 parts; gymforge does not read such files"
        raise ProfileFailed(msg)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        msg = f"{path} is not valid TOML: {error}"
        raise ProfileFailed(msg) from None


def parse_ini(text: str, *, path: str) -> configparser.ConfigParser:
    """INI text; option names keep their case, and a failure names `path`."""
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, allow_no_value=True, default_section="\0", empty_lines_in_values=True
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text, source=path)
    except (configparser.Error, AttributeError) as error:
        # Before Python 3.13 a line that goes on under an option without a value is an AttributeError of its own.
        msg = f"{path} is not a valid INI file: {' '.join(str(error).split())}"
        raise ProfileFailed(msg) from None
    return parser


def table(value: Any, *keys: str) -> dict[str, Any]:
    """The table at `keys` of parsed TOML; empty where it is absent or something else."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def strings(value: Any) -> list[str]:
    """The strings of a TOML array, or one string alone; anything else is left out."""
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
