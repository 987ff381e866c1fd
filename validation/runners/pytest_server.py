"""Run job after job of a suite in one sandbox, each on a tree that is proven clean before it.

This file runs inside a sandbox, in the repository's own interpreter (Python 3.8 or newer), as the text of `python -I
-S -c`, as `pytest_supervisor.py` does, and for the same reasons. A job brings edits of the work tree; a worker runs it,
forked from a zygote (see `pytest_zygote.py`) or, where that cannot be, started anew. Afterwards every process that is
left is killed, the edits are taken back, what was added is removed, and every file, link and folder that can be written
to is held against what was there before the first job, contents by hash.

Standard input: frames of four bytes of length and JSON. First the settings: ``programs`` (``worker`` and ``zygote``,
sources), ``args`` (of pytest), ``roots`` (all folders that can be written to), ``bytecode`` (a folder in one of them),
``fork`` (bool). Then jobs: the settings of `pytest_supervisor.py`, and ``edits`` (absolute path to base64 of the
content). Records: ``{"e": "ready", "forks", "why"}``; for each job what the supervisor says, then ``{"e": "clean",
"stages_s": {name: seconds}, "out_of_memory", "left": paths in the work tree that were added}``, or ``{"e": "dirty",
"why"}``, after which the server ends. What the server says for itself begins with ``!``, and no record of a worker's,
which is JSON, can.
"""

import base64
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import stat
import struct
import sys
import time

from pytest_supervisor import PR_SET_DUMPABLE, Supervisor
from pytest_zygote import WARM_UP, hear, say

PR_SET_CHILD_SUBREAPER = 36
SIZE = struct.Struct(">I")
KILL_PATIENCE_S = 30.0
LONGEST_PAUSE_S = 0.05
CULPRITS = 10
RLIMITS = 16
"""Limits that Linux has for a process, by number."""
OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
STREAMS = (1, 2)
"""What workers share with the server, and so can set flags of."""
SCOUT_LIMIT_S = 1800
MOST_LEFT = 1000
ENDED = "loading libraries ended the process"
COLD = "pytest cannot be run in the process to fork from, so workers find it cold"
PIECE = 1 << 20


ADDED = ("added",)


class Dirty(Exception):
    """The sandbox is not as it was; it can only be thrown away."""


