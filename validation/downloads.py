"""Fetching files and index pages over HTTP with the machine's certificates, proxies and credentials."""

import hashlib
import netrc
import os
import shutil
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from schemas.errors import EnvironmentFailed

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

ATTEMPTS = 3
MAX_PAGE_BYTES = 64 * 1024 * 1024
_T = TypeVar("_T")
_CHUNK_BYTES = 1024 * 1024
_NOT_FOUND = 404
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


class Page(NamedTuple):
    """A page of an index."""

    text: str
    content_type: str
    url: str
    """After redirects: what its links are relative to."""


class Downloader(AbstractContextManager["Downloader"]):
    """One HTTP client for a build; safe to use from several threads."""

    def __init__(
        self,
        *,
        credentials_from: Sequence[str] = (),
        cert: str = "",
        timeout_s: float = 60.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`credentials_from`: index URLs; their user and password serve every file of the same host."""
        import httpx

        self._client = httpx.Client(
            verify=_trust(cert), timeout=timeout_s, follow_redirects=True, headers={"User-Agent": "gymforge"}
        )
        self._credentials: dict[str, tuple[str, str]] = {}
        for url in credentials_from:
            parts = httpx.URL(url) if "://" in url else httpx.URL("")
            if parts.username:
                self._credentials[parts.host] = (parts.username, parts.password)
        self._netrc = _netrc()
        self._sleep = sleep

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def get_page(self, url: str, *, accept: str) -> Page | None:
        """A page, or `None` where there is none.

        Raises:
            EnvironmentFailed: the server does not answer (`transient`), or refuses.
        """
        return self._attempt(url, lambda: self._page(url, accept))

    def download(self, url: str, target: IO[bytes]) -> str:
        """Write the file at a URL (`https:`, `http:` or `file:`) to an empty file; returns its SHA-256.

        Raises:
            EnvironmentFailed: it cannot be had.
        """
        if url.startswith("file:"):
            try:
                with Path(url2pathname(urlsplit(url).path)).open("rb") as source:
                    shutil.copyfileobj(source, target)
            except OSError as error:
                message = f"cannot read {url}: {error.strerror}"
                raise EnvironmentFailed(f"{message}. Check the index settings of pip") from error
            target.seek(0)
            return hashlib.file_digest(target, "sha256").hexdigest()  # type: ignore[arg-type]
        digest = self._attempt(url, lambda: self._stream(url, target))
        if digest is None:
            message = f"the index names {_shown(url)}, and the server does not have it"
            raise EnvironmentFailed(f"{message}. Try again, or use another index")
        return digest

    def _page(self, url: str, accept: str) -> Page | None:
        answer = self._client.get(url, headers={"Accept": accept}, auth=self._auth(url))
        if answer.status_code == _NOT_FOUND:
            return None
        answer.raise_for_status()
        if len(answer.content) > MAX_PAGE_BYTES:
            raise EnvironmentFailed(f"{_shown(url)} is larger than {MAX_PAGE_BYTES} bytes. Use another index")
        return Page(answer.text, answer.headers.get("content-type", ""), str(answer.url))

    def _stream(self, url: str, target: IO[bytes]) -> str | None:
        target.seek(0)
        target.truncate()
        digest = hashlib.sha256()
        with self._client.stream("GET", url, auth=self._auth(url)) as answer:
            if answer.status_code == _NOT_FOUND:
                return None
            answer.raise_for_status()
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
        target.flush()
        return digest.hexdigest()

    def _attempt(self, url: str, action: Callable[[], _T]) -> _T:
        """Run an HTTP exchange, again after a break of the connection or an error of the server."""
        import httpx

        for attempt in range(1, ATTEMPTS + 1):
            try:
                return action()
            except httpx.HTTPStatusError as error:
                status = error.response.status_code
                transient = status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS
                if not transient or attempt == ATTEMPTS:
                    message = f"{_shown(url)} answers with HTTP {status}. Check the index settings of pip"
                    raise EnvironmentFailed(message, transient=transient) from error
            except httpx.TransportError as error:
                transient = not isinstance(error, httpx.UnsupportedProtocol)
                if not transient or attempt == ATTEMPTS:
                    message = f"cannot reach {_shown(url)}: {error or type(error).__name__}"
                    advice = "Check the network and the index settings of pip"
                    raise EnvironmentFailed(f"{message}. {advice}", transient=transient) from error
            self._sleep(2.0 ** (attempt - 1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _auth(self, url: str) -> "httpx.Auth | tuple[str, str] | None":
        host = urlsplit(url).hostname or ""
        return self._credentials.get(host) or self._netrc


def _trust(cert: str) -> ssl.SSLContext:
    """Certificates to trust: the bundle given, else `SSL_CERT_FILE`/`SSL_CERT_DIR` or the system's."""
    try:
        return ssl.create_default_context(cafile=cert or None)
    except OSError as error:
        raise EnvironmentFailed(f"cannot read the CA bundle {cert}: {error}. Correct pip's `cert` setting") from error


def _netrc() -> "httpx.Auth | None":
    import httpx

    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not path.is_file():
        return None
    try:
        return httpx.NetRCAuth(str(path))
    except netrc.NetrcParseError as error:
        raise EnvironmentFailed(f"{path} cannot be read: {error}. Correct it") from error


def _shown(url: str) -> str:
    """The URL without credentials, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
