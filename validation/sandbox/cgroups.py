"""Control groups around a sandbox: limit memory and processes of its whole tree, v1 or v2, and leave none behind."""

import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from validation.sandbox.protocol import Limits

_PREFIX = "gymforge-"
_SPARE_PROCESSES = 4
"""bwrap's own processes and the agent, beside those of the commands."""
_REMOVE_S = 5.0


class Hierarchy(NamedTuple):
    """Folders in which a group may be made; one for v2, one for each controller for v1."""

    version: int
    memory: Path
    pids: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders without repetition."""
        return (self.memory,) if self.memory == self.pids else (self.memory, self.pids)


class Group(NamedTuple):
    """One sandbox's control group."""

    version: int
    memory: Path
    pids: Path

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders without repetition."""
        return (self.memory,) if self.memory == self.pids else (self.memory, self.pids)

    def enter_command(self, command: Sequence[str]) -> list[str]:
        """`command`, started inside the group (by a shell that joins it and then becomes the command)."""
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 > "$1" || exit 120; shift; n=$((n-1)); done; exec "$@"'
        joins = [str(folder / "cgroup.procs") for folder in self.folders]
        return ["/bin/sh", "-c", script, "sh", str(len(joins)), *joins, *command]

    def oom_kills(self) -> int | None:
        """How often the kernel killed in this group for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        try:
            lines = (self.memory / name).read_text().splitlines()
        except OSError:
            return None
        counts = dict(line.split() for line in lines)
        return int(counts["oom_kill"]) if "oom_kill" in counts else None

    def kill(self) -> None:
        """Kill whatever is in the group."""
        for folder in self.folders:
            _kill_all(folder)


def find_hierarchy() -> Hierarchy | None:
    """Where this process may make groups that really limit memory and processes; None where it may not."""
    for hierarchy in _candidates():
        try:
            with make_group(hierarchy, Limits()) as group:
                _try_to_enter(group)
        except OSError:
            continue
        return hierarchy
    return None


@contextmanager
def make_group(hierarchy: Hierarchy, limits: Limits) -> Iterator[Group]:
    """A fresh group with these limits, removed at the end together with whatever is still in it.

    Raises:
        OSError: the kernel refuses the group or a limit.
    """
    _sweep(hierarchy)
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    group = Group(hierarchy.version, hierarchy.memory / name, hierarchy.pids / name)
    try:
        for folder in group.folders:
            folder.mkdir()
        _set_limits(group, limits)
        yield group
    finally:
        _remove(group)


def _set_limits(group: Group, limits: Limits) -> None:
    (group.pids / "pids.max").write_text(str(limits.processes + _SPARE_PROCESSES))
    if group.version == 2:
        (group.memory / "memory.max").write_text(str(limits.memory_bytes))
        swap, value = group.memory / "memory.swap.max", "0"
    else:
        (group.memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
        swap, value = group.memory / "memory.memsw.limit_in_bytes", str(limits.memory_bytes)
    if swap.exists():  # kernels without swap accounting have no such file
        swap.write_text(value)


def _try_to_enter(group: Group) -> None:
    pid = os.posix_spawn("/bin/sh", group.enter_command(["/bin/true"]), {})
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise PermissionError(f"a process cannot be moved into {group.memory}")


def _remove(group: Group) -> None:
    """Remove the group; its last processes may need a moment to be gone."""
    deadline = time.monotonic() + _REMOVE_S
    pause_s = 0.001
    for folder in group.folders:
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    break  # a stuck process: the next run's sweep takes it
                group.kill()
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.05)


def _kill_all(folder: Path) -> None:
    with suppress(OSError):
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _sweep(hierarchy: Hierarchy) -> None:
    """Kill and remove what belongs to processes of ours that were killed before they could do it."""
    for folder in hierarchy.folders:
        for stray in sorted(folder.glob(f"{_PREFIX}*")):
            owner = stray.name.removeprefix(_PREFIX).split("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists():
                _kill_all(stray)
                with suppress(OSError):
                    stray.rmdir()


def _candidates() -> Iterator[Hierarchy]:
    """Folders of this process's own groups: below them, or beside them where v2 forbids processes in inner nodes."""
    own = _own_groups()
    if "memory" in own and "pids" in own:
        yield Hierarchy(1, own["memory"], own["pids"])
    if "" in own:
        mine = own[""]
        for folder in (mine, mine.parent):
            if (folder / "cgroup.procs").exists() and _delegates(folder):
                yield Hierarchy(2, folder, folder)


def _delegates(folder: Path) -> bool:
    """Whether children of a v2 group get the memory and pids controllers; turns them on where that is possible."""
    control = folder / "cgroup.subtree_control"
    try:
        missing = {"memory", "pids"} - set(control.read_text().split())
        if missing:
            control.write_text(" ".join(f"+{name}" for name in sorted(missing)))
    except OSError:
        return False
    return True


def _own_groups() -> dict[str, Path]:
    """Controller to the folder of this process's group; the key of v2's is empty."""
    mounts = _mounts()
    own: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in mounts:
                root, mountpoint = mounts[controller]
                inside = path.removeprefix(root) if root != "/" else path
                own[controller] = mountpoint / inside.lstrip("/")
    return own


def _mounts() -> dict[str, tuple[str, Path]]:
    """Controller to the mounted root and the place where it is mounted."""
    mounts: dict[str, tuple[str, Path]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, mountpoint = left.split(" ")[3:5]
        if kind == "cgroup2":
            mounts.setdefault("", (root, Path(mountpoint)))
        elif kind == "cgroup":
            for option in options.split(","):
                mounts.setdefault(option, (root, Path(mountpoint)))
    return mounts
