"""Write git-format diffs of one file; exact to the byte, whatever its line ends."""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from extractors.evident import evident_hunks
from extractors.hunks import apply_patch, split_lines
from schemas.errors import GymforgeError, InvalidInput

__all__ = ["FileChange", "apply_patch", "make_header", "make_patch", "make_patches"]

# git finds the section header of a hunk (the enclosing def or class) with a driver that it chooses by attribute.
_DRIVERS = {
    ".py": "python",
    ".pyi": "python",
    ".go": "golang",
    ".rs": "rust",
    ".java": "java",
    ".c": "cpp",
    ".h": "cpp",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".cxx": "cpp",
    ".hpp": "cpp",
}
# Every option that configuration could change is spelled out, so that the same files give the same bytes anywhere.
_DIFF = (
    "diff", "--no-index", "--minimal", "--text", "--unified=3", "--inter-hunk-context=0", "--indent-heuristic",
    "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-prefix",
    "--", "a", "b",
)  # fmt: skip
_BATCH = 256
_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


class FileChange(NamedTuple):
    """Two states of one file."""

    path: str
    before: bytes
    after: bytes


def make_patch(path: str, before: bytes, after: bytes) -> str:
    """The minimal diff from `before` to `after`, with git's header and section headers; empty if they are equal.

    The text holds the file's own line ends, so write it out as UTF-8 without newline translation.

    Raises:
        InvalidInput: a side is not UTF-8.
        GymforgeError: git is not installed, or failed.
    """
    return make_patches([FileChange(path, before, after)])[0]


def make_patches(changes: Sequence[FileChange]) -> tuple[str, ...]:
    """`make_patch` of many changes; one git process serves a few hundred, and most need none."""
    bodies: list[str | None] = []
    for change in changes:
        _require_utf8(change)
        bodies.append(_hunks_without_git(change))
    left = [number for number, body in enumerate(bodies) if body is None]
    for start in range(0, len(left), _BATCH):
        batch = left[start : start + _BATCH]
        for number, body in zip(batch, _hunks_by_git([changes[one] for one in batch]), strict=True):
            bodies[number] = body
    return tuple(make_header(change.path) + body if body else "" for change, body in zip(changes, bodies, strict=True))


def _hunks_without_git(change: FileChange) -> str | None:
    if _DRIVERS.get(PurePosixPath(change.path).suffix) != "python":
        return None
    hunks = evident_hunks(change.before, change.after)
    return None if hunks is None else hunks.decode("utf-8", errors="ignore")


def _hunks_by_git(changes: Sequence[FileChange]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="gymforge-diff-") as scratch:
        root = Path(scratch).resolve()
        names = [_scratch_name(number, change.path) for number, change in enumerate(changes)]
        for side in ("a", "b"):
            (root / side).mkdir()
        clean: dict[bytes, Path] = {}
        for name, change in zip(names, changes, strict=True):
            first = clean.setdefault(change.before, root / "a" / name)
            if first.exists():
                (root / "a" / name).hardlink_to(first)
            else:
                first.write_bytes(change.before)
            (root / "b" / name).write_bytes(change.after)
        output = _run_git(root)
    by_name: dict[str, list[bytes]] = {}
    current: list[bytes] = []
    for line in split_lines(output):
        # Lines of a hunk start with a space, '+', '-', '\\' or '@', so this can only be a header.
        if line.startswith(b"diff --git a/"):
            current = by_name.setdefault(line.rstrip(b"\n").rpartition(b" b/")[2].decode(), [])
        elif not line.startswith((b"index ", b"--- a/", b"+++ b/")) or any(part[:2] == b"@@" for part in current):
            current.append(line)
    # git cuts a long section header at 80 bytes, maybe inside a character; such a rest is dropped.
    return [b"".join(by_name.get(name, [])).decode("utf-8", errors="ignore") for name in names]


def _run_git(root: Path) -> bytes:
    attributes = root / "attributes"
    attributes.write_text("".join(f"*{suffix} diff={driver}\n" for suffix, driver in _DRIVERS.items()))
    command = ["git", "-c", f"core.attributesFile={attributes}", "-c", "core.autocrlf=false", *_DIFF]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": str(root),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        # The scratch folder may lie inside somebody's repository, whose configuration must not count.
        "GIT_CEILING_DIRECTORIES": str(root.parent),
    }
    try:
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise GymforgeError("git is not on PATH, so no diff can be written; install git 2.30 or newer") from error
    if done.returncode not in {0, 1} or done.stderr:
        raise GymforgeError(f"git diff failed with status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def _scratch_name(number: int, path: str) -> str:
    suffix = PurePosixPath(path).suffix
    return f"{number}{suffix if suffix in _DRIVERS else ''}"


def _require_utf8(change: FileChange) -> None:
    for side in (change.before, change.after):
        try:
            side.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{change.path} is not UTF-8 ({error}); leave the file out") from error


def make_header(path: str) -> str:
    """What a diff of one file begins with, up to its first hunk."""
    old, new = _quote(f"a/{path}"), _quote(f"b/{path}")
    # git ends a name that holds a space with a tab, for tools that take a time stamp after it.
    tab = "\t" if " " in path else ""
    return f"diff --git {old} {new}\n--- {old}{tab}\n+++ {new}{tab}\n"


def _quote(name: str) -> str:
    """C-style quoting of a path as git does it with core.quotePath on."""
    quoted = "".join(_escape(byte) for byte in name.encode("utf-8"))
    return f'"{quoted}"' if quoted != name else name


def _escape(byte: int) -> str:
    if byte in _ESCAPES:
        return "\\" + _ESCAPES[byte]
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
