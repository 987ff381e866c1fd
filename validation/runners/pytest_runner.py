"""Run a pytest suite inside a sandbox and report it on a channel that printing cannot reach.

This file runs in the repository's own interpreter (Python 3.8 or newer) and imports the standard library, pytest
and, where lines are recorded, coverage. It is handed over as the text of `python -c`, its settings as JSON on
standard input. A supervisor forks the process that runs pytest, relays its records to the descriptor in
`GYMFORGE_CHANNEL_FD`, ends a test that goes over its limit, and starts a new process for the rest of the suite when
one dies in the middle, so that a crash counts for the test that caused it and for no other.

Records from the pytest process carry a token that code under test is never told. Code that shares the process can
still dig it out: what is printed, or written blindly to open descriptors, is refused and counted.

Settings: ``args`` (of pytest), ``token``, ``select`` (test ids or null), ``shuffle_seed`` (int or null),
``coverage`` (bool), ``source_files``, ``limits_s`` (by test id), ``default_limit_s``, ``startup_limit_s``,
``stop_on_timeout`` (bool), ``max_restarts``.

Records, one JSON object a line: ``{"e": "report", "t": id, "when", "outcome", "xfail", "duration_s", "failure"}``,
``{"e": "collect_error", "path", "failure"}``, ``{"e": "coverage_tests", "tests"}``, ``{"e": "coverage", "path",
"lines", "imports"}``, ``{"e": "end", "exit"}`` from pytest; ``{"e": "died", "t": id or null, "status"}``, ``{"e":
"timeout", "t": id or null}``, ``{"e": "refused", "n": lines}`` and ``{"e": "done", "exit"}`` from the supervisor.
"""

import json
import os
import random
import select
import signal
import sys
import time

MESSAGE_LIMIT, STATEMENT_LIMIT, TRACE_LIMIT = 2000, 1000, 4000


class Reporter:
    """The pytest plugin: numbers each test's start and every report, in the process that runs the tests."""

    def __init__(self, settings, channel_fd, finished):
        self.settings = settings
        self.channel_fd = channel_fd
        self.finished = finished
        self.token = settings["token"].encode()
        self.pid = os.getpid()
        self.failures = {}
        self.coverage = None

    def send(self, **record):
        if os.getpid() != self.pid:
            return  # a fork made by a test carries the plugin along and has no say
        data = self.token + json.dumps(record).encode() + b"\n"
        view = memoryview(data)
        while view:
            view = view[os.write(self.channel_fd, view) :]

    def start_coverage(self):
        import coverage

        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[os.path.join(os.getcwd(), "*")], branch=False, timid=False
        )
        self.coverage._warn_no_data = False
        self.coverage.start()

    def pytest_collection_modifyitems(self, config, items):
        wanted = self.settings["select"]
        wanted = None if wanted is None else set(wanted)
        keep = [i for i in items if (wanted is None or i.nodeid in wanted) and i.nodeid not in self.finished]
        if self.settings["shuffle_seed"] is not None:
            keep = shuffled(keep, self.settings["shuffle_seed"])
        if len(keep) != len(items):
            kept = set(map(id, keep))
            config.hook.pytest_deselected(items=[i for i in items if id(i) not in kept])
        items[:] = keep

    def pytest_collectreport(self, report):
        if report.failed:
            failure = self.failures.pop(("collect", report.nodeid), None) or trace_only(report, "collect")
            self.send(e="collect_error", path=report.nodeid, failure=failure)

    def pytest_runtest_logstart(self, nodeid):
        self.send(e="start", t=nodeid)
        if self.coverage is not None:
            self.coverage.switch_context(nodeid)
        reseed()

    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None:
            self.failures[(call.when, item.nodeid)] = describe(call.excinfo, call.when, item)

    def pytest_runtest_logreport(self, report):
        failure = None
        described = self.failures.pop((report.when, report.nodeid), None)
        if report.failed:
            failure = described or trace_only(report, report.when)
            failure["trace"] = text(report.longreprtext)[-TRACE_LIMIT:]
        self.send(
            e="report",
            t=report.nodeid,
            when=report.when,
            outcome=report.outcome,
            xfail=hasattr(report, "wasxfail"),
            duration_s=round(report.duration, 6),
            failure=failure,
        )

    def pytest_sessionfinish(self):
        if self.coverage is not None and os.getpid() == self.pid:
            self.coverage.stop()
            self.send_coverage(self.coverage.get_data())

    def send_coverage(self, data):
        names = []  # type: list[str]
        numbers = {}  # type: dict[str, int]
        root = os.path.join(os.getcwd(), "")
        wanted = {os.path.realpath(root + path): path for path in self.settings["source_files"]}
        found = []
        for measured in sorted(data.measured_files()):
            path = wanted.get(os.path.realpath(measured))
            if path is None:
                continue
            lines, imports = {}, []
            for line, contexts in sorted(data.contexts_by_lineno(measured).items()):
                for context in contexts:
                    if context and context not in numbers:
                        numbers[context] = len(names)
                        names.append(context)
                tests = sorted(numbers[context] for context in contexts if context)
                if "" in contexts:
                    imports.append(line)
                if tests:
                    lines[line] = tests
            found.append((path, lines, imports))
        self.send(e="coverage_tests", tests=names)
        for path, lines, imports in found:
            self.send(e="coverage", path=path, lines=lines, imports=imports)


def shuffled(items, seed):
    """Files in another order, and the tests of each file in another order, files staying together."""
    rng = random.Random(seed)
    by_file = {}  # type: dict[str, list[object]]
    for item in items:
        by_file.setdefault(item.nodeid.split("::", 1)[0], []).append(item)
    files = sorted(by_file)
    rng.shuffle(files)
    result = []
    for name in files:
        rng.shuffle(by_file[name])
        result.extend(by_file[name])
    return result


