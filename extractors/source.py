"""What a SOURCE on the command line means: its kind, its address without credentials, its name; no Git is run."""

import re
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from schemas.errors import InvalidInput

REMOTE_SCHEMES = ("https", "http", "ssh", "git")
LOCAL_OWNER = "local"

_SCP_ADDRESS = re.compile(r"^(?P<user>[A-Za-z0-9_.-]+@)?(?P<host>[A-Za-z0-9_.-]+):(?!//|:)(?P<path>.+)$")
_BUNDLE_SIGNATURE = re.compile(rb"# v[23] git bundle\n")
_FORMS = "an https or ssh URL, a local repository, a file:// URL or a git bundle"


class SourceKind(StrEnum):
    REMOTE = "remote"
    DIRECTORY = "directory"
    """A repository on this machine, with a work tree or bare."""
    BUNDLE = "bundle"


class Source(NamedTuple):
    kind: SourceKind
    address: str
    """What git is given: a URL without credentials, or an absolute path."""
    name: str
    """`owner/repo`; the owner is `local` where the source has none."""
    url: str
    """What may be recorded: the address of a remote, `local/NAME` for anything on this machine."""


def parse_source(source: str) -> Source:
    """The repository that a user means by `source`.

    Credentials and query strings in a URL are dropped: they come from git's own helpers alone.

    Raises:
        InvalidInput: `source` has none of the forms, or no repository lies there.
    """
    if not source.strip() or not source.isprintable() or source.startswith("-"):
        msg = f"SOURCE {strip_credentials(source)!r} is not an address; give {_FORMS}"
        raise InvalidInput(msg)
    scheme = source.partition("://")[0].lower() if "://" in source else ""
    if scheme == "file":
        return _file_url(source)
    if scheme:
        return _remote_url(source, scheme)
    if re.match(r"[^/@:]+:[^/@]*@", source):
        msg = "SOURCE seems to hold a password; credentials come from git's own helpers: write USER@HOST:PATH"
        raise InvalidInput(msg)
    scp = _SCP_ADDRESS.match(source)
    if scp and not Path(source).exists():
        address = source.rstrip("/")
        return Source(SourceKind.REMOTE, address, repository_name(scp["path"]), address)
    return _local(Path(source).expanduser(), source)


def strip_credentials(url: str) -> str:
    """A URL without user, password, query and fragment; the user of an ssh URL stays, for it is part of the address.

    Anything that is not a URL comes back as it is.
    """
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"://[^/]*@", "://", url)
    userinfo, _, host = parts.netloc.rpartition("@")
    user = userinfo.partition(":")[0] if parts.scheme.lower() == "ssh" else ""
    return urlunsplit((parts.scheme, f"{user}@{host}" if user else host, parts.path, "", ""))


def repository_name(path: str) -> str:
    """`owner/repo` from the path of an address; only characters that are safe in file names and image names."""
    parts = [part for part in unquote(path).split("/") if part.strip(".")]
    repo = _safe_name(parts[-1].removesuffix(".git") if parts else "")
    owner = _safe_name(parts[-2]) if len(parts) > 1 else LOCAL_OWNER
    return f"{owner}/{repo}"


def resolve_relative(base: str, url: str) -> str:
    """A submodule's address: `./x` and `../x` count from the address of the repository that holds it, as in git."""
    if not url.startswith(("./", "../")):
        return url
    base = base.rstrip("/")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            head, separator, _ = base.rpartition("/")
            if not separator:  # host:repo/..
                head = base.partition(":")[0] + ":" if ":" in base else ""
            base = head
            url = url[3:]
        else:
            url = url[2:]
    return f"{base}{url}" if base.endswith(":") else f"{base}/{url}"


def _safe_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "repository"


def _remote_url(source: str, scheme: str) -> Source:
    if scheme not in REMOTE_SCHEMES:
        msg = f"SOURCE has the scheme {scheme!r}, which gymforge does not fetch from; give {_FORMS}"
        raise InvalidInput(msg)
    address = strip_credentials(source).rstrip("/")
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError as error:
        msg = f"SOURCE is not a well-formed URL ({error}); give {_FORMS}"
        raise InvalidInput(msg) from None
    if not host or host.startswith("-") or not parts.path.strip("/"):
        msg = f"SOURCE {address} names no repository; give {_FORMS}"
        raise InvalidInput(msg)
    return Source(SourceKind.REMOTE, address, repository_name(parts.path), address)


def _file_url(source: str) -> Source:
    parts = urlsplit(source)
    if parts.netloc not in {"", "localhost"}:
        msg = (
            f"SOURCE {strip_credentials(source)} names a host; a file URL has three slashes: file:///path/to/repository"
        )
        raise InvalidInput(msg)
    return _local(Path(unquote(parts.path)), source)


def _local(path: Path, source: str) -> Source:
    if not path.exists():
        hint = f"; did you mean https://github.com/{source}?" if re.fullmatch(r"[\w.-]+/[\w.-]+", source) else ""
        msg = f"SOURCE {source}: there is no such file or folder{hint or f'; give {_FORMS}'}"
        raise InvalidInput(msg)
    path = path.resolve()
    if path.is_file():
        return _bundle(path)
    if not (path / ".git").exists() and not is_git_directory(path):
        msg = (
            f"SOURCE {source} is a folder without a Git repository in its root; "
            "give the repository's root, or make one: git init, git add, git commit"
        )
        raise InvalidInput(msg)
    named = path.parent if path.name == ".git" else path
    name = f"{LOCAL_OWNER}/{_safe_name(named.name.removesuffix('.git'))}"
    return Source(SourceKind.DIRECTORY, str(path), name, name)


def is_git_directory(path: Path) -> bool:
    """Whether `path` is the inside of a repository (bare, or a `.git` folder)."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def _bundle(path: Path) -> Source:
    with path.open("rb") as file:
        signature = file.read(32)
    if not _BUNDLE_SIGNATURE.match(signature):
        msg = f"SOURCE {path.name} is a file, but not a git bundle; make one with `git bundle create FILE --all`"
        raise InvalidInput(msg)
    name = f"{LOCAL_OWNER}/{_safe_name(path.name.removesuffix('.bundle').removesuffix('.git'))}"
    return Source(SourceKind.BUNDLE, str(path), name, name)
