"""A pytest process that has loaded itself, its plugins and third-party modules, and forks a worker for every job.

This file runs in the repository's own interpreter (Python 3.8 or newer), in the process of `pytest_worker.py`, and is
told what to do by `pytest_server.py` over a socket. It stops inside `pytest_load_initial_conftests`, which pytest calls
when plugins are loaded and before it touches any file of the repository; a forked worker goes on from there. So nothing
of the repository's is ever loaded here: modules under the work tree are refused, and looked for after each step.

Messages both ways: four bytes of length, JSON. Said first: ``{"unfit": why or ""}``. Heard: ``{"preload": names,
"warm_up": bool}``, answered with ``{"unfit", "culprit": name or null}``; or a job (the settings of a worker) with the
worker's channel as a descriptor beside it, answered with ``{"pid"}``; or ``{"ping"}``, answered with ``{}``. A worker
is forked twice, so that it becomes the child of the server, which then learns from the kernel how it ended.
"""

import array
import atexit
import ctypes
import functools
import gc
import importlib
import inspect
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import types

PR_SET_DUMPABLE = 4
SIZE = struct.Struct(">I")
PYTESTS = "_pytest."
FORK_S = 5.0
"""For a fork to end that does nothing."""
THREADS_S = 0.2
"""For the kernel to forget threads that have ended."""
WARM_UP = "warming up"
"""Named as what makes the process unfit, as a module is."""


class Zygote:
    """The plugin that stops pytest at the right moment; returns from there in workers alone."""

    def __init__(self, fd, reporter):
        self.socket = socket.socket(fileno=fd)
        self.reporter = reporter
        self.root = os.path.join(os.path.realpath(os.getcwd()), "")
        self.descriptors = descriptors()
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.prctl = ctypes.CDLL(None).prctl
        self.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)

    def pytest_load_initial_conftests(self):
        self.serve()
        yield

    def serve(self):
        say(self.socket, {"unfit": self.unfit()})
        while True:
            message, fds = hear(self.socket)
            if message is None:
                os._exit(0)
            if "preload" in message:
                culprit = self.preload(message["preload"])
                unfit = self.unfit() or ("%s needs the repository" % culprit if culprit else "")
                if message["warm_up"] and not unfit and not self.is_warmed_up():
                    culprit = unfit = WARM_UP
                self.settle()
                say(self.socket, {"unfit": unfit, "culprit": culprit})
            elif "ping" in message:
                say(self.socket, {})
            elif self.fork(message, fds[0]):
                return

    def is_warmed_up(self):
        import pytest
        from pytest_warmup import warm_up

        gc.collect()
        gc.freeze()  # some versions of pytest look for garbage when a session ends, five times
        guard = Guard(self.root)
        sys.meta_path.insert(0, guard)
        try:
            went_well = warm_up(pytest.main)
        except BaseException:  # a pytest that is otherwise than any that is known may do whatever it likes
            return False
        finally:
            sys.meta_path.remove(guard)
        return went_well and not guard.refused and not self.unfit()

    @staticmethod
    def settle():
        """Do once what every worker would do, and have it touch as little as can be of what it shares."""
        from pytest_state import remember

        # Whatever tells of a failure asks which module code belongs to, and this is kept for all modules.
        inspect.getmodule(look_for_fixtures_less.__code__)
        remember(os.getcwd())
        look_for_fixtures_less()
        # What is here stays: no worker's collector need look at it, and so copy its pages.
        gc.collect()
        gc.freeze()
        # Tests may send any signal, and what its handler does here all later workers would have.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())

    def fork(self, job, channel_fd):
        """Whether this is the worker."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                worker = os.fork()
                if worker:
                    os.write(writer, SIZE.pack(worker))
                    os._exit(0)
            except BaseException:
                os._exit(1)
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            os.set_inheritable(channel_fd, False)
            os.close(reader)
            os.close(writer)
            self.socket.close()
            self.become_ordinary()
            self.reporter.empty_input()
            self.reporter.begin(dict(job, channel_fd=channel_fd))
            return True
        os.close(writer)
        os.close(channel_fd)
        os.waitpid(child, 0)
        told = os.read(reader, SIZE.size)
        os.close(reader)
        say(self.socket, {"pid": SIZE.unpack(told)[0] if told else None})
        return False

    def become_ordinary(self):
        """Be as open to look at, and as likely to be taken when memory runs out, as any process of the suite's."""
        self.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        except OSError:
            pass

    def preload(self, names):
        """Load modules by name, but for those of the repository's.

        Returns the first one that a fork would not find as a fresh process does, and stops there: it starts a thread,
        which a fork does not have; it holds a file open, whose position all forks share; it wants a module of the
        repository's, and may have made do without.
        """
        guard = Guard(self.root)
        sys.meta_path.insert(0, guard)
        try:
            for name in names:
                before = set(sys.modules)
                try:
                    if name not in sys.modules:
                        importlib.import_module(name)
                except BaseException:  # whatever a module does when it is loaded: the worker will see it
                    for added in set(sys.modules) - before:
                        del sys.modules[added]
                if guard.refused or self.unshareable():
                    return name
        finally:
            sys.meta_path.remove(guard)
        return None

    def leave(self, status):
        """End the worker as Python ends, but for taking down module after module of which nothing is left to see."""
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass
        os._exit(status)

    def unfit(self):
        """Why no worker may be forked from here; empty where nothing speaks against it."""
        for name, module in list(sys.modules.items()):
            if os.path.realpath(getattr(module, "__file__", None) or "/").startswith(self.root):
                return "the repository's %s is loaded by a plugin" % name
        return self.unshareable()

    def unshareable(self):
        """What a fork would not have, or have in common with others; empty where there is nothing."""
        if threads() > 1 and not threads_end_with_a_fork():
            return "loading plugins and libraries starts threads"
        return "plugins or libraries hold files open" if descriptors() - self.descriptors else ""


