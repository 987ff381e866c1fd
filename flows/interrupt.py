"""Ctrl-C and SIGTERM while validations run: the first lets those under way finish, the second ends at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from flows.progress import listener

INTERRUPTED = 130
"""Exit code of a command that was interrupted, as shells know it."""
_SHOW_CURSOR = b"\x1b[?25h\n"


@contextmanager
def finishing_first(stopping: threading.Event) -> Iterator[None]:
    """Inside, an interrupt sets `stopping` instead of raising in whatever is under way; a further one ends the process.

    Signals are delivered to the main thread alone, so in any other thread nothing is changed.
    """

    def interrupted(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            # Whatever holds a thread (a suite of many minutes, say) must not hold up the second Ctrl-C. What is left
            # behind is what SIGKILL leaves: sandboxes end with this process, and the next run clears the rest.
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
            os._exit(INTERRUPTED)
        stopping.set()
        listener().fact("Interrupted: the validations under way are finished first. Once more ends at once.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
