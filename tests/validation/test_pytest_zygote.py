"""Whether a process with threads may be forked is found by a fork, which itself may go wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import os, signal, threading, time
from validation.runners import pytest_zygote
pytest_zygote.FORK_S = 0.5
ended = threading.Event()
running = []
def start():
    running.append(threading.Thread(target=ended.wait, daemon=True))
    running[0].start()
def stop():
    ended.set()
    running.pop().join()
"""
CASES = {
    "no thread": ("", True),
    "a thread that stays": ("start()", False),
    "a thread that ends before a fork": ("start(); os.register_at_fork(before=stop)", True),
    "a thread, and a child that does not end": (
        "start(); os.register_at_fork(before=stop, after_in_child=lambda: time.sleep(60))",
        False,
    ),
    "a thread, and children that nobody can wait for": (
        "start(); os.register_at_fork(before=stop); signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        False,
    ),
    "a thread, and no fork": ("start(); os.fork = lambda: os.open('/nowhere', os.O_RDONLY)", False),
}


@pytest.mark.parametrize("case", CASES)
def test_threads_that_end_before_a_fork_are_told_from_others(case: str) -> None:
    code, expected = CASES[case]
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{BEGIN}{code}\nprint(pytest_zygote.threads_end_with_a_fork())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert told.stdout == f"{expected}\n", told.stderr