class Guard:
    """A finder that refuses whatever lies in the work tree."""

    def __init__(self, root):
        self.root = root
        self.refused = False

    def find_spec(self, name, path=None, target=None):
        for finder in sys.meta_path:
            # Up to Python 3.11 a finder may lack it, and is asked after all others.
            find = None if finder is self else getattr(finder, "find_spec", None)
            found = find(name, path, target) if find else None
            if found is not None:
                places = list(found.submodule_search_locations or [])
                if found.has_location:  # the origin of others is a word: "built-in", "frozen"
                    places.append(found.origin)
                if any(os.path.join(os.path.realpath(place), "").startswith(self.root) for place in places):
                    self.refused = True
                    raise ImportError("%s belongs to the repository" % name)
                return found
        return None


def look_for_fixtures_less():
    """Have pytest not look for fixtures where it has none of its own.

    It looks at every attribute of every plugin when a session starts, and finds the same in every worker. Of its own
    modules it is shown the fixtures alone, and its own objects only where they hold any. A pytest that is not as known
    looks everywhere.
    """
    manager = getattr(sys.modules.get("_pytest.fixtures"), "FixtureManager", None)
    look = getattr(manager, "pytest_plugin_registered", None)
    if manager is None or look is None:
        return
    from pytest_state import version_of

    own = [module for name, module in list(sys.modules.items()) if name.startswith(PYTESTS)]
    known = {id(module): (module, version_of(vars(module)), fixtures_of(module)) for module in own}

    @functools.wraps(look)
    def pytest_plugin_registered(self, plugin, *more):
        module, version, fixtures = known.get(id(plugin), (None, None, None))
        if fixtures is not None:
            if version is None or version != version_of(vars(module)):
                fixtures = fixtures_of(module)
            if vars(fixtures):
                look(self, fixtures, *more)
        elif not is_own(type(plugin).__module__) or any(map(is_fixture, everything(plugin))):
            look(self, plugin, *more)

    manager.pytest_plugin_registered = pytest_plugin_registered


def is_own(module):
    """Whether a class's module, by name, is pytest's or this program."""
    return type(module) is str and (module.startswith(PYTESTS) or module in (__name__, "__main__"))


def fixtures_of(module):
    """A stand-in for a module that has its fixtures and nothing else."""
    alone = types.ModuleType(module.__name__)
    vars(alone).clear()
    vars(alone).update((name, value) for name, value in vars(module).items() if is_fixture(value))
    return alone


def everything(plugin):
    """All that an object and its classes hold."""
    for holder in (plugin, *type(plugin).__mro__):
        yield from getattr(holder, "__dict__", {}).values()


def is_fixture(value):
    """Up to pytest 8.3 a function with a mark, then an object of a class of its own."""
    is_marked = type(value) is types.FunctionType and "_pytestfixturefunction" in vars(value)
    return is_marked or type(value).__name__ == "FixtureFunctionDefinition"


def threads_end_with_a_fork():
    """Whether all threads but this one belong to libraries that know what a fork is.

    Such as OpenBLAS, which numpy brings, end their threads before every fork (`pthread_atfork`). That they start others
    where some are needed is taken for granted: where they do not, tests of the clean tree do not pass in a worker.
    """
    try:
        child = os.fork()
        if child == 0:
            os._exit(0)
        if not comes_true(lambda: os.waitpid(child, os.WNOHANG)[0] == child, within_s=FORK_S):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
    except OSError:  # no process is left, or something else waits for those that end
        return False
    return comes_true(lambda: threads() == 1, within_s=THREADS_S)


def comes_true(what, within_s):
    end = time.monotonic() + within_s
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def threads():
    return len(os.listdir("/proc/self/task"))


def descriptors():
    """Open ones, but for the one that lists them."""
    return {name for name in os.listdir("/proc/self/fd") if os.path.lexists("/proc/self/fd/" + name)}


def say(connection, message, fds=()):
    data = json.dumps(message).encode()
    data = SIZE.pack(len(data)) + data
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = connection.sendmsg([data], rights)
    connection.sendall(data[sent:])


def hear(connection):
    """A message and the descriptors beside it; `None` where the other end is gone."""
    space = socket.CMSG_SPACE(array.array("i", [0]).itemsize)
    data, ancillary, _, _ = connection.recvmsg(SIZE.size, space)
    fds = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    data += receive(connection, SIZE.size - len(data)) if data else b""
    if len(data) < SIZE.size:
        return None, []
    text = receive(connection, SIZE.unpack(data)[0])
    return (json.loads(text) if text else None), list(fds)


def receive(connection, size):
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            return b""
        data += piece
    return bytes(data)
