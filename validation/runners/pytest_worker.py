"""Run a pytest suite and report every test, in the process that runs it.

This file runs in the repository's own interpreter (Python 3.8 or newer) as the text of `python -c`, started by
`pytest_supervisor.py`, or forked by `pytest_zygote.py`; it imports the standard library, pytest and, where lines are
recorded, coverage.

Settings, as JSON on standard input: ``args`` (of pytest), ``token``, ``channel_fd``, ``files`` (test files to load, in
terms of test ids, or null for what ``args`` says), ``select`` (test ids or null), ``finished`` (test ids to leave out),
``random_seed`` (int), ``shuffle_seed`` (int or null), ``reverse`` (bool), ``coverage`` (bool), ``source_files``,
``trace`` (bool, with ``coverage``: see `pytest_trace.py`), ``state`` (bool: see `pytest_state.py`), ``scout`` (bool:
load everything, run nothing), ``bytecode`` (a folder of compiled files that hold for the clean tree, or null),
``explain`` (test ids whose failures are told in full, or null for all).

Records, each the token and one JSON object on a line: ``{"e": "collected", "n": tests, "cpu_s"}``, ``{"e": "start",
"t": id}``, ``{"e": "report", "t", "when", "outcome", "xfail", "duration_s", "cpu_s", "failure"}`` (CPU time of the
whole test, told with its teardown), ``{"e": "collect_error", "path", "failure"}``, ``{"e": "coverage_tests",
"tests"}``, ``{"e": "coverage", "path", "lines", "imports"}``, what `pytest_trace.py` saw, ``{"e": "modules", "names"}``
(of a scout), ``{"e": "left", "names"}`` (what `pytest_state.py` saw), ``{"e": "end", "exit"}``.
"""

import gc
import json
import os
import random
import resource
import sys
import threading
import time

from pytest_sources import remember_sources

MESSAGE_LIMIT, STATEMENT_LIMIT, TRACE_LIMIT = 2000, 1000, 4000
TRACES = 200
"""Failures that keep their trace; a suite may have tens of thousands."""
MOST_WAITING = 1 << 16
"""Bytes of a test's reports that wait for its end."""


def first(hook):
    """Mark a hook to be called before others; what `pytest.hookimpl` does, which is not imported yet."""
    hook.pytest_impl = {"tryfirst": True}
    return hook


def around(hook):
    """Mark a hook to be called around all others."""
    hook.pytest_impl = {"hookwrapper": True, "tryfirst": True}
    return hook