def reseed():
    """Give every test the same random numbers, whichever tests ran before it."""
    random.seed(0)
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        numpy.random.seed(0)


def text(value):
    return str(value).encode("utf-8", "backslashreplace").decode()


def trace_only(report, phase):
    trace = text(getattr(report, "longreprtext", "") or "")
    last = trace.strip().splitlines()[-1:] or [""]
    name, _, message = last[0].lstrip("E ").partition(":")
    is_name = name.replace(".", "").replace("_", "").isalnum()
    return {
        "phase": phase,
        "exception": name.split(".")[-1] if is_name else "",
        "message": message.strip()[:MESSAGE_LIMIT],
        "path": "",
        "line": 0,
        "statement": "",
        "trace": trace[-TRACE_LIMIT:],
    }


def describe(excinfo, phase, item):
    """The exception, and the last statement of the test's own file on the way to it."""
    try:
        message = text(excinfo.value)[:MESSAGE_LIMIT]
    except Exception as error:  # a class under test may have a broken __str__
        message = "<%s while formatting the exception>" % type(error).__name__
    failure = {"phase": phase, "exception": excinfo.type.__name__, "message": message}
    failure.update(path="", line=0, statement="", trace="")
    own_file = str(getattr(item, "path", None) or getattr(item, "fspath", ""))
    for entry in excinfo.traceback:
        if str(entry.path) == own_file:
            failure["path"] = os.path.relpath(own_file, os.getcwd())
            failure["line"] = entry.lineno + 1
            try:
                failure["statement"] = text(entry.statement)[:STATEMENT_LIMIT].strip()
            except Exception:  # the source may be gone or not parse: the position alone is kept
                failure["statement"] = ""
    return failure


def run_pytest(settings, channel_fd, finished):
    """Body of the process that runs tests; never returns."""
    status = 70
    try:
        import pytest

        sys.argv = [os.path.join(os.path.dirname(pytest.__file__), "__main__.py")] + settings["args"]
        reporter = Reporter(settings, channel_fd, finished)
        if settings["coverage"]:
            reporter.start_coverage()
        status = int(pytest.main(settings["args"], plugins=[reporter]))
        reporter.send(e="end", exit=status)
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue  # the code under test closed it
        os._exit(status)


class Supervisor:
    """Relays the records of pytest processes, and keeps them to their limits."""

    def __init__(self, settings, channel_fd):
        self.settings = settings
        self.channel_fd = channel_fd
        self.token = settings["token"].encode()
        self.finished = set()
        self.refused = 0
        self.timed_out = False

    def emit(self, **record):
        self.relay(json.dumps(record).encode())

    def relay(self, data):
        view = memoryview(data + b"\n")
        while view:
            view = view[os.write(self.channel_fd, view) :]

    def run(self):
        status = 70
        for _ in range(self.settings["max_restarts"] + 1):
            status, ended = self.run_process()
            if ended or self.timed_out and self.settings["stop_on_timeout"]:
                break
        if self.refused:
            self.emit(e="refused", n=self.refused)
        self.emit(e="done", exit=status)
        return status

    def run_process(self):
        """One pytest process to its end; (exit status, whether the suite is finished)."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.close(self.channel_fd)
            os.setpgid(0, 0)
            run_pytest(self.settings, writer, self.finished)
        os.close(writer)
        try:
            current, ended, killed = self.follow(reader, pid)
        finally:
            os.close(reader)
        status = wait_status(pid)
        if ended:
            return status, True
        if killed:
            self.timed_out = True
            self.emit(e="timeout", t=current)
        else:
            self.emit(e="died", t=current, status=status)
        if current is None:
            return status, True  # died or hung outside any test: a new process would do the same
        self.finished.add(current)
        return status, False

    def follow(self, reader, pid):
        """Relay records until the process ends its report, dies, or breaks a limit: (current test, ended, killed)."""
        current, ended, buffer = None, False, b""
        deadline = time.monotonic() + self.settings["startup_limit_s"]
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([reader], [], [], left)[0]:
                kill_group(pid)
                return current, ended, not ended
            data = os.read(reader, 65536)
            if not data:
                return current, ended, False
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                record = self.accept(line)
                if record is None:
                    continue
                event = record.get("e")
                if event == "start":
                    current = record["t"]
                    deadline = time.monotonic() + self.limit_s(current)
                elif event == "report" and record["when"] == "teardown":
                    self.finished.add(record["t"])
                    current = None
                    deadline = time.monotonic() + self.settings["startup_limit_s"]
                elif event == "end":
                    ended = True
                    deadline = time.monotonic() + self.settings["default_limit_s"]
                if event != "start":
                    self.relay(line[len(self.token) :])

    def accept(self, line):
        if not line.startswith(self.token):
            self.refused += 1
            return None
        try:
            return json.loads(line[len(self.token) :])
        except ValueError:
            self.refused += 1
            return None

    def limit_s(self, test):
        return self.settings["limits_s"].get(test, self.settings["default_limit_s"])


def kill_group(pid):
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            continue  # it ended by itself


def wait_status(pid):
    """Exit status as a shell-free caller sees it: negative for a signal."""
    _, status = os.waitpid(pid, 0)
    kill_group(pid)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main():
    settings = json.loads(sys.stdin.buffer.read())
    channel_fd = int(os.environ.pop("GYMFORGE_CHANNEL_FD"))
    os.set_inheritable(channel_fd, False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.exit(0 if Supervisor(settings, channel_fd).run() in (0, 1) else 1)


if __name__ == "__main__":
    main()