class Server:
    """The zygote, the sealed tree, and the loop of jobs."""

    def __init__(self, settings, channel_fd):
        self.settings = settings
        self.channel_fd = channel_fd
        self.zygote = None  # type: socket.socket | None
        self.zygote_pid = 0
        self.own = {1, os.getpid()}

    def emit(self, **record):
        view = memoryview(b"!" + json.dumps(record).encode() + b"\n")
        while view:
            view = view[os.write(self.channel_fd, view) :]

    def run(self):
        self.tree = Tree(self.settings["roots"])
        try:
            why = self.prepare() if self.settings["fork"] else "not asked for"
            self.clear()
        except (Dirty, OSError, RecursionError) as error:
            self.emit(e="dirty", why="loading the suite leaves traces: %s" % error)
            return
        self.tree = Tree(self.settings["roots"])
        self.standing = self.seen_standing()
        self.stream_flags = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) for fd in STREAMS}
        self.emit(e="ready", forks=self.zygote is not None, why=why)
        while True:
            job = read_frame(0)
            if job is None:
                return
            killed = oom_kills()
            try:
                done = self.serve(job)
            except (Dirty, OSError, RecursionError) as error:
                self.emit(e="dirty", why="%s: %s" % (type(error).__name__, error))
                return
            self.emit(e="clean", out_of_memory=oom_kills() > killed, **done)

    def prepare(self):
        """Start the zygote and have it load what the suite loads; why there is none or it is cold, else nothing."""
        without = set()  # type: set[str]
        names = []  # type: list[str]
        for _ in range(CULPRITS):
            unfit = self.start_zygote()
            if not unfit and not names:
                names = self.scout()
                self.clear()
            if not unfit:
                wanted = [name for name in names if name.split(".")[0] not in without]
                warms_up = WARM_UP not in without
                say(self.zygote, {"preload": wanted, "warm_up": warms_up})
                answer = hear(self.zygote)[0] or {"unfit": ENDED, "culprit": WARM_UP if warms_up else None}
                if not answer["unfit"]:
                    return COLD if WARM_UP in without else ""
                unfit = answer["unfit"]
                without.add((answer["culprit"] or "").split(".")[0])
            self.end_zygote()
            if "" in without or not without:
                return unfit
        return "too many libraries start threads, hold files open or need the repository"

    def clear(self):
        """Leave nothing of what loading the suite started or wrote, but for compiled files.

        Raises:
            Dirty: that cannot be.
        """
        self.kill_strays()
        self.tree.prove_clean(but=self.settings["bytecode"])

    def start_zygote(self):
        """Why it cannot be used; empty where it can."""
        here, there = socket.socketpair()
        settings = {"args": self.settings["args"], "zygote_fd": there.fileno()}
        source = os.memfd_create("settings")
        os.write(source, json.dumps(settings).encode())
        os.lseek(source, 0, os.SEEK_SET)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                os.dup2(source, 0)
                there.set_inheritable(True)
                os.execv(sys.executable, [sys.executable, "-c", self.settings["programs"]["zygote"]])
            finally:
                os._exit(127)
        os.close(source)
        there.close()
        self.zygote, self.zygote_pid = here, pid
        self.own = {1, os.getpid(), pid}
        answer, _ = hear(here)
        return "pytest ended before it could be forked" if answer is None else answer["unfit"]

    def end_zygote(self):
        if self.zygote is not None:
            self.zygote.close()
        self.zygote = None
        self.zygote_pid = 0
        self.own = {1, os.getpid()}
        self.kill_strays()

    def scout(self):
        """Load the whole suite in a worker; names of the libraries that it needs. Compiled files are kept."""
        job = dict(
            self.settings, token="", scout=True, finished=[], files=None, select=None, random_seed=0, shuffle_seed=None,
            reverse=False, explain=None, coverage=False, source_files=[], trace=False, state=False,
            startup_limit_s=SCOUT_LIMIT_S, startup_cpu_limit_s=None,
            limits_s={}, default_limit_s=SCOUT_LIMIT_S, cpu_limits_s={}, default_cpu_limit_s=None,
            idle_limits_s={}, exit_grace_s=5.0, exit_cpu_limit_s=None, exit_idle_limit_s=None,
            stop_on_timeout=True, max_restarts=0,
        )  # fmt: skip
        scout = Scout(self, job)
        scout.run()
        return scout.names

    def serve(self, job):
        for name in ("args", "bytecode"):
            job[name] = self.settings[name]
        job.update(worker=self.settings["programs"]["worker"], scout=False)
        clock = Clock()
        edits = [Edit(path, base64.b64decode(content)) for path, content in sorted(job.pop("edits").items())]
        for edit in edits:
            edit.apply()
        clock.lap("edit")
        Forking(self, job, clock).run()
        clock.lap("end")
        self.kill_strays()
        clock.lap("kill")
        for edit in edits:
            edit.take_back()
        for fd, flags in self.stream_flags.items():
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        if self.seen_standing() != self.standing:
            raise Dirty("limits or priorities of the server's own processes were changed")
        added = self.tree.prove_clean()
        clock.lap("prove clean")
        tree = os.path.join(self.settings["roots"][0], "")
        left = [path[len(tree) :] for path in added if path.startswith(tree)]
        return {"stages_s": clock.stages_s, "left": sorted(left)[:MOST_LEFT]}

    def seen_standing(self):
        """What any process of the user's can set of ours, and workers inherit."""
        return [standing(pid) for pid in sorted(self.own - {1})]

    def kill_strays(self):
        """Kill whatever is not ours until nothing is left. All are stopped first: what forks cannot run away."""
        deadline = time.monotonic() + KILL_PATIENCE_S
        pause_s = 0.0
        while True:
            self.reap()
            strays = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in self.own]
            if not strays:
                break
            signal_one(-1, signal.SIGSTOP)
            for pid in strays:
                signal_one(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise Dirty("processes that cannot be killed are left")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s + 0.0005, LONGEST_PAUSE_S)
        if self.zygote_pid:
            signal_one(self.zygote_pid, signal.SIGCONT)
            say(self.zygote, {"ping": True})
            if hear(self.zygote)[0] is None:
                raise Dirty("the process to fork from has ended")

    def reap(self):
        """Collect the dead. Until then the number of a process is taken, so none of ours is mistaken for another."""
        try:
            pid = os.waitpid(-1, os.WNOHANG)[0]
            while pid:
                if pid == self.zygote_pid:
                    raise Dirty("the process to fork from has ended")
                pid = os.waitpid(-1, os.WNOHANG)[0]
        except ChildProcessError:
            pass


