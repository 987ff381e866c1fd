"""Write and apply git-format diffs of one file; exact to the byte, whatever its line ends."""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from schemas.errors import GymforgeError, InvalidInput

NO_NEWLINE = "\\ No newline at end of file"

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
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(?: .*)?", re.DOTALL)
_ESCAPES = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


class FileChange(NamedTuple):
    """Two states of one file."""

    path: str
    before: bytes
    after: bytes


class _Hunk(NamedTuple):
    start: int
    """Index of the first line that it covers in the file before."""
    new_start: int
    old: list[bytes]
    new: list[bytes]


def make_patch(path: str, before: bytes, after: bytes) -> str:
    """git's minimal diff from `before` to `after`, with git's header and section headers; empty if they are equal.

    The text holds the file's own line ends, so write it out as UTF-8 without newline translation.

    Raises:
        InvalidInput: a side is not UTF-8.
        GymforgeError: git is not installed, or failed.
    """
    return make_patches([FileChange(path, before, after)])[0]


def make_patches(changes: Sequence[FileChange]) -> tuple[str, ...]:
    """`make_patch` of many changes; one git process serves a few hundred."""
    bodies: list[str] = []
    for start in range(0, len(changes), _BATCH):
        bodies.extend(_hunks_by_git(changes[start : start + _BATCH]))
    return tuple(_header(change.path) + body if body else "" for change, body in zip(changes, bodies, strict=True))


def apply_patch(before: bytes, patch: str) -> bytes:
    """Apply a diff of one file: positions, counts and context must match exactly. An empty patch changes nothing.

    Raises:
        ValueError: the patch is malformed, covers several files, or does not fit `before`.
    """
    lines = _split(before)
    result: list[bytes] = []
    position = 0
    for hunk in _parse(patch):
        if hunk.start < position or hunk.start > len(lines):
            raise ValueError(f"hunk at line {hunk.start + 1} is out of order or beyond the file's {len(lines)} lines")
        result.extend(lines[position : hunk.start])
        position = hunk.start + len(hunk.old)
        if lines[hunk.start : position] != hunk.old:
            raise ValueError(_mismatch(lines, hunk))
        if hunk.new_start != len(result):
            raise ValueError(f"hunk says its result starts at line {hunk.new_start + 1}, not {len(result) + 1}")
        result.extend(hunk.new)
    result.extend(lines[position:])
    if any(not line.endswith(b"\n") for line in result[:-1]):
        raise ValueError("the patch leaves a line without newline inside the file")
    return b"".join(result)


def _hunks_by_git(changes: Sequence[FileChange]) -> list[str]:
    for change in changes:
        _require_utf8(change)
    with tempfile.TemporaryDirectory(prefix="gymforge-diff-") as scratch:
        root = Path(scratch).resolve()
        names = [_scratch_name(number, change.path) for number, change in enumerate(changes)]
        for side in ("a", "b"):
            (root / side).mkdir()
        for name, change in zip(names, changes, strict=True):
            (root / "a" / name).write_bytes(change.before)
            (root / "b" / name).write_bytes(change.after)
        output = _run_git(root)
    by_name: dict[str, list[bytes]] = {}
    current: list[bytes] = []
    for line in _split(output):
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


def _header(path: str) -> str:
    old, new = _quote(f"a/{path}"), _quote(f"b/{path}")
    # git ends a name that holds a space with a tab, for tools that take a time stamp after it.
    tab = "\t" if " " in path else ""
    return f"diff --git {old} {new}\n--- {old}{tab}\n+++ {new}{tab}\n"


def _quote(name: str) -> str:
    """git's C-style quoting of a path, as with core.quotePath on."""
    quoted = "".join(_escape(byte) for byte in name.encode("utf-8"))
    return f'"{quoted}"' if quoted != name else name


def _escape(byte: int) -> str:
    if byte in _ESCAPES:
        return "\\" + _ESCAPES[byte]
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def _split(data: bytes) -> list[bytes]:
    """Lines with their newlines; only a line feed ends a line."""
    return [line for line in re.split(rb"(?<=\n)", data) if line]


def _parse(patch: str) -> list[_Hunk]:
    if not patch:
        return []
    if not patch.endswith("\n"):
        raise ValueError("the patch does not end with a newline: it is cut off")
    lines = patch[:-1].split("\n")
    position = next((number for number, line in enumerate(lines) if line.startswith("@@ ")), len(lines))
    header = lines[:position]
    names = [line[:4] for line in header if line.startswith(("--- ", "+++ "))]
    if names != ["--- ", "+++ "] or position == len(lines):
        raise ValueError("the patch is not a diff of one file: it needs one '---', one '+++' and at least one hunk")
    hunks: list[_Hunk] = []
    while position < len(lines):
        hunk, position = _parse_hunk(lines, position)
        hunks.append(hunk)
    return hunks


def _parse_hunk(lines: list[str], position: int) -> tuple[_Hunk, int]:
    match = _HUNK.fullmatch(lines[position])
    if match is None:
        raise ValueError(f"line {position + 1} of the patch is not a hunk header: {lines[position]!r}")
    old_line, new_line = int(match[1]), int(match[3])
    old_count, new_count = int(match[2] or 1), int(match[4] or 1)
    old: list[bytes] = []
    new: list[bytes] = []
    position += 1
    while len(old) < old_count or len(new) < new_count or (position < len(lines) and lines[position] == NO_NEWLINE):
        if position == len(lines):
            raise ValueError("the patch ends inside a hunk")
        _take(lines[position], lines[position - 1][:1], old, new)
        position += 1
    if (len(old), len(new)) != (old_count, new_count):
        raise ValueError(f"the hunk at line {old_line} holds other numbers of lines than its header says")
    # Where a side has no lines, git numbers the line before the place.
    start = old_line - 1 if old_count else old_line
    new_start = new_line - 1 if new_count else new_line
    if start < 0 or new_start < 0:
        raise ValueError(f"line {old_line} of the hunk header is not in any file")
    return _Hunk(start, new_start, old, new), position


def _take(line: str, previous: str, old: list[bytes], new: list[bytes]) -> None:
    """Add one line of a hunk to its sides."""
    if line == NO_NEWLINE:
        for sign, side in (("-", old), ("+", new)):
            if previous in {sign, " "}:
                side[-1] = side[-1].removesuffix(b"\n")
        if previous not in {"-", "+", " "}:
            raise ValueError("the mark of a missing final newline follows no line")
        return
    sign, text = line[:1], line[1:].encode("utf-8") + b"\n"
    if sign not in {" ", "-", "+"}:
        raise ValueError(f"a line of a hunk starts with {sign!r}")
    if sign != "+":
        old.append(text)
    if sign != "-":
        new.append(text)


def _mismatch(lines: list[bytes], hunk: _Hunk) -> str:
    for offset, wanted in enumerate(hunk.old):
        index = hunk.start + offset
        found = lines[index] if index < len(lines) else None
        if found != wanted:
            return f"line {index + 1} of the file is {found!r}, and the patch expects {wanted!r}"
    return "the patch does not fit the file"
