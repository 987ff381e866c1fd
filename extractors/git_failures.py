"""What git's complaints mean: credentials taken out, and what failed, where, and what to do next put in."""

import re
from typing import NamedTuple

from extractors import git_limits

_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]*(?:@[^/\s@'\"]*)*@")
_SECRET_PARAMETER = re.compile(
    r"(?i)([?&;](?:[\w-]*token|[\w-]*key|password|passwd|secret|auth|sig(?:nature)?)=)[^&\s'\"]+"
)
_SECRET_HEADER = re.compile(r"(?i)(authorization:\s*).*")
_TOKEN = re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,})")

_MAX_DETAIL = 600
# A server may send any amount of text.
_MAX_READ = 20_000


class _Meaning(NamedTuple):
    pattern: str
    text: str
    final: bool = False
    """Another way of asking the same server cannot help."""
    transient: bool = False
    """The same request may succeed a little later."""


_GONE = _Meaning(
    r"not our ref|unadvertised object|did not send all necessary objects|couldn't find remote ref",
    "its server no longer has a commit that it named: a branch was rewritten meanwhile. Run this again",
    final=True,
    transient=True,
)
# In this order: hosts answer "not found" for private repositories, so a wish for credentials counts first.
_MEANINGS = (
    _Meaning(
        r"could not read (?:username|password)|authentication failed|terminal prompts disabled|"
        r"permission denied \(|http basic: access denied|invalid credentials|returned error: 40[13]",
        "it needs credentials that git does not have, or it does not exist (hosts answer the same to both). "
        "Check the address; for a private repository set up git's own credential helper or an ssh key, "
        "so that `git ls-remote {address}` works, then run this again",
        final=True,
    ),
    _Meaning(
        r"could not resolve host|name or service not known|temporary failure in name resolution|"
        r"nodename nor servname",
        "its host is unknown. Check the spelling of the address, and that this machine has a network",
        final=True,
    ),
    _Meaning(
        r"host key verification failed",
        "its ssh host key is not known here. Connect once by hand (`ssh HOST`) to accept the key, then run this again",
        final=True,
    ),
    _Meaning(
        r"dubious ownership",
        "it belongs to another user, and git refuses to read it. If you trust it: "
        "git config --global --add safe.directory {address}",
        final=True,
    ),
    _Meaning(
        r"no space left on device",
        "the disk is full. Free some space in the cache folder, then run this again",
        final=True,
    ),
    _Meaning(
        r"out of memory",
        f"git would need more than {git_limits.MEMORY_BYTES // 1024**3} GiB of memory for what its server sends, which "
        "is the limit. Check the address; if it is right, clone it by hand and give the clone's folder",
        final=True,
    ),
    _GONE,
    _Meaning(
        r"maximum \(\d+\) redirects|unable to update url base from redirection|returned error: 30\d",
        "it is redirected without an end, or to where git does not follow. Give the address that it has now",
        final=True,
    ),
    _Meaning(
        r"protocol \S* (?:is )?(?:not supported|disabled)|transport \S* not allowed",
        "it leads to an address of a kind that gymforge does not fetch from. Give its https or ssh address",
        final=True,
    ),
    _Meaning(
        r"returned error: (?:408|425|429|5\d\d)",
        "its server fails or is overloaded. Run this again a little later",
        final=True,
        transient=True,
    ),
    _Meaning(
        r"bad line length|bad band",
        "what answers there does not speak Git's protocol. Check the address, and any proxy",
    ),
    _Meaning(
        r"connection refused|timed out|timeout|couldn't connect|could not connect|failed to connect|unreachable|"
        r"connection reset|connection (?:was )?closed|remote end hung up|early eof|operation too slow|"
        r"unexpected disconnect|transfer closed|(?:recv|send) (?:failure|error)|empty reply from server|"
        r"non-properly terminated|unexpected eof|not closed cleanly|expected flush after|broken pipe|"
        r"expected 'packfile'|unexpected end of file|bytes of (?:length header|body) (?:are|was) (?:still )?expected",
        "its host does not answer, or the connection broke. Check the network and any proxy, then run this again",
        final=True,
        transient=True,
    ),
    _Meaning(
        r"lacks these prerequisite commits",
        "it is an incremental bundle and needs commits that it does not hold. Make a complete one: "
        "git bundle create FILE --all",
    ),
    _Meaning(
        r"pack (?:is corrupted|has bad object|has junk|signature mismatch)|inflate|bad pack|index-pack|"
        r"sha1 (?:mismatch|did not match)|unpack-objects|corrupt|unresolved deltas",
        "its server sends damaged data. Run this again; if it stays so, its owner must repair it (git fsck)",
    ),
    _Meaning(
        r"lazy fetching disabled|promisor|missing blob object",
        "it is a partial clone and lacks some objects. Give the address that it was cloned from instead",
    ),
    _Meaning(
        r"repository .*not found|not a git repository|does not appear to be a git repository|returned error: 404|"
        r"not valid: is this a git repository|no such repository|project you were looking for could not be found",
        "there is no Git repository at this address. Check its spelling",
    ),
    _Meaning(
        r"certificate|\bssl\b|\btls\b|\bgnutls",
        "its certificate is not trusted here. Point GIT_SSL_CAINFO or git's http.sslCAInfo at your network's "
        "certificates",
        final=True,
    ),
    _Meaning(
        r"protocol error|invalid ls-refs|unknown object format|expected .*, got|unexpected .* packet|"
        r"returned error: \d\d\d",
        "what answers there does not speak Git's protocol. Check the address, and any proxy",
    ),
)
# Names of a stranger's repository and host say nothing about what failed.
_ADDRESS = re.compile(r"'[a-z]+://[^'\n]*'|\b[a-z]+://\S+")


def scrub(text: str) -> str:
    """`text` without passwords, tokens and user names in URLs."""
    text = _USERINFO.sub("", text)
    text = _SECRET_PARAMETER.sub(r"\1***", text)
    text = _SECRET_HEADER.sub(r"\1***", text)
    return _TOKEN.sub("***", text)


def explain(stderr: str, *, address: str) -> str:
    """Why git failed and what to do next, for a message that begins with what was tried."""
    detail = _essence(stderr[-_MAX_READ:])
    meaning = _meaning(stderr)
    return f"{meaning.text.format(address=address)} (git: {detail})" if meaning else f"git says: {detail}"


def is_final(stderr: str) -> bool:
    """Whether another way of asking the same server cannot help."""
    meaning = _meaning(stderr)
    return meaning is not None and meaning.final


def is_transient(stderr: str) -> bool:
    """Whether the same request may succeed a little later."""
    meaning = _meaning(stderr)
    return meaning is not None and meaning.transient


def is_gone(stderr: str) -> bool:
    """Whether the server answered, and does not have the object that it was asked for."""
    return _meaning(stderr) is _GONE


def _meaning(stderr: str) -> _Meaning | None:
    told = _ADDRESS.sub("", stderr[-_MAX_READ:])
    return next((one for one in _MEANINGS if re.search(one.pattern, told, re.IGNORECASE)), None)


def _essence(stderr: str) -> str:
    lines = [line.strip() for line in scrub(stderr).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: ", "ssh:"))] or lines
    return " / ".join(telling)[-_MAX_DETAIL:] or "nothing"