class Forking(Supervisor):
    """A supervisor whose workers come from the zygote, where there is one."""

    def __init__(self, server, job, clock):
        super().__init__(job, server.channel_fd)
        self.server = server
        self.own = server.own
        self.clock = clock

    def accept(self, line):
        record = super().accept(line)
        if record.get("e") in ("collected", "end"):
            self.clock.lap({"collected": "load", "end": "tests"}[record["e"]])
        return record

    def start(self, reader, writer):
        if self.server.zygote is None:
            return super().start(reader, writer)
        job = dict(self.settings, finished=sorted(self.finished))
        job.pop("worker", None)
        say(self.server.zygote, job, [writer])
        answer, _ = hear(self.server.zygote)
        if answer is None:
            raise Dirty("the process to fork from has ended")
        if answer["pid"] is None:
            raise Dirty("no worker could be forked")
        self.clock.lap("fork")
        return answer["pid"]


class Scout(Forking):
    """Takes what is reported for itself."""

    def __init__(self, server, job):
        super().__init__(server, job, Clock())
        self.names = []  # type: list[str]

    def relay(self, data):
        record = json.loads(data)
        if record["e"] == "modules":
            self.names = [name for name in record["names"] if isinstance(name, str)]


class Clock:
    """Where a job's time goes."""

    def __init__(self):
        self.stages_s = {}  # type: dict[str, float]
        self.last = time.monotonic()

    def lap(self, stage):
        now = time.monotonic()
        self.stages_s[stage] = self.stages_s.get(stage, 0.0) + now - self.last
        self.last = now


class Edit:
    """A file's other content, for a while. Its time changes with it, or compiled files would be taken for its own."""

    def __init__(self, path, content):
        self.path = path
        self.content = content
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Dirty("%s is no regular file" % path)
        self.mode = stat.S_IMODE(status.st_mode)
        self.mtime_ns = status.st_mtime_ns
        with open(path, "rb") as file:
            self.before = file.read()

    def apply(self):
        self.write(self.content, self.mtime_ns + 10**9)

    def take_back(self):
        self.write(self.before, self.mtime_ns)

    def write(self, content, mtime_ns):
        beside = self.path + ".gymforge-new"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.chmod(beside, self.mode)
        os.utime(beside, ns=(mtime_ns, mtime_ns))
        os.rename(beside, self.path)


