"""Keep the process that runs a suite to its limits, from outside it, and relay what it reports.

This file runs inside a sandbox, in the repository's own interpreter (Python 3.8 or newer), as the text of `python -I
-S -c`: no file of the repository is on its path, and other processes cannot look into it. It starts the worker (see
`pytest_worker.py`) in a process of its own, relays the worker's records to the descriptor in `GYMFORGE_CHANNEL_FD`,
ends a test that goes over its limit, and starts another worker for the rest of the suite when one dies in the middle,
so that a crash counts for the test that caused it and for no other.

Records carry a token that code under test is never told. Code that shares the worker's process can still dig it out;
what is printed, or written blindly to open descriptors, is refused and counted.

Settings, as JSON on standard input: ``worker`` (the worker's source), ``token``, ``limits_s`` (by test id),
``default_limit_s``, ``startup_limit_s``, ``cpu_limits_s`` (by test id), ``default_cpu_limit_s``,
``startup_cpu_limit_s``, ``idle_limits_s`` (by test id: for waiting), ``exit_grace_s``, ``exit_cpu_limit_s`` and
``exit_idle_limit_s`` (for what a worker does after its last test), ``stop_on_timeout`` (bool), ``max_restarts``,
``coverage`` (bool), and what the worker wants. Records that it adds, one JSON object a line: ``{"e": "died", "t": id or
null, "status"}``, ``{"e": "timeout", "t": id or null}``, ``{"e": "gave_up"}`` (too many restarts), ``{"e":
"cut_short", "collected", "reported"}`` (a worker ended by itself before every test that it collected was reported),
``{"e": "lingered"}`` (a worker did not end by itself after its last test) or ``{"e": "exited", "s": seconds}`` (it
did), ``{"e": "refused", "n": lines}`` and, last, ``{"e": "done", "exit"}``, where ``exit`` is the exit status of the
last worker's process.
"""

import ctypes
import json
import os
import select
import signal
import sys
import time

PR_SET_DUMPABLE = 4
POLL_S = 0.1
SHORTEST_POLL_S = 0.02
TELL_S = 0.02
"""Records wait for others that come within this time: whatever passes them on is paid by piece."""
MOST_WAITING = 1 << 16
"""Bytes of records that wait."""
IDLE_SHARE = 0.1
"""A run that used, or wanted, less of the time between two looks than this did nothing but wait."""
TICKS = os.sysconf("SC_CLK_TCK")
WORKERS_RECORDS = (
    "collected", "start", "report", "collect_error", "coverage_tests", "coverage", "traced", "modules", "left",
    "end",
)  # fmt: skip
"""All that a worker may say; the rest is the supervisor's to say."""


