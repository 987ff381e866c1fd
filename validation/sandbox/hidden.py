"""Hide what a sandbox must not see of the program folders that it shares with this machine: settings, private files."""

import functools
import os
import subprocess
from pathlib import Path

from schemas.errors import SandboxUnavailable

SETTINGS = ("/usr/etc", "/usr/local/etc", "/usr/pip.conf", "/usr/local/pip.conf")
"""Settings of this machine among the programs: package managers keep their tokens there."""

MAX_HIDDEN = 1000
"""Each hidden path is a mount of its own in every sandbox."""

_SCAN_S = 120


def hiding_arguments(roots: tuple[str, ...]) -> list[str]:
    """What bwrap must do, after `roots` are mounted, so that settings are gone and private files cannot be opened.

    Where this program runs as root the kernel takes the sandbox's user for the owner of root's files; their modes
    keep nobody out.

    Raises:
        SandboxUnavailable: the folders cannot be searched, or too much in them is private.
    """
    settings = [os.path.realpath(path) for path in SETTINGS]
    shared = [path for path in settings if any(Path(path).is_relative_to(root) for root in roots)]
    arguments: list[str] = []
    covered: set[Path] = set()
    for path in sorted({*shared, *private_paths(roots)}):
        if not covered.isdisjoint(Path(path).parents) or os.path.realpath(path) != path:
            continue
        if Path(path).is_dir():
            covered.add(Path(path))
            arguments += ["--perms", "0555", "--tmpfs", path, "--remount-ro", path]
        elif Path(path).is_file():  # not one that was removed since the search
            arguments += ["--ro-bind", os.devnull, path]  # devices cannot be opened on such a mount
    return arguments


@functools.cache
def private_paths(roots: tuple[str, ...]) -> tuple[str, ...]:
    """Files below `roots` that not everybody may read, and folders that not everybody may enter; once a process.

    Raises:
        SandboxUnavailable: the folders cannot be searched, or there are more than `MAX_HIDDEN`.
    """
    private = ["(", "-type", "d", "!", "-perm", "-001", "-o", "-type", "f", "!", "-perm", "-004", ")"]
    try:
        run = subprocess.run(
            ["find", *roots, *private, "-prune", "-print0"], capture_output=True, timeout=_SCAN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(
            f"Private files in {', '.join(roots)} cannot be searched for, so that a local sandbox could hide them: "
            f"{error}. Install findutils, or use a Docker Engine."
        ) from error
    found = [os.fsdecode(path) for path in run.stdout.split(b"\0") if path]  # it complains of what we cannot see either
    mine = tuple(path for path in sorted(found) if os.access(path, os.X_OK if Path(path).is_dir() else os.R_OK))
    if len(mine) > MAX_HIDDEN:
        raise SandboxUnavailable(
            f"{len(mine)} files and folders in {', '.join(roots)} are readable by this user and not by everybody "
            f"({mine[0]}, ...): too many to hide from a local sandbox. Run as an ordinary user, or use a Docker Engine."
        )
    return mine
