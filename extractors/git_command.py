"""Run git, through GitPython and nowhere else, so that no hook, filter, prompt or stray setting takes part.

Git and all that it starts end at the latest when this process does, however that ends.
"""

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple, cast

from extractors import git_limits
from extractors.git_watch import Bounds, Stopped, end_group, watch
from schemas.errors import CloneFailed

if TYPE_CHECKING:
    from io import BufferedReader
    from subprocess import Popen

    from git.cmd import Git

# Git's own list (`git rev-parse --local-env-vars`): set when gymforge is called from a hook, they would point our
# commands at the caller's repository.
_CALLERS_REPOSITORY = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
)  # fmt: skip

# Nothing that a repository or a user's configuration names may run, and bytes come out as they went in.
_SETTINGS = {
    "core.hooksPath": os.devnull, "core.fsmonitor": "false", "core.attributesFile": os.devnull,
    "core.autocrlf": "false", "core.eol": "lf", "core.symlinks": "true", "core.fileMode": "true",
    "core.sparseCheckout": "false", "submodule.recurse": "false", "fetch.recurseSubmodules": "false",
    "fetch.fsckObjects": "false", "log.showSignature": "false", "gc.auto": "0", "maintenance.auto": "false",
    "http.lowSpeedLimit": "1",
}  # fmt: skip

# Credentials come from git's helpers alone: no prompt on any terminal or window. Protocols that run a program of the
# address's choice (`ext::`) stay off.
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never", "GIT_LFS_SKIP_SMUDGE": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh", "GIT_PROTOCOL_FROM_USER": "0", "GIT_ATTR_NOSYSTEM": "1",
}  # fmt: skip

# Git's parent, the leader of its group. Standard input is a pipe that nobody writes to and that only gymforge can write
# to: its end is the end of gymforge, and then the group's. (The kernel's own signal of a parent's death comes when the
# thread that started a process ends.) Git's status comes out, as a shell tells it; the shell itself says nothing.
# Memory that a server can make git ask for is bounded; packs that git maps do not count.
_KEEPER = """
ulimit -d "$0" || exit
exec 3<&0 4>&2 </dev/null 2>/dev/null
(exec <&3 >/dev/null 3<&- 4>&-; read -r end; kill -KILL 0) &
env "$@" 2>&4 3<&- 4>&-
status=$?
kill -KILL $!
wait
exit $status
"""

_CHUNK_BYTES = 1024 * 1024


class GitAnswer(NamedTuple):
    status: int
    stdout: str
    """Bytes that are not UTF-8 are surrogate escapes."""
    stderr: str
    """May hold credentials: for `extractors.git_failures` alone."""
    stopped: Stopped | None = None
    """Set where git was ended for going too far."""


def run_git(
    git_dir: Path | None,
    *arguments: str,
    transport: bool = False,
    environment: dict[str, str] | None = None,
    bounds: Bounds | None = None,
) -> GitAnswer:
    """Run one git command; a failure is an answer, not an exception.

    `git_dir` is the repository, `None` for commands that need none. `transport` says that it may talk to another
    repository.

    Raises:
        CloneFailed: git is not installed.
    """
    client = _client()
    ssh = {"GIT_SSH_COMMAND": _ssh_command(client)} if transport else {}
    command = _command(client, git_dir, arguments, keep=frozenset(environment or ()))
    with _started(client, command, {**_ENVIRONMENT, **ssh, **(environment or {})}) as process:
        done = watch(process, bounds or Bounds(git_limits.FETCH_S))
    stdout, stderr = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
    return GitAnswer(done.status, stdout, stderr, done.stopped)


def read_git(git_dir: Path, *arguments: str, each: Callable[[str], None]) -> GitAnswer:
    """Run a git command that reads, and hand over its NUL-terminated records while it runs.

    However much git would print, only one record is held; an exception of `each` ends git and passes on.

    Raises:
        CloneFailed: git is not installed.
    """
    client = _client()
    with _started(client, _command(client, git_dir, arguments), _ENVIRONMENT) as process:
        stdout, stderr_pipe = cast("BufferedReader", process.stdout), cast("BufferedReader", process.stderr)
        try:
            rest = b""
            while chunk := stdout.read1(_CHUNK_BYTES):
                *records, rest = (rest + chunk).split(b"\0")
                for record in records:
                    each(record.decode("utf-8", "surrogateescape"))
            stderr = stderr_pipe.read().decode("utf-8", "replace")
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            end_group(process)
    return GitAnswer(process.returncode, "", stderr)


@contextmanager
def _started(client: "Git", command: list[str], environment: dict[str, str]) -> "Iterator[Popen[bytes]]":
    """Start the leader of a group that ends, at the latest, with the block or with this process."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb"):
        with os.fdopen(reading, "rb") as life:
            started = client.execute(command, env=environment, istream=life, as_process=True, start_new_session=True)
        yield cast("Popen[bytes]", started.proc)


def _command(
    client: "Git", git_dir: Path | None, arguments: Sequence[str], *, keep: frozenset[str] = frozenset()
) -> list[str]:
    """The whole command line; variables of the caller's repository are shed, except those to `keep`."""
    shed = [part for name in _CALLERS_REPOSITORY if name in os.environ.keys() - keep for part in ("-u", name)]
    silence = {"http.lowSpeedTime": str(git_limits.SILENT_S)}
    settings = [part for key, value in sorted({**_SETTINGS, **silence}.items()) for part in ("-c", f"{key}={value}")]
    place = ["--git-dir", str(git_dir)] if git_dir else []
    keeper = ["sh", "-c", _KEEPER, str(git_limits.MEMORY_BYTES // 1024)]
    return [*keeper, *shed, str(client.GIT_PYTHON_GIT_EXECUTABLE), *settings, *place, *arguments]


def _client() -> "Git":
    try:
        from git.cmd import Git
    except ImportError as error:
        msg = f"git cannot be run ({str(error).splitlines()[0]}); install git 2.39 or newer and have it on PATH"
        raise CloneFailed(msg) from None
    # In the root folder, a command without a repository of its own finds none around it.
    return Git("/")


def _ssh_command(client: "Git") -> str:
    """The user's own ssh, told not to ask questions."""
    configured = os.environ.get("GIT_SSH_COMMAND") or shlex.quote(os.environ.get("GIT_SSH", ""))
    if configured == "''":
        query = [str(client.GIT_PYTHON_GIT_EXECUTABLE), "config", "--get", "core.sshCommand"]
        _, stdout, _ = client.execute(query, with_extended_output=True, with_exceptions=False)
        configured = str(stdout).strip() or "ssh"
    # Other programs (plink) spell their options otherwise.
    return f"{configured} -oBatchMode=yes" if PurePath(shlex.split(configured)[0]).name == "ssh" else configured
