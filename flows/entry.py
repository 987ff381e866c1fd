"""What the `gymforge` command calls first: while Python still loads the program, Ctrl-C ends it without a traceback."""

import os
import signal


def main() -> None:
    """Load the command line and run it."""
    usual = signal.signal(signal.SIGINT, lambda _signal, _frame: os._exit(130))  # nothing has begun
    from flows.cli import main as command

    signal.signal(signal.SIGINT, usual)
    command()
