"""Look at this machine for `gymforge doctor`: what it has for sandboxes, what it lacks, and what follows."""

import os
import shutil
import subprocess
from enum import StrEnum
from pathlib import Path

from schemas.errors import MissingExtra, SandboxUnavailable
from schemas.model import Model
from validation.sandbox.protocol import MIB

_GIT_S = 20
_ENOUGH_DISK_BYTES = 5 * 1024 * MIB
_ENOUGH_MEMORY_BYTES = 3 * 1024 * MIB


class ProbeStatus(StrEnum):
    """How good a thing is here."""

    OK = "ok"
    WEAKER = "weaker"
    """It works, with less safety or comfort; the consequence says which."""
    MISSING = "missing"


class Probe(Model):
    """One thing that was looked at."""

    name: str
    status: ProbeStatus
    found: str
    """What is there: a version, a size, a path; or why it does not work."""
    consequence: str
    """What follows from it, and what to do."""


def probe(*, disk: Path | None = None) -> tuple[Probe, ...]:
    """Look at everything; really starts a sandbox. `disk`: a folder on the disk that will hold the data."""
    return (
        _git(),
        _docker(),
        _bubblewrap(),
        _user_namespaces(),
        _cgroups(),
        _interpreters(),
        _disk(disk or Path.home()),
        _memory(),
    )


def _git() -> Probe:
    try:
        run = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=_GIT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Probe(
            name="git", status=ProbeStatus.MISSING, found=str(error), consequence="Nothing can be cloned: install git."
        )
    return Probe(name="git", status=ProbeStatus.OK, found=run.stdout.strip(), consequence="Repositories can be cloned.")


def _docker() -> Probe:
    from validation.sandbox.docker import DockerBackend

    try:
        backend = DockerBackend()
    except (MissingExtra, SandboxUnavailable) as error:
        found, consequence = str(error), "The local sandbox is used; `--sandbox docker` is refused."
        return Probe(name="docker", status=ProbeStatus.MISSING, found=found, consequence=consequence)
    found = f"Docker Engine {backend.engine_version} answers"
    return Probe(name="docker", status=ProbeStatus.OK, found=found, consequence="`--sandbox auto` takes Docker.")


def _bubblewrap() -> Probe:
    from validation.sandbox.bubblewrap import find_bubblewrap

    try:
        bwrap = find_bubblewrap()
    except SandboxUnavailable as error:
        return Probe(
            name="bubblewrap", status=ProbeStatus.MISSING, found=str(error), consequence="`--sandbox local` is refused."
        )
    source = "bundled with the install" if bwrap.bundled else bwrap.path
    found = f"bwrap {bwrap.version} ({source}) started a sandbox"
    return Probe(name="bubblewrap", status=ProbeStatus.OK, found=found, consequence="`--sandbox local` works.")


def _user_namespaces() -> Probe:
    limit = _read("/proc/sys/user/max_user_namespaces")
    switches = {
        "/proc/sys/kernel/unprivileged_userns_clone": "0",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
    }
    if limit == "0":
        return Probe(
            name="user namespaces",
            status=ProbeStatus.MISSING,
            found="none are allowed by /proc/sys/user/max_user_namespaces",
            consequence=(
                "Nobody, root included, can start the local sandbox: `sysctl user.max_user_namespaces=15000`, or use "
                "Docker."
            ),
        )
    closed = [path for path, value in switches.items() if _read(path) == value]
    if not closed:
        consequence = "Bubblewrap needs no system package and no root."
        return Probe(name="user namespaces", status=ProbeStatus.OK, found=f"up to {limit}", consequence=consequence)
    found = "restricted by " + ", ".join(closed)
    consequence = "Only root, or a bwrap that the system's policy allows, can start the local sandbox."
    return Probe(name="user namespaces", status=ProbeStatus.WEAKER, found=found, consequence=consequence)


def _cgroups() -> Probe:
    from validation.sandbox.cgroups import find_hierarchy

    hierarchy = find_hierarchy()
    if hierarchy is not None:
        consequence = "The kernel holds memory and processes of a whole local sandbox."
        return Probe(
            name="cgroups", status=ProbeStatus.OK, found=f"v{hierarchy.version}, writable", consequence=consequence
        )
    version = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1 or none"
    return Probe(
        name="cgroups",
        status=ProbeStatus.WEAKER,
        found=f"{version}, not writable for this user",
        consequence=(
            "The local sandbox looks at memory and processes 20 times a second instead: a fast program can pass the "
            "limit for a moment. Start gymforge with `systemd-run --user --scope -p Delegate=yes`, or use Docker."
        ),
    )


def _interpreters() -> Probe:
    from validation.sandbox.interpreters import find_interpreters

    versions = ", ".join(item.interpreter.version for item in find_interpreters())
    if not versions:
        consequence = "The local sandbox has no Python outside the home folder's top."
        return Probe(name="interpreters", status=ProbeStatus.MISSING, found="no CPython", consequence=consequence)
    consequence = "A repository that supports none of these is rejected by the local sandbox."
    return Probe(name="interpreters", status=ProbeStatus.OK, found=f"CPython {versions}", consequence=consequence)


def _disk(folder: Path) -> Probe:
    while not folder.exists():
        folder = folder.parent
    free_bytes = shutil.disk_usage(folder).free
    enough = free_bytes >= _ENOUGH_DISK_BYTES
    consequence = (
        "Room for environments and shards." if enough else "An environment takes up to 1 GiB: free some space."
    )
    status = ProbeStatus.OK if enough else ProbeStatus.WEAKER
    return Probe(name="disk", status=status, found=f"{free_bytes / 1024**3:.1f} GiB free", consequence=consequence)


def _memory() -> Probe:
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = total_bytes >= _ENOUGH_MEMORY_BYTES
    workers = max(1, total_bytes // _ENOUGH_MEMORY_BYTES)
    consequence = f"Up to {workers} sandboxes at their full memory limit fit at once."
    if not enough:
        consequence = "Less than one sandbox's limit and the program: give sandboxes a lower memory limit."
    status = ProbeStatus.OK if enough else ProbeStatus.WEAKER
    return Probe(name="memory", status=status, found=f"{total_bytes / 1024**3:.1f} GiB", consequence=consequence)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