class Tree:
    """All that can be written to, as it was when this was made."""

    def __init__(self, roots):
        self.roots = roots
        self.sealed = dict(self.entries())

    def entries(self):
        """Every path from the roots on and what is there; nothing of what is inside a folder that was added."""
        sealed = getattr(self, "sealed", None)
        folders = list(self.roots)
        for root in self.roots:
            yield root, description(root, os.lstat(root))
        while folders:
            folder = folders.pop()
            for entry in os.scandir(folder):
                if sealed is not None and entry.path not in sealed:
                    yield entry.path, ADDED
                    continue
                found = description(entry.path, entry.stat(follow_symlinks=False))
                if found[0] == "folder":
                    folders.append(entry.path)
                yield entry.path, found

    def prove_clean(self, but=None):
        """Remove what was added, `but` for one, and see that all else is as it was; returns what was removed.

        Raises:
            Dirty: it is not.
        """
        left, added = dict(self.sealed), []
        for path, found in list(self.entries()):
            before = left.pop(path, None)
            if before is None:
                if path != but:
                    remove(path)
                    added.append(path)
            elif before != found:
                raise Dirty("%s was changed" % path)
        if left:
            raise Dirty("%s was removed" % min(left))
        for kind in ("msg", "sem", "shm"):
            if shared_objects(kind):
                raise Dirty("System V objects (%s) are left" % kind)
        return added


def description(path, status):
    """What is at a path: kind, mode, and what tells it from others."""
    if stat.S_ISLNK(status.st_mode):
        return "link", os.readlink(path)
    if stat.S_ISDIR(status.st_mode):
        return "folder", status.st_mode, attributes(path)
    if not stat.S_ISREG(status.st_mode):
        return "other", status.st_mode, attributes(path)
    digest = hashlib.new(Hash.name)
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        size = os.readv(fd, [Hash.buffer])
        while size:
            digest.update(Hash.buffer[:size])
            size = os.readv(fd, [Hash.buffer])
    finally:
        os.close(fd)
    return "file", status.st_mode, status.st_nlink, status.st_mtime_ns, attributes(path), digest.digest()


class Hash:
    """How contents are told apart: by the faster of two sure ways, which the processor decides."""

    buffer = memoryview(bytearray(PIECE))
    name = "blake2b"

    @classmethod
    def choose(cls):
        cls.name = min(("sha256", "blake2b"), key=cls.seconds)

    @classmethod
    def seconds(cls, name):
        began = time.perf_counter()
        try:
            hashlib.new(name, cls.buffer)
        except ValueError:  # some machines forbid one of them
            return float("inf")
        return time.perf_counter() - began


def attributes(path):
    """Extended ones: access lists, of a folder also those that new files in it get, and what anybody may note there."""
    try:
        return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(os.listxattr(path))]
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def standing(pid):
    """Limits, processors and priority of a process."""
    limits = [resource.prlimit(pid, number) for number in range(RLIMITS)]
    priority = os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)
    return limits, os.sched_getaffinity(pid), priority


def signal_one(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, onerror=make_removable)
    else:
        os.unlink(path)


def make_removable(function, path, _error):
    """Once more, where a folder forbade it."""
    os.chmod(os.path.dirname(path), 0o700)
    if not os.path.islink(path) and os.path.isdir(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path, onerror=make_removable)
    else:
        function(path)


def oom_kills():
    """How often the kernel killed in this sandbox for want of memory, as far as that can be seen from inside."""
    for path in OOM_FILES:
        try:
            with open(path) as file:
                counts = dict(line.split() for line in file)
        except OSError:
            continue
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return 0


def shared_objects(kind):
    try:
        with open("/proc/sysvipc/" + kind) as file:
            return len(file.readlines()) - 1
    except OSError:
        return 0


def read_frame(fd):
    """The next message on standard input; `None` at its end."""
    head = read_bytes(fd, SIZE.size)
    if len(head) < SIZE.size:
        return None
    return json.loads(read_bytes(fd, SIZE.unpack(head)[0]))


def read_bytes(fd, size):
    data = bytearray()
    while len(data) < size:
        piece = os.read(fd, min(size - len(data), PIECE))
        if not piece:
            break
        data += piece
    return bytes(data)


def main():
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Message queues (POSIX) outlive their processes and are in no folder to look at, so there are none.
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
    Hash.choose()
    settings = read_frame(0)
    os.set_inheritable(0, False)
    channel_fd = int(os.environ.pop("GYMFORGE_CHANNEL_FD"))
    os.set_inheritable(channel_fd, False)
    Server(settings, channel_fd).run()


if __name__ == "__main__":
    main()
