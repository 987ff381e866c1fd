"""Run a small suite of our own in the process that workers are forked from, so that they find pytest's code warm.

This file runs in the process of `pytest_zygote.py`. CPython counts how often its code was run before it makes it
faster, compiles regular expressions once, and writes both down beside the code; without this, every worker does all of
that again, and has the pages of memory copied for it. No plugin but pytest's own takes part, no file of the
repository's is read, and what a session changes in its process is put back by pytest, or here.
"""

import faulthandler
import os
import shutil
import sys
import tempfile
import threading
import warnings

FOLDER = "/tmp/gymforge-warmup"  # noqa: S108 - a path inside the sandbox
ROUNDS = 3
"""Of the suite; CPython 3.11 looks at code that ran eight times."""
FILES = {
    "pytest.ini": "[pytest]\n",
    "gymforge_warmup/__init__.py": "",
    "gymforge_warmup/conftest.py": "",
    "gymforge_warmup/test_warmup.py": """
import pytest

@pytest.fixture
def one():
    return 1

@pytest.mark.parametrize("number", range(3))
def test_of_a_function(one, number):
    assert one

class TestOfAClass:
    def test_of_a_method(self):
        assert self
""",
}
OTHERS_OPTIONS = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
ALONE = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"


def warm_up(main):
    """Whether it went as it should, and left nothing behind; `main` is pytest's.

    Raises:
        OSError: something is where its files are to be.
    """
    environment, path, before = dict(os.environ), list(sys.path), ways()
    temporary, tells_of_faults = tempfile.tempdir, faulthandler.is_enabled()
    os.mkdir(FOLDER, 0o700)  # nobody else's: whatever lies there is run
    kept = {fd: os.dup(fd) for fd in (1, 2)}
    try:
        write_files()
        silence()
        for name in OTHERS_OPTIONS:
            os.environ.pop(name, None)
        os.environ[ALONE] = "1"
        arguments = ["-c", FOLDER + "/pytest.ini", "--rootdir", FOLDER, "-p", "no:cacheprovider", FOLDER]
        done = [go(main, arguments, tells_of_faults) for _ in range(ROUNDS)]
    finally:
        for fd, copy in kept.items():
            os.dup2(copy, fd)
            os.close(copy)
        shutil.rmtree(FOLDER, ignore_errors=True)
        put_back(environment)
        sys.path[:] = path
        tempfile.tempdir = temporary
    return ways() == before and not any(done)


def ways():
    """What a session replaces while it lasts: where text goes, how modules are found, what is done about errors."""
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook
    return sys.stdin, sys.stdout, sys.stderr, list(sys.meta_path), list(warnings.filters), hooks


def go(main, arguments, tells_of_faults):
    """The suite's exit status."""
    try:
        return int(main(list(arguments)))
    finally:
        if not tells_of_faults:
            faulthandler.disable()  # up to pytest 6 it stays as the session had it
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(FOLDER):
                del sys.modules[name]
        for folder in list(sys.path_importer_cache):
            if folder.startswith(FOLDER):
                del sys.path_importer_cache[folder]


def write_files():
    for name, text in FILES.items():
        path = os.path.join(FOLDER, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)


def silence():
    null = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(null, fd)
    os.close(null)


def put_back(environment):
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
