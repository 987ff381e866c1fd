"""See what line coverage cannot: files that tests read as data, processes that they start, random numbers they draw.

This file runs in the process of `pytest_worker.py`, while the clean tree is measured.
"""

import _thread
import itertools
import os
import random
import sys

SPAWNS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"})
IMPORTERS = ("<frozen importlib._bootstrap_external>", os.path.join("_pytest", "assertion", "rewrite.py"))
"""Who opens a source file to load it as a module; the lines that then run are seen by coverage."""
READ_DATA = ("get_data", "get_source")
"""A loader's functions that read any file: on the way to a module (`get_code`), or for whoever asks."""
RUN_HOOKS = "pytest_runtest_"
ASK_THE_MACHINE = frozenset({"platform", "ctypes.util", "uuid"})
"""Modules of the standard library whose processes look at the machine and not at any repository."""


class Trace:
    """An audit hook (PEP 578) that notes by test what is opened and started; `None` is for loading.

    What it says of a test: `opaque` where the test's result may depend on more than the lines that ran in this
    process, and paths inside the tree that it opened.
    """

    def __init__(self, root):
        self.root = os.path.join(os.path.realpath(root), "")
        self.test = None
        self.opened = {}
        self.opaque = {}
        self.draws = {}
        self.numbers = None
        self.tracer = sys.gettrace()
        self.thread = _thread.get_ident()
        try:
            import _posixsubprocess

            # multiprocessing calls it without any audit event.
            _posixsubprocess.fork_exec = self.noting("_posixsubprocess.fork_exec", _posixsubprocess.fork_exec)
        except (ImportError, AttributeError):
            pass
        # Coverage sees the threads that `threading` starts, which has this function under its own name.
        _thread.start_new_thread = self.noting("_thread.start_new_thread", _thread.start_new_thread)
        sys.addaudithook(self.hook)

    def switch(self, test):
        """Go on to the next test."""
        import linecache

        self.look_at_tracer()
        self.look_at_numbers()
        self.test = test
        linecache.clearcache()  # so that every test that reads source opens the file

    def seeded(self):
        """Random numbers begin anew for the test that was switched to."""
        self.numbers = numbers()

    def look_at_numbers(self):
        if self.numbers is not None and numbers() != self.numbers:
            self.draws[self.test] = True
        self.numbers = None

    def noting(self, name, function):
        def noted(*arguments):
            self.note_spawn(name)
            return function(*arguments)

        return noted

    def hook(self, event, arguments):
        if event == "open":
            self.note_open(arguments[0])
        elif event in SPAWNS:
            self.note_spawn(event)
        elif event == "sys.settrace":
            self.look_at_tracer(replace=False)

    def note_open(self, path):
        if not isinstance(path, (str, bytes)) or loads_a_module(sys._getframe(2)):
            return
        path = os.path.realpath(os.fsdecode(path))
        if path.startswith(self.root):
            self.opened.setdefault(path[len(self.root) :], {})[self.test] = True

    def note_spawn(self, event):
        if not any(frame.f_globals.get("__name__") in ASK_THE_MACHINE for frame in callers(sys._getframe(2))):
            self.opaque.setdefault(self.test, event)

    def look_at_tracer(self, replace=True):
        """Lines were not seen where the trace function is another one, when it is looked for or replaced."""
        if _thread.get_ident() == self.thread and sys.gettrace() is not self.tracer:
            self.opaque.setdefault(self.test, "sys.settrace")
            if replace:
                sys.settrace(self.tracer)

    def result(self, plugins):
        """What was seen, as a record's fields: `opaque` (pairs of test and why), `opened` (path to tests), `draws`
        (tests), `hooks`.

        `hooks`: whether a plugin of the repository's (a `conftest.py`, most often) has a say in how tests run.
        """
        self.look_at_numbers()
        opened = {path: list(tests) for path, tests in sorted(self.opened.items())}
        own = [one for one in plugins if str(getattr(one, "__file__", "") or "").startswith(self.root)]
        hooks = any(name.startswith(RUN_HOOKS) for one in own for name in vars(one))
        return {"opaque": list(self.opaque.items()), "opened": opened, "draws": list(self.draws), "hooks": hooks}


def numbers():
    """Where the sequences of random numbers stand that every test begins anew."""
    numpy = sys.modules.get("numpy")
    drawn = numpy.random.get_state() if numpy is not None and hasattr(numpy, "random") else ()
    return random.getstate(), [part.tobytes() if hasattr(part, "tobytes") else part for part in drawn]


def loads_a_module(frame):
    """Whether a file is opened from here to be loaded; a few frames of the library's lie between."""
    near = [one.f_code for one in itertools.islice(callers(frame), 5) if one.f_code.co_filename.endswith(IMPORTERS)]
    return any(code.co_name not in READ_DATA for code in near)


def callers(frame):
    while frame is not None:
        yield frame
        frame = frame.f_back
