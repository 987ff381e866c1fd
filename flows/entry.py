"""What the `gymforge` command calls first: before and after the program itself, an interrupt ends it with its code."""

import atexit
import os
import signal


def main() -> None:
    """Load the command line and run it."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, lambda _signal, _frame: os._exit(130))  # nothing has begun, or all is done
            # Called last of all. While it takes itself down, Python puts the defaults in the place of any handler but
            # this, and an interrupt in those moments would change the exit code that has been decided.
            atexit.register(signal.signal, number, signal.SIG_IGN)
    from flows.cli import main as command

    command()
