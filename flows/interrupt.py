"""Ctrl-C, SIGTERM and SIGHUP: the first interrupts, or lets validations under way finish; the second ends at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from flows.progress import listener

INTERRUPTED = 130
"""Exit code of a command that was interrupted, as shells know it."""
_SHOW_CURSOR = b"\x1b[?25h\n"

_seen = threading.Event()
"""Set by the first of the signals; of the one `interruptible` that a program is in."""

_Handler = Callable[[int, FrameType | None], object]


@contextmanager
def interruptible() -> Iterator[None]:
    """Inside, the first of the signals raises KeyboardInterrupt, wherever the program is; a further one ends it."""

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        if _seen.is_set():
            _end_at_once()
        _seen.set()
        raise KeyboardInterrupt

    with _handling(interrupted):
        try:
            yield
        except Exception as error:
            if _seen.is_set():  # a library took the interrupt for an error of its own
                raise KeyboardInterrupt from error
            raise
        finally:
            _seen.clear()


def check_interrupt() -> None:
    """Raise the interrupt that was seen, for what was under way then may have taken it for an error of its own.

    To be called before the result of work that goes on after errors is kept.

    Raises:
        KeyboardInterrupt: one of the signals came since `interruptible` began.
    """
    if _seen.is_set():
        raise KeyboardInterrupt


@contextmanager
def finishing_first(stopping: threading.Event) -> Iterator[None]:
    """Inside, the first of the signals sets `stopping` instead of raising in what is under way; a further one ends."""

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            _end_at_once()
        stopping.set()
        listener().fact("Interrupted: the validations under way are finished first. Once more ends at once.")

    with _handling(interrupted):
        yield


def _end_at_once() -> NoReturn:
    # Whatever holds a thread (a suite of many minutes, say) must not hold up the second Ctrl-C. What is left behind is
    # what SIGKILL leaves: sandboxes end with this process, and the next run clears the rest.
    if sys.stderr.isatty():
        os.write(2, _SHOW_CURSOR)
    os._exit(INTERRUPTED)


@contextmanager
def _handling(handler: _Handler) -> Iterator[None]:
    """Signals are delivered to the main thread alone, so in any other thread nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if before[number] is not signal.SIG_IGN]  # SIGHUP is, under `nohup`
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
