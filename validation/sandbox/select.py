"""Choose the sandbox backend: Docker where its engine answers, else the local one, never none."""

from collections.abc import Callable
from pathlib import Path

from schemas.errors import GymforgeError, InvalidInput, MissingExtra, SandboxUnavailable
from validation.sandbox.probe import Probe, ProbeStatus, probe
from validation.sandbox.protocol import SandboxBackend

__all__ = ["Probe", "ProbeStatus", "open_backend", "probe"]

AUTO = "auto"


def open_backend(kind: str, *, cache_dir: Path) -> SandboxBackend:
    """The backend of this name; `auto` takes Docker when its engine answers, else local.

    Raises:
        InvalidInput: there is no backend of this name.
        MissingExtra: Docker was asked for and its SDK is not installed.
        SandboxUnavailable: what was asked for cannot isolate on this machine; the message says what to install.
    """
    backends: dict[str, Callable[[Path], SandboxBackend]] = {"docker": _docker, "local": _local}
    if kind in backends:
        return backends[kind](cache_dir)
    if kind != AUTO:
        raise InvalidInput(f"There is no sandbox {kind!r}; choose one of {', '.join([AUTO, *backends])}")
    problems: list[GymforgeError] = []
    for make in backends.values():
        try:
            return make(cache_dir)
        except (MissingExtra, SandboxUnavailable) as error:
            problems.append(error)
    raise SandboxUnavailable("Untrusted code runs in a sandbox or not at all. " + " ".join(map(str, problems)))


def _docker(_cache_dir: Path) -> SandboxBackend:
    from validation.sandbox.docker import DockerBackend

    return DockerBackend()


def _local(cache_dir: Path) -> SandboxBackend:
    from validation.sandbox.local import LocalBackend

    return LocalBackend(cache_dir=cache_dir)