class Reporter:
    """The pytest plugin: tells of each test's start and every report, in the process that runs the tests."""

    def __init__(self):
        self.failures = {}
        self.traces = 0
        self.failed = 0
        self.explained = set()
        self.cpu_before_s = 0.0
        self.coverage = None
        self.trace = None
        self.state = None

    def begin(self, settings):
        """Take on a job, before pytest loads anything of the repository's."""
        self.settings = settings
        self.waiting = bytearray()
        self.lock = threading.RLock()
        self.channel_fd = settings["channel_fd"]
        self.finished = set(settings["finished"])
        self.folder = os.getcwd()  # a conftest.py may go to another one
        self.named = None  # type: set[str] | None
        self.explain = None if settings["explain"] is None else set(settings["explain"])
        self.token = settings["token"].encode()
        self.pid = os.getpid()
        if settings["bytecode"]:
            sys.pycache_prefix = settings["bytecode"]
            sys.dont_write_bytecode = not settings["scout"]
        if settings["coverage"]:
            self.start_coverage()
        remember_sources()
        self.reseed()

    @staticmethod
    def empty_input():
        """Have nothing on standard input: a file of this process alone, whose flags no other shares."""
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)

    def send(self, **record):
        if os.getpid() != self.pid:
            return  # a fork made by a test carries the plugin along and has no say
        line = self.token + json.dumps(record).encode() + b"\n"
        with self.lock:
            self.waiting += line
            # What a test's phases gave is told at its end, in one piece: each wakes the supervisor, which needs a CPU.
            if record["e"] == "report" and record["when"] != "teardown" and len(self.waiting) < MOST_WAITING:
                return
            view, self.waiting = memoryview(bytes(self.waiting)), bytearray()
            while view:
                view = view[os.write(self.channel_fd, view) :]

    def start_coverage(self):
        # The core that Python 3.14 has by default knows no contexts.
        try:
            import coverage.tracer

            os.environ["COVERAGE_CORE"] = "ctrace"
        except ImportError:
            os.environ["COVERAGE_CORE"] = "pytrace"
        import coverage

        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[os.path.join(os.getcwd(), "*")], branch=False, timid=False
        )
        self.coverage._warn_no_data = False
        self.coverage.start()
        if self.settings["trace"]:
            from pytest_trace import Trace

            self.trace = Trace(os.getcwd())

    @first
    def pytest_configure(self, config):
        self.tbstyle = config.option.tbstyle
        files = self.settings["files"]
        if files is not None:
            root = str(getattr(config, "rootpath", None) or config.rootdir)
            if not config.option.pyargs:  # or they may be names of packages
                paths = (os.path.join(self.folder, arg.partition("::")[0]) for arg in config.args)
                self.named = set(map(os.path.abspath, paths))
            config.args[:] = [os.path.join(root, path) for path in files]

    def pytest_sessionstart(self, session):
        if self.named is not None:
            session.isinitpath = as_named(session.isinitpath, self.named)
        cache = getattr(session.config, "cache", None)
        if cache is not None:
            cache.set = forgiving(cache.set)

    def pytest_collection_modifyitems(self, config, items):
        wanted = self.settings["select"]
        wanted = None if wanted is None else set(wanted)
        keep = [i for i in items if (wanted is None or test_id(i) in wanted) and test_id(i) not in self.finished]
        if self.settings["shuffle_seed"] is not None:
            keep = shuffled(keep, self.settings["shuffle_seed"])
        if self.settings["reverse"]:
            keep.reverse()
        if self.settings["scout"]:
            keep = []
        if len(keep) != len(items):
            kept = set(map(id, keep))
            config.hook.pytest_deselected(items=[i for i in items if id(i) not in kept])
        items[:] = keep

    def pytest_collection_finish(self, session):
        self.send(e="collected", n=len({test_id(item) for item in session.items}), cpu_s=cpu_s())
        if self.settings["scout"]:
            self.send(e="modules", names=libraries(os.getcwd()))
        if self.settings["state"]:
            from pytest_state import State

            self.state = State(os.getcwd())

    def reseed(self):
        """Give every file and every test the same random numbers, whichever ones came before it."""
        random.seed(self.settings["random_seed"])
        numpy = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "random"):
            numpy.random.seed(self.settings["random_seed"])

    def pytest_collectstart(self):
        self.reseed()

    def pytest_collectreport(self, report):
        if report.failed:
            failure = self.failures.pop(("collect", report.nodeid), None) or trace_only(report, "collect")
            self.send(e="collect_error", path=test_id(report), failure=failure)

    def pytest_runtest_logstart(self, nodeid):
        self.send(e="start", t=text(nodeid))
        self.cpu_before_s = cpu_s()
        if self.coverage is not None:
            self.coverage.switch_context(text(nodeid))
        if self.trace is not None:
            self.trace.switch(text(nodeid))
        self.reseed()
        if self.trace is not None:
            self.trace.seeded()

    @around
    def pytest_runtest_makereport(self, item, call):
        # Pytest's own account of a failure takes tens of milliseconds: sources are read and parsed. A test that fails
        # in a thousand subtests needs one.
        explained = self.traces < TRACES and test_id(item) not in self.explained
        explained = explained and (self.explain is None or test_id(item) in self.explain)
        item.config.option.tbstyle = self.tbstyle if explained else "line"
        yield
        if call.excinfo is not None:  # of unittest's tests, pytest knows it only now
            self.failures[(call.when, item.nodeid)] = describe(call.excinfo, call.when, item, explained)

    def pytest_runtest_logreport(self, report):
        failure = None
        described = self.failures.pop((report.when, report.nodeid), None)
        if report.failed:
            self.failed += 1
            failure = described or trace_only(report, report.when)
            explained = described is None or described.pop("explained")
            failure["trace"] = text(report.longreprtext)[-TRACE_LIMIT:] if explained else ""
            if explained:
                self.traces += 1
                self.explained.add(test_id(report))
        self.send(
            e="report",
            t=test_id(report),
            when=report.when,
            outcome=report.outcome,
            xfail=hasattr(report, "wasxfail"),
            duration_s=round(report.duration, 6),
            cpu_s=round(cpu_s() - self.cpu_before_s, 6) if report.when == "teardown" else 0.0,
            failure=failure,
        )

    def pytest_sessionfinish(self, session):
        if self.failed > TRACES:
            # Pytest's summary, which comes now, would take minutes for thousands of failing subtests.
            session.config.option.tbstyle = "no"
            terminal = session.config.pluginmanager.get_plugin("terminalreporter")
            if terminal is not None:
                terminal.reportchars = ""
        if self.coverage is not None and os.getpid() == self.pid:
            self.coverage.stop()
            self.send_coverage(self.coverage.get_data())
            if self.trace is not None:
                self.send(e="traced", **self.trace.result(session.config.pluginmanager.get_plugins()))
        if self.state is not None:
            self.send(e="left", names=self.state.changed())

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


