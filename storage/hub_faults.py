"""What the hub's client raises, in our terms and with no trace of the token; keeps the client itself quiet."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.errors import DatasetError, MissingExtra, PublishFailed

if TYPE_CHECKING:
    import httpx

SILENCE_S = 120.0
"""How long the hub may say nothing."""
_NOT_KNOWN = 401
_NOT_ALLOWED = 403
_PASSING = frozenset({0, 408, 412, 429})
"""Status of what may go well later: no answer, a time-out, a commit of somebody else in between, too many requests."""
_SERVER_FAULT = 500
_SHOWN = 500
_LOGGERS = ("huggingface_hub", "httpx", "httpcore")


def require_client() -> None:
    """See that huggingface_hub is there.

    Raises:
        MissingExtra: it is not.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "huggingface_hub is not installed. Datasets are published with it: pip install 'gymforge[release]'."
        ) from error


def find_token() -> str:
    """The user's token, from the environment or the hub's own login.

    Raises:
        PublishFailed: there is none, or it cannot be one.
    """
    from huggingface_hub import get_token

    found = get_token()
    if not found:
        raise PublishFailed("there is no token for the hub. Set HF_TOKEN, or run `hf auth login`.")
    if not (found.isascii() and found.isprintable()) or " " in found:  # the client would show it in what it raises
        raise PublishFailed("the token for the hub is none: it has characters that no token has. Set HF_TOKEN anew.")
    return found


@contextmanager
def faults_named(repo_id: str, *, token: str) -> Iterator[None]:
    """Use the hub inside: quietly, and with errors that say what next.

    Causes are left out of what is raised: a server may repeat the token in what it says, and a traceback shows causes.

    Raises:
        PublishFailed: for whatever the client raises.
    """
    import httpx
    from huggingface_hub import get_session

    with _quiet():
        asked = get_session().event_hooks
        if _limit_silence not in asked["request"]:
            get_session().event_hooks = {**asked, "request": [*asked["request"], _limit_silence]}
        try:
            yield
        except (PublishFailed, DatasetError, MissingExtra) as error:
            if network_fault(error) is None:
                raise
            raise _failure(error, repo_id, token) from None
        except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
            raise _failure(error, repo_id, token) from None


def _limit_silence(request: "httpx.Request") -> None:
    """The client sets no limit for most of what it asks."""
    import httpx

    if request.extensions.get("timeout", {}).get("read") is None:
        request.extensions["timeout"] = httpx.Timeout(SILENCE_S).as_dict()


def _failure(error: Exception, repo_id: str, token: str) -> PublishFailed:
    fault = network_fault(error)
    response = getattr(fault, "response", None)
    status = 0 if response is None else int(response.status_code)
    said = " ".join(str(fault or error).replace(token, "***").split())[:_SHOWN].rstrip(".")
    if fault is None:  # not the network: a card that the hub refuses, a file that has gone
        return PublishFailed(f"{repo_id} cannot be published: {said}.")
    if status == _NOT_KNOWN:
        return PublishFailed(f"the hub does not accept the token: {said}. Set HF_TOKEN, or run `hf auth login`.")
    if status == _NOT_ALLOWED:
        return PublishFailed(f"the token may not write to {repo_id}: {said}. Use one that may, or another name.")
    if status not in _PASSING and status < _SERVER_FAULT:
        return PublishFailed(f"the hub refuses {repo_id}: {said}.")
    return PublishFailed(
        f"the hub fails: {said}. Run the same command again: what has arrived is not sent again.",
        transient=True,
        retry_after_s=0.0 if response is None else _asked_to_wait_s(response),
    )


def _asked_to_wait_s(response: "httpx.Response") -> float:
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    waiting = response.headers.get("Retry-After", "")
    return float(waiting) if waiting.isdigit() else 0.0


def network_fault(error: BaseException) -> BaseException | None:
    """The network's or the hub's own error, which the client and fsspec wrap in others."""
    import httpx

    current: BaseException | None = error
    while current is not None:
        if isinstance(current, httpx.TransportError) or getattr(current, "response", None) is not None:
            return current
        current = current.__cause__
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's bars and logs: they hold addresses that are signed, and whatever the server answers."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    had_bars = not are_progress_bars_disabled()
    disable_progress_bars()
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if had_bars:
            enable_progress_bars()