class Supervisor:
    """Relays the records of workers, and keeps them to their limits."""

    def __init__(self, settings, channel_fd):
        self.settings = settings
        self.channel_fd = channel_fd
        self.token = settings["token"].encode()
        self.finished = set()
        self.deadly = set()
        self.refused = 0
        self.collected = 0
        self.reported = set()
        self.lingered = False
        self.last_test_ended = 0.0
        self.waiting = bytearray()
        self.told = 0.0
        self.own = {1, os.getpid()}

    def emit(self, **record):
        self.relay(json.dumps(record).encode())

    def relay(self, data):
        self.waiting += data + b"\n"
        if len(self.waiting) > MOST_WAITING or time.monotonic() - self.told > TELL_S:
            self.tell()

    def tell(self):
        """Pass on what waits."""
        view, self.waiting = memoryview(bytes(self.waiting)), bytearray()
        while view:
            view = view[os.write(self.channel_fd, view) :]
        self.told = time.monotonic()

    def run(self):
        status, ended = 70, False
        for _ in range(self.settings["max_restarts"] + 1):
            status, ended, killed = self.run_worker()
            if ended or (killed and self.settings["stop_on_timeout"]):
                break
        else:
            self.emit(e="gave_up")
        if self.refused:
            self.emit(e="refused", n=self.refused)
        self.emit(e="done", exit=status)
        self.tell()
        return status

    def run_worker(self):
        """One worker to its end: (exit status, whether nothing is left to run, whether it broke a limit)."""
        self.collected, self.reported, self.lingered = 0, set(), False
        reader, writer = os.pipe()
        pid = self.start(reader, writer)
        os.close(writer)
        try:
            current, ended, killed, status = self.follow(reader, pid)
        finally:
            os.close(reader)
        if len(self.reported) < self.collected and not killed and (ended or current is None):
            self.emit(e="cut_short", collected=self.collected, reported=len(self.reported))
        if self.lingered:
            self.emit(e="lingered")
        elif ended:
            self.emit(e="exited", s=round(time.monotonic() - self.last_test_ended, 3))
        if ended:
            return status, True, False
        if killed:
            self.emit(e="timeout", t=current)
        else:
            self.emit(e="died", t=current, status=status)
        if current is None:
            return status, True, killed  # outside any test: another worker would do the same
        self.deadly.add(current)
        self.finished.add(current)
        if self.settings["coverage"]:
            # Its lines died with it: the next one runs everything but what kills.
            self.finished = set(self.deadly)
        return status, False, killed

    def start(self, reader, writer):
        """Start a worker in a session of its own, settings on its standard input, records on `writer`."""
        settings = dict(self.settings, finished=sorted(self.finished), channel_fd=writer)
        source = settings.pop("worker")
        standard_input = os.memfd_create("settings")
        with os.fdopen(os.dup(standard_input), "wb") as file:
            file.write(json.dumps(settings).encode())
        os.lseek(standard_input, 0, os.SEEK_SET)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                os.close(reader)
                os.dup2(standard_input, 0)
                os.set_inheritable(writer, True)
                os.execv(sys.executable, [sys.executable, "-c", source])
            finally:
                os._exit(127)
        os.close(standard_input)
        return pid

    def follow(self, reader, pid):
        """Relay records until the worker is gone or over a limit: (current test, ended, killed, exit status)."""
        current, ended, killed, held = None, False, False, []
        status, open_ = None, True
        deadline = time.monotonic() + self.settings["startup_limit_s"]
        clock = Clock(self.own, self.settings["startup_cpu_limit_s"], None)
        while open_ or status is None:
            left = deadline - time.monotonic()
            if left <= 0 or clock.is_over():
                killed = not ended
                self.lingered = ended
                kill_group(pid)
                status = wait(pid, 0) if status is None else status
                break
            ready = open_ and select.select([reader], [], [], min(left, clock.pause_s()))[0]
            if ready:
                data = os.read(reader, 65536)
                open_ = bool(data)
                first, *others = data.split(b"\n")
                held.append(first)
                if not others:
                    continue  # joined once, when the line is whole: lines may be long
                lines, held = [b"".join(held), *others[:-1]], others[-1:]
                for line in lines:
                    record = self.accept(line)
                    event = record.get("e")
                    if event == "start":
                        current = record["t"]
                        deadline = time.monotonic() + self.limit_s(current)
                        clock = self.clock_of(current)
                        continue
                    if event == "report" and record["when"] == "teardown":
                        self.finished.add(record["t"])
                        current = None
                        deadline = time.monotonic() + self.settings["startup_limit_s"]
                        clock = Clock(self.own, self.settings["startup_cpu_limit_s"], None)
                    elif event == "end":
                        ended = True
                        self.last_test_ended = time.monotonic()
                        deadline = self.last_test_ended + self.settings["exit_grace_s"]
                        limits_s = self.settings["exit_cpu_limit_s"], self.settings["exit_idle_limit_s"]
                        clock = Clock(self.own, *limits_s)
                    if event is not None:
                        self.relay(line[len(self.token) :])
            elif status is not None:
                break  # it is gone and the pipe is empty: a process that it left behind holds the other end
            else:
                status = wait(pid, os.WNOHANG)
                if status is None and not open_:
                    time.sleep(0.001)
        kill_group(pid)
        return current, ended, killed, status

    def accept(self, line):
        """The worker's record in a line to act on; an empty one for a line that is not the worker's."""
        record = None
        if line.startswith(self.token):
            try:
                record = json.loads(line[len(self.token) :])
            except (ValueError, RecursionError):
                record = None
        if not isinstance(record, dict) or record.get("e") not in WORKERS_RECORDS:
            self.refused += 1
            return {}
        if record["e"] == "collected":
            self.collected = record["n"]
        if record["e"] == "report":
            self.reported.add(record["t"])
        return record

    def limit_s(self, test):
        return self.settings["limits_s"].get(test, self.settings["default_limit_s"])

    def clock_of(self, test):
        cpu_limit_s = self.settings["cpu_limits_s"].get(test, self.settings["default_cpu_limit_s"])
        return Clock(self.own, cpu_limit_s, self.settings["idle_limits_s"].get(test))


