"""Move `/env` and `/testbed` out of a sandbox as one archive, and a stored work tree into its writable place."""

from collections.abc import Callable

from schemas.errors import SandboxFailed
from validation.sandbox.client import AgentSandbox
from validation.sandbox.protocol import ENV_DIR, TESTBED, CommandResult, Sandbox

STORED_TESTBED = "/gymforge/testbed"
"""Where a stored work tree lies inside, read-only; `/testbed` becomes a writable copy of it."""

MAX_STORED_BYTES = 16 * 1024**3
"""Past this nothing is stored: a stream may be longer than the disk that it comes from."""

_TAR = (
    'exec tar --create --file="/dev/fd/$GYMFORGE_CHANNEL_FD" --directory=/ --format=gnu --sort=name --sparse '
    "--owner=1000 --group=1000 --numeric-owner "
    # Names of entries and of hard links move to the stored place; targets of symbolic links stay as they are.
    f"--transform='flags=rh;s,^{TESTBED[1:]},{STORED_TESTBED[1:]},' {ENV_DIR[1:]} {TESTBED[1:]}"
)
_PROGRAMS = {"PATH": "/usr/bin:/bin"}
"""The system's programs, not those of the environment."""
_PACK_S = 1800.0
_COPY_S = 600.0


def pack(sandbox: Sandbox, sink: Callable[[bytes], object]) -> None:
    """Send a tar with `env/` and `gymforge/testbed/` to `sink`, piece by piece.

    Raises:
        TypeError: the sandbox is of another kind.
        SandboxFailed: the sandbox died, or its files cannot be packed.
    """
    if not isinstance(sandbox, AgentSandbox):
        raise TypeError(f"{type(sandbox).__name__} is not a sandbox of this backend")
    result = sandbox.stream(
        ["/bin/sh", "-c", _TAR],
        sink,
        timeout_s=_PACK_S,
        cwd="/",
        environment=_PROGRAMS,
        max_channel_bytes=MAX_STORED_BYTES,
    )
    _require_success(result, "The environment could not be packed")


def copy_testbed(sandbox: AgentSandbox) -> None:
    """Fill `/testbed` from the stored work tree.

    Raises:
        SandboxFailed: the sandbox died, or the tree does not fit.
    """
    command = ["/bin/cp", "-a", "--", f"{STORED_TESTBED}/.", TESTBED]
    result = sandbox.run(command, timeout_s=_COPY_S, cwd="/", environment=_PROGRAMS)
    _require_success(result, "The stored testbed could not be copied into a sandbox (raise its disk limit?)")


def _require_success(result: CommandResult, what: str) -> None:
    if result.exit_code != 0:
        end = "ran out of time" if result.timed_out else f"exit status {result.exit_code}"
        raise SandboxFailed(f"{what}: {end}. {result.stderr.decode(errors='replace')[-2000:]}")
