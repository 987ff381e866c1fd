"""A Prefect server for the time of one command: it does not outlive it, and the terminal's Ctrl-C does not reach it."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from schemas.errors import GymforgeError, StorageFailed

STARTUP_LIMIT_S = 120.0
_STOP_LIMIT_S = 5.0
_ROOM_BYTES = 8 * 1024 * 1024
"""Prefect's database takes this much."""
_PR_SET_PDEATHSIG = 1


@contextmanager
def start_server(home: Path) -> Iterator[Callable[[], None]]:
    """Start a server on a free loopback port and name it in `PREFECT_API_URL`, before Prefect is imported.

    Prefect starts one by itself, but in the terminal's process group, where Ctrl-C ends it before the flow can say
    that it was interrupted, and where a killed command leaves it behind. The value waits until the server answers, so
    that imports can go on meanwhile.

    Raises:
        GymforgeError: the server ended, or did not answer in time; from the value.
        StorageFailed: it did so because the disk is full.
    """
    port = _free_port()
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"server-{os.getpid()}.log"  # other commands have servers of their own there
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
                *("--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"),
            ],
            env=os.environ
            | {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=partial(_die_with, os.getpid()),  # noqa: PLW1509 - no thread has been started yet
        )
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    answered = False

    def wait() -> None:
        nonlocal answered
        _wait_for(process, port, log)
        answered = True

    try:
        yield wait
    finally:
        if answered:
            log.unlink(missing_ok=True)  # else the message names it
        del os.environ["PREFECT_API_URL"]
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import httpx

    deadline = time.monotonic() + STARTUP_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/api/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    if shutil.disk_usage(log.parent).free < _ROOM_BYTES:
        raise StorageFailed(
            f"Prefect's server did not start, and the disk of {log.parent} is full. Free space there, or name another "
            "cache folder in GYMFORGE_CACHE_DIR, then run the same command again: what is finished is kept."
        )
    raise GymforgeError(
        f"Prefect's server did not start. Its log is {log}; a server of your own can be named in PREFECT_API_URL."
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)
