"""Do work in several processes, this one among them, that end together whatever happens."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Generic, TypeVar

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")

_AHEAD = 2
"""Jobs that each process is given before it asks, so that it need not wait for the next."""
_OF_THE_TERMINAL = {signal.SIGINT, signal.SIGHUP}
"""Signals that a terminal sends to all processes of a command at once."""


def spread(work: Callable[[_Job], _Result], jobs: Sequence[_Job], *, workers: int) -> list[_Result]:
    """Results in the order of `jobs`, which had better have the largest first.

    This process is one of the workers: it takes jobs from the end while the others start, and while they work.
    """
    if workers == 1 or len(jobs) < 2:
        return [work(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    others = min(workers, len(jobs)) - 1
    # Processes that are started here inherit the mask: an interrupt waits until they have loaded the program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TERMINAL)
    try:
        pool = ProcessPoolExecutor(others, mp_context=context, initializer=_die_with_parent)
        # Again: what starts multiprocessing's resource tracker takes SIGINT out of the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TERMINAL)
        waiting = _Waiting(pool, work, jobs)
        for _ in range(others * _AHEAD):
            waiting.hand_out()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            here = {index: work(jobs[index]) for index in iter(waiting.take_last, None)}
            return [here[index] if index in here else waiting.there[index].result() for index in range(len(jobs))]
        finally:
            # After an error or an interrupt, nothing more is started; jobs in work are finished by their processes.
            waiting.forget()
            pool.shutdown(wait=True, cancel_futures=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Waiting(Generic[_Job, _Result]):
    """Jobs that nobody has taken yet. (One that was given to the pool cannot be had back while a worker may die.)"""

    def __init__(self, pool: ProcessPoolExecutor, work: Callable[[_Job], _Result], jobs: Sequence[_Job]) -> None:
        self.there: dict[int, Future[_Result]] = {}
        """Of the jobs that other processes took, by position."""
        self._pool = pool
        self._work = work
        self._jobs = jobs
        self._left = deque(range(len(jobs)))
        self._lock = threading.Lock()

    def hand_out(self, done: "Future[_Result] | None" = None) -> None:
        """Give the first to the other processes, and the next once it is done."""
        if done is not None and (done.cancelled() or done.exception() is not None):
            return
        with self._lock:
            if not self._left:
                return
            index = self._left.popleft()
            self.there[index] = self._pool.submit(self._work, self._jobs[index])
        self.there[index].add_done_callback(self.hand_out)

    def take_last(self) -> int | None:
        """The position of the last, which is the caller's then; `None` where none is left."""
        with self._lock:
            return self._left.pop() if self._left else None

    def forget(self) -> None:
        """Hand out nothing more."""
        with self._lock:
            self._left.clear()


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
