"""Do work in several processes, this one among them, that end together whatever happens."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_OF_THE_TERMINAL = {signal.SIGINT, signal.SIGHUP}
"""Signals that a terminal sends to all processes of a command at once."""


def spread(work: Callable[[_Job], _Result], jobs: Sequence[_Job], *, workers: int) -> list[_Result]:
    """Results in the order of `jobs`, which had better have the largest first.

    This process is one of the workers: it takes jobs from the end while the others start, and while they work.
    """
    if workers == 1 or len(jobs) < 2:
        return [work(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    # Processes that are started here inherit the mask: an interrupt waits until they have loaded the program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TERMINAL)
    try:
        pool = ProcessPoolExecutor(min(workers, len(jobs)) - 1, mp_context=context, initializer=_die_with_parent)
        # Again: what starts multiprocessing's resource tracker takes SIGINT out of the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TERMINAL)
        futures = [pool.submit(work, job) for job in jobs]
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            # What can be cancelled has not been handed out.
            here = {index: work(jobs[index]) for index in reversed(range(len(jobs))) if futures[index].cancel()}
            return [here[index] if index in here else futures[index].result() for index in range(len(jobs))]
        finally:
            # After an error or an interrupt, nothing more is started; jobs in work are finished by their processes.
            pool.shutdown(wait=True, cancel_futures=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    """End when the parent does, however it ends: what a pool waits for never comes then.

    An interrupt from the terminal reaches all processes: workers end without a traceback, the parent reports.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_THE_TERMINAL)
