"""What git's complaints mean: credentials taken out, and what failed, where, and what to do next put in."""

import re

_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]*(?:@[^/\s@'\"]*)*@")
_SECRET_PARAMETER = re.compile(
    r"(?i)([?&;](?:[\w-]*token|[\w-]*key|password|passwd|secret|auth|sig(?:nature)?)=)[^&\s'\"]+"
)
_SECRET_HEADER = re.compile(r"(?i)(authorization:\s*).*")
_TOKEN = re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,})")

_MAX_DETAIL = 600
# A server may send any amount of text.
_MAX_READ = 20_000

_BROKEN_CONNECTION = (
    r"connection refused|timed out|timeout|couldn't connect|could not connect|failed to connect|unreachable|"
    r"connection reset|remote end hung up|early eof|operation too slow"
)

# In this order: hosts answer "not found" for private repositories, so a wish for credentials counts first.
_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        (
            r"could not read (?:username|password)|authentication failed|terminal prompts disabled|"
            r"permission denied \(|http basic: access denied|invalid credentials|returned error: 40[13]"
        ),
        (
            "it needs credentials that git does not have, or it does not exist (hosts answer the same to both). "
            "Check the address; for a private repository set up git's own credential helper or an ssh key, "
            "so that `git ls-remote {address}` works, then run this again"
        ),
    ),
    (
        (
            r"could not resolve host|name or service not known|temporary failure in name resolution|"
            r"nodename nor servname"
        ),
        "its host is unknown. Check the spelling of the address, and that this machine has a network",
    ),
    (
        r"host key verification failed",
        "its ssh host key is not known here. Connect once by hand (`ssh HOST`) to accept the key, then run this again",
    ),
    (
        r"dubious ownership",
        (
            "it belongs to another user, and git refuses to read it. If you trust it: "
            "git config --global --add safe.directory {address}"
        ),
    ),
    (
        r"lazy fetching disabled|promisor|missing blob object",
        "it is a partial clone and lacks some objects. Give the address that it was cloned from instead",
    ),
    (
        r"lacks these prerequisite commits",
        (
            "it is an incremental bundle and needs commits that it does not hold. Make a complete one: "
            "git bundle create FILE --all"
        ),
    ),
    (
        (
            r"repository .*not found|not a git repository|does not appear to be a git repository|returned error: 404|"
            r"info/refs not valid|no such repository|project you were looking for could not be found"
        ),
        "there is no Git repository at this address. Check its spelling",
    ),
    (
        _BROKEN_CONNECTION,
        "its host does not answer, or the connection broke. Check the network and any proxy, then run this again",
    ),
    (
        r"certificate|ssl|tls",
        (
            "its certificate is not trusted here. Point GIT_SSL_CAINFO or git's http.sslCAInfo at your network's "
            "certificates"
        ),
    ),
    (r"no space left on device", "the disk is full. Free some space in the cache folder, then run this again"),
)


def scrub(text: str) -> str:
    """`text` without passwords, tokens and user names in URLs."""
    text = _USERINFO.sub("", text)
    text = _SECRET_PARAMETER.sub(r"\1***", text)
    text = _SECRET_HEADER.sub(r"\1***", text)
    return _TOKEN.sub("***", text)


def explain(stderr: str, *, address: str) -> str:
    """Why git failed and what to do next, for a message that begins with what was tried."""
    stderr = stderr[-_MAX_READ:]
    detail = _essence(stderr)
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, stderr, re.IGNORECASE):
            return f"{meaning.format(address=address)} (git: {detail})"
    return f"git says: {detail}"


def is_final(stderr: str) -> bool:
    """Whether another way of asking the same server cannot help."""
    return any(re.search(pattern, stderr[-_MAX_READ:], re.IGNORECASE) for pattern, _ in _MEANINGS[:4])


def is_transient(stderr: str) -> bool:
    """Whether the same request may succeed a little later."""
    stderr = stderr[-_MAX_READ:]
    meaning = next((pattern for pattern, _ in _MEANINGS if re.search(pattern, stderr, re.IGNORECASE)), None)
    return meaning == _BROKEN_CONNECTION


def _essence(stderr: str) -> str:
    lines = [line.strip() for line in scrub(stderr).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: ", "ssh:"))] or lines
    return " / ".join(telling)[-_MAX_DETAIL:] or "nothing"