class Clock:
    """What the run does with its time, from the first look at it: most tests end before anybody looks.

    CPU time, and time in which no process of the run has or wants a CPU: unlike time on the wall, neither depends on
    what else the machine does, so their limits can be close.
    """

    def __init__(self, but, cpu_limit_s, idle_limit_s):
        self.but = but
        self.cpu_limit_s = cpu_limit_s
        self.idle_limit_s = idle_limit_s
        self.next_look = time.monotonic() + POLL_S
        self.looked = None
        self.cpu_before_s = self.cpu_s = self.busy_s = self.idle_s = 0.0

    def pause_s(self):
        """Seconds until it is worth while to ask again."""
        pause_s = self.next_look - time.monotonic()
        return pause_s if 0.0 < pause_s < POLL_S else POLL_S

    def is_over(self):
        now = time.monotonic()
        if now < self.next_look or (self.cpu_limit_s is None and self.idle_limit_s is None):
            return False
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in self.but]
        cpu, busy = sum(map(cpu_s, pids)), sum(map(busy_s, pids))
        if self.looked is None:
            self.cpu_before_s = cpu
        elif max(busy - self.busy_s, cpu - self.cpu_s) < IDLE_SHARE * (now - self.looked):
            # Threads know their waiting for a CPU, and processes what their ended children used. A machine that stood
            # still, and this process with it, was not waited for by the test.
            self.idle_s += min(now - self.looked, 2 * POLL_S) if not any(map(is_stuck, pids)) else 0.0
        self.looked, self.busy_s, self.cpu_s = now, busy, cpu
        work_left_s = POLL_S if self.cpu_limit_s is None else self.cpu_limit_s - (cpu - self.cpu_before_s)
        idle_left_s = POLL_S if self.idle_limit_s is None else self.idle_limit_s - self.idle_s
        left_s = min(work_left_s, idle_left_s)
        self.next_look = now + min(POLL_S, max(SHORTEST_POLL_S, left_s))
        return left_s < 0


def cpu_s(pid):
    """CPU seconds of a process and of its children that have ended; 0 where it is gone."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return sum(map(int, file.read().rpartition(b")")[2].split()[11:15])) / TICKS
    except (OSError, IndexError):
        return 0.0


def busy_s(pid):
    """Seconds that the threads of a process spent on a CPU, or waiting for one (Linux's scheduler statistics)."""
    total_ns = 0
    try:
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/schedstat" % (pid, thread), "rb") as file:
                total_ns += sum(map(int, file.read().split()[:2]))
    except (OSError, ValueError):
        pass  # it is gone, or this kernel keeps no such statistics: then its time on the CPU has to do
    return total_ns / 1e9 or cpu_s(pid)


def is_stuck(pid):
    """Whether a thread of the process waits for the machine, a disk mostly, and cannot be interrupted."""
    try:
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, thread), "rb") as file:
                if file.read().rpartition(b")")[2].split()[:1] == [b"D"]:
                    return True
    except OSError:
        pass  # it is gone
    return False


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        return  # it ended by itself, and left nobody behind


def wait(pid, options):
    """Exit status of a child, negative for a signal; `None` while it lives."""
    found, status = os.waitpid(pid, options)
    if not found:
        return None
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main():
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    settings = json.loads(sys.stdin.buffer.read())
    channel_fd = int(os.environ.pop("GYMFORGE_CHANNEL_FD"))
    os.set_inheritable(channel_fd, False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.exit(0 if Supervisor(settings, channel_fd).run() in (0, 1) else 1)


if __name__ == "__main__":
    main()
