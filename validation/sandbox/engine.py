"""Reach a Docker Engine: a client for each use, and what is said and done when the engine goes away."""

import json
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import requests
import urllib3

from schemas.errors import GymforgeError, SandboxFailed, SandboxUnavailable

RETURN_S = 60.0
"""How long an engine may be away while something is under way: a restart takes seconds."""

_API_S = 120
_PING_S = 10
_PAUSE_S = 0.5


class Engine:
    """Clients of one engine, spoken to in one version of its interface."""

    def __init__(self, sdk: Any, *, api_version: str) -> None:
        self._sdk = sdk
        self._api_version = api_version

    @contextmanager
    def connect(self, *, timeout_s: float = _API_S) -> Iterator[Any]:
        """A client of its own for each use: the SDK's sessions are for one thread and must be closed."""
        options = self._sdk.utils.kwargs_from_env()
        api = self._sdk.APIClient(**options, version=self._api_version, timeout=timeout_s)
        try:
            yield api
        finally:
            api.close()

    def await_answer(self) -> None:
        """Wait for an engine that is away, as one is that restarts.

        Raises:
            SandboxUnavailable: it did not come back in time.
        """
        deadline = time.monotonic() + RETURN_S
        while (trouble := self._silence()) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        if trouble:
            raise SandboxUnavailable(
                f"The Docker Engine stopped answering and did not come back within {RETURN_S:.0f} s ({trouble}). "
                "Start it, see that `docker version` reaches it, and run the same command again: what is finished is "
                "kept."
            )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors inside that are the engine's, and say nothing about code in a sandbox, become `SandboxUnavailable`.

        A connection is held open meanwhile: it ends with the engine, so that one which is back already was not missed.
        """
        with self._line() as line:
            try:
                yield
            except (self._sdk.errors.DockerException, urllib3.exceptions.HTTPError, OSError, SandboxFailed) as error:
                if isinstance(error, GymforgeError) and not isinstance(error, SandboxFailed):
                    raise
                # In this order: an engine that ends takes no new connections, then ends its containers, then itself.
                if self._silence() or _has_ended(line):
                    raise SandboxUnavailable(
                        f"The Docker Engine went away while a sandbox was at work ({error}). When it is back, run the "
                        "same command again: what is finished is kept.",
                        transient=True,
                    ) from error
                if isinstance(error, self._sdk.errors.DockerException):
                    raise SandboxUnavailable(
                        f"The Docker Engine refused what a sandbox needs: {error}. Read its log, free what is short "
                        "(`docker system df` shows disk), and run the same command again: what is finished is kept.",
                        transient=True,
                    ) from error
                raise

    @contextmanager
    def _line(self) -> Iterator[requests.Response]:
        """A stream of events that never come."""
        nothing: Mapping[str, list[str]] = {"container": ["gymforge-has-no-such-container"]}
        with self.connect() as api:
            try:
                line: requests.Response = api.get(
                    f"{api.base_url}/v{self._api_version}/events",
                    params={"filters": json.dumps(nothing)},
                    stream=True,
                    timeout=_PING_S,
                )
            except requests.RequestException as error:
                raise SandboxUnavailable(f"The Docker Engine went away ({error}).", transient=True) from error
            try:
                yield line
            finally:
                line.close()

    def _silence(self) -> str:
        """Why the engine does not answer; empty when it does."""
        try:
            with self.connect(timeout_s=_PING_S) as api:
                api.ping()
        except (self._sdk.errors.DockerException, urllib3.exceptions.HTTPError, OSError) as error:
            return str(error) or type(error).__name__
        return ""


def _has_ended(line: requests.Response) -> bool:
    poll = select.poll()
    with suppress(OSError, ValueError):  # a tunnel may have no descriptor to look at
        poll.register(line.raw.fileno(), select.POLLIN)
        if not poll.poll(0):
            return False
        try:
            return not line.raw.read(1)
        except urllib3.exceptions.ReadTimeoutError:
            return False  # what came was not the end, but TLS's own business
        except urllib3.exceptions.HTTPError:
            return True
    return False
