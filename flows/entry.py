"""What the `gymforge` command calls first: while Python loads the program, an interrupt ends it without a traceback."""

import os
import signal


def main() -> None:
    """Load the command line and run it."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, lambda _signal, _frame: os._exit(130))  # nothing has begun, or all is done
    from flows.cli import main as command

    command()