def as_named(is_initial, named):
    """Only files that the suite's own arguments name are named ones where a part of the suite is loaded by name.

    A named file is a test file for pytest: it collects functions from it, and rewrites its assertions. Folders on the
    way to a file go on counting as named, or pytest might not go into them.
    """

    def is_initial_or_not(path, **options):
        return is_initial(path, **options) and (bool(options.get("with_parents")) or os.path.abspath(path) in named)

    return is_initial_or_not


def forgiving(write):
    """Pytest's cache cannot hold the id of a test whose file's name is no text, and takes its session down for it."""

    def write_or_not(key, value):
        try:
            write(key, value)
        except UnicodeEncodeError:
            pass

    return write_or_not


def cpu_s():
    """CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def libraries(root):
    """Names of the modules that were loaded from elsewhere than the repository, in the order of loading."""
    root = os.path.join(os.path.realpath(root), "")
    found = [(name, getattr(module, "__file__", None)) for name, module in list(sys.modules.items())]
    return [name for name, file in found if file and not os.path.realpath(file).startswith(root)]


def test_id(of):
    """The id of an item or a report as the host knows it: bytes of a file's name that are no text are escaped."""
    return text(of.nodeid)


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


def describe(excinfo, phase, item, explained):
    """The exception, and, where it is to be explained, the last statement of the test's own file on the way to it."""
    try:
        message = text(excinfo.value)[:MESSAGE_LIMIT]
    except Exception as error:  # a class under test may have a broken __str__
        message = "<%s while formatting the exception>" % type(error).__name__
    failure = {"phase": phase, "exception": excinfo.type.__name__, "message": message}
    failure.update(path="", line=0, statement="", trace="", explained=explained)
    if not explained:
        return failure
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


def let_go():
    """Forget the newest failure, as a further test would: threads may wait for what only its frames hold open."""
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)
    gc.collect()


def main():
    settings = json.loads(sys.stdin.buffer.read())
    Reporter.empty_input()
    # As `python -m pytest` has it: the folder itself, not whatever is current when something is imported.
    sys.path[0] = os.getcwd()
    import pytest

    sys.argv = [os.path.join(os.path.dirname(pytest.__file__), "__main__.py")] + settings["args"]
    reporter = Reporter()
    plugins, leave = [reporter], sys.exit
    if "zygote_fd" in settings:
        from pytest_zygote import Zygote

        # Around all others: pytest must not capture output yet, for workers must share no file for it.
        around(Zygote.pytest_load_initial_conftests)
        zygote = Zygote(settings["zygote_fd"], reporter)
        plugins.append(zygote)
        leave = zygote.leave
    else:
        os.set_inheritable(settings["channel_fd"], False)
        reporter.begin(settings)
    status = int(pytest.main(settings["args"], plugins=plugins))
    reporter.send(e="end", exit=status)
    if threading.active_count() > 1:
        let_go()
    leave(status)


if __name__ == "__main__":
    main()
