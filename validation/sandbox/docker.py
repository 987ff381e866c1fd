"""The Docker sandbox: one locked-down container for each sandbox, the agent as its main process."""

import contextlib
import functools
import hashlib
import io
import json
import os
import socket
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from schemas.errors import MissingExtra, SandboxFailed, SandboxUnavailable
from schemas.repo import SandboxKind
from validation.sandbox.attach import AttachedAgent
from validation.sandbox.client import AGENT_PATH, SHARED, AgentSandbox, agent_config, writable_folders
from validation.sandbox.engine import Engine
from validation.sandbox.interpreters import FIND_INSIDE
from validation.sandbox.packing import copy_testbed, pack
from validation.sandbox.protocol import Interpreter, Limits, PlatformInfo, Sandbox

DEFAULT_BASE_IMAGE = "debian:bookworm-slim"
BASE_IMAGE_VARIABLE = "GYMFORGE_BASE_IMAGE"
RUN_LABEL = "gymforge.run"
"""Label of every container: which process owns it, so that what a killed run left can be found."""

INSTALL_HINT = (
    "Install a Docker Engine and start it (https://docs.docker.com/engine/install; on Debian `apt install docker.io`), "
    "see that `docker version` reaches it, or use `--sandbox local`."
)

_KNOCK_S = 10
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_NEWEST_API = "1.44"
"""Newer engines are spoken to in this version of their interface."""
_PLATFORM_S = 120
_SPARE_PROCESSES = 4
"""The agent and the engine's helpers, beside those of the commands."""
_SHM = "/dev/shm"  # noqa: S108 - a path inside the sandbox


class DockerBackend:
    """Sandboxes in containers of a Docker Engine; implements `SandboxBackend`."""

    kind = SandboxKind.DOCKER

    def __init__(self, *, base_image: str | None = None) -> None:
        """`base_image`: what the machine image is built on; by default `GYMFORGE_BASE_IMAGE`, else Debian's slim image.

        Raises:
            MissingExtra: the Docker SDK is not installed.
            SandboxUnavailable: no engine answers.
        """
        self._docker = _sdk()
        self._base_image = base_image or os.environ.get(BASE_IMAGE_VARIABLE) or DEFAULT_BASE_IMAGE
        self._machine = ""
        self._machine_lock = threading.Lock()
        engine = self._reach()
        self.engine_version = str(engine["Version"])
        self._engine = Engine(self._docker, api_version=str(min(engine["ApiVersion"], _NEWEST_API, key=_numbers)))
        with self._engine.told():
            self._remove_strays()

    def platform(self) -> PlatformInfo:
        """See `SandboxBackend.platform`."""
        with self.open() as sandbox:
            found = sandbox.run(["python3", "-I", "-S", "-c", FIND_INSIDE], timeout_s=_PLATFORM_S)
        lines = [json.loads(line) for line in found.stdout.splitlines() if line.startswith(b"[")]
        if not lines:
            raise SandboxFailed(
                f"No CPython runs in an image built on {self._base_image}: {found.stderr.decode()[-500:]}"
            )
        versions = {path: version for version, path, *_ in lines}
        newest = sorted(versions, key=lambda path: (_numbers(versions[path]), path), reverse=True)
        return PlatformInfo(
            interpreters=tuple(Interpreter(version=versions[path], path=path) for path in newest),
            machine=lines[0][3],
            libc=lines[0][4],
        )

    def open(
        self, image: str | None = None, *, limits: Limits | None = None, building: bool = False
    ) -> AbstractContextManager[Sandbox]:
        """See `SandboxBackend.open`; `building` starts from nothing, so it takes no `image`."""
        if building and image is not None:
            raise ValueError("A sandbox that builds starts empty: leave out the image, or `building`")
        return self._open(image, limits or Limits(), building)

    def store(self, sandbox: Sandbox, image: str) -> int:
        """See `SandboxBackend.store`; the size is that of the layer above the machine image."""
        return self._keep(lambda sink: pack(sandbox, sink), image)

    def send(self, image: str, sink: Callable[[bytes], object]) -> None:
        """See `SandboxBackend.send`."""
        with self.open(image) as sandbox:
            pack(sandbox, sink)

    def receive(self, pieces: Iterable[bytes], image: str) -> int:
        """See `SandboxBackend.receive`."""

        def write(sink: Callable[[bytes], object]) -> None:
            for piece in pieces:
                sink(piece)

        return self._keep(write, image)

    def _keep(self, send: Callable[[Callable[[bytes], object]], None], image: str) -> int:
        with self._engine.told(), tempfile.TemporaryFile() as archive, tempfile.TemporaryFile() as context:
            machine = self._machine_image()
            send(archive.write)
            dockerfile = _image_folder() / "environment.Dockerfile"
            _write_context(context, {"Dockerfile": dockerfile.read_bytes()}, archive)
            self._build(context, image, {"MACHINE": machine})
            with self._engine.connect() as api:
                sizes = [api.inspect_image(name)["Size"] for name in (image, machine)]
            return int(sizes[0] - sizes[1])

    def has(self, image: str) -> bool:
        """See `SandboxBackend.has`; a build gives its name only to a complete image."""
        self._engine.await_answer()
        with self._engine.told(), self._engine.connect() as api:
            return self._holds(api, image)

    def remove(self, image: str) -> None:
        """See `SandboxBackend.remove`."""
        missing = self._docker.errors.ImageNotFound
        with self._engine.told(), contextlib.suppress(missing), self._engine.connect() as api:
            api.remove_image(image, force=True)

    def _holds(self, api: Any, image: str) -> bool:
        try:
            api.inspect_image(image)
        except self._docker.errors.ImageNotFound:
            return False
        return True

    def _reach(self) -> Mapping[str, Any]:
        options = self._docker.utils.kwargs_from_env()
        try:
            _knock(options.get("base_url", _DEFAULT_SOCKET))
            with Engine(self._docker, api_version="auto").connect() as api:
                version: Mapping[str, Any] = api.version()
        except (self._docker.errors.DockerException, OSError) as error:
            raise SandboxUnavailable(f"No Docker Engine answers ({error}). {INSTALL_HINT}") from error
        return version

    @contextlib.contextmanager
    def _open(self, image: str | None, limits: Limits, building: bool) -> Iterator[Sandbox]:
        self._engine.await_answer()
        with self._engine.told(), self._engine.connect() as api:
            if image is not None and not self._holds(api, image):
                raise FileNotFoundError(f"No image {image!r} in this Docker Engine; build its environment first")
            machine = image or self._machine_image()
            container = self._create(api, machine, limits, building)
            try:
                with self._start(api, container) as sandbox:
                    if image is not None:
                        copy_testbed(sandbox)
                    yield sandbox
            finally:
                self._discard(api, container)

    @contextlib.contextmanager
    def _start(self, api: Any, container: str) -> Iterator[AgentSandbox]:
        """The running agent of a container; it ends when its stdin does."""
        began = time.time()
        raw = api.attach_socket(container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        api.start(container)
        sock: socket.socket = getattr(raw, "_sock", raw)
        sandbox = AgentSandbox(AttachedAgent(sock, died_of_memory=lambda: self._saw_oom(container, began)))
        try:
            sandbox.wait_ready()
            yield sandbox
        finally:
            sandbox.close()
            raw.close()
            sock.close()

    def _create(self, api: Any, image: str, limits: Limits, building: bool) -> str:
        """A container with nothing that it does not need; returns its id."""
        folders = writable_folders(limits, building=building)
        config = agent_config(limits, enforced_by_kernel=True, filesystems=tuple(folders))
        tmpfs = {
            path: f"rw,exec,nosuid,nodev,size={size},mode={'1777' if path in SHARED else '0755'},uid=1000,gid=1000"
            for path, size in folders.items()
            if path != _SHM
        }
        host_config = api.create_host_config(
            auto_remove=True,
            cap_drop=["ALL"],
            dns=["127.0.0.1"],  # or the host's resolvers would stand in /etc/resolv.conf
            dns_search=["."],
            init=False,
            ipc_mode="private",
            log_config=self._docker.types.LogConfig(type="none"),
            mem_limit=limits.memory_bytes,
            memswap_limit=limits.memory_bytes,
            network_mode="none",
            pids_limit=limits.processes + _SPARE_PROCESSES,
            read_only=True,
            security_opt=["no-new-privileges"],
            shm_size=folders[_SHM],
            tmpfs=tmpfs,
        )
        try:
            container = api.create_container(
                image,
                command=["python3", "-I", "-S", "-B", "-c", AGENT_PATH.read_text(), config.to_json()],
                entrypoint=[],
                host_config=host_config,
                hostname="gymforge",
                labels={RUN_LABEL: _run_name()},
                stdin_open=True,
                user="1000:1000",
                working_dir="/",
            )
        except self._docker.errors.ImageNotFound as error:
            raise FileNotFoundError(f"The image {image!r} is gone from this Docker Engine") from error
        return str(container["Id"])

    def _discard(self, api: Any, container: str) -> None:
        """Kill and remove at once: waiting for a polite end would take seconds from every sandbox."""
        try:
            api.remove_container(container, force=True, v=True)
        except self._docker.errors.NotFound:
            return
        except self._docker.errors.APIError as error:
            if error.status_code != 409:  # it is being removed already
                raise SandboxFailed(f"The container {container[:12]} cannot be removed: {error}") from error

    def _saw_oom(self, container: str, since: float) -> bool:
        filters = {"container": container, "event": "oom"}
        with self._engine.connect() as api:
            return any(True for _ in api.events(since=since, until=time.time() + 1, filters=filters))

    def _machine_image(self) -> str:
        """The image that every container starts from, built when the engine lacks it; named by a hash of its inputs."""
        with self._machine_lock:
            if not self._machine:
                dockerfile = (_image_folder() / "python.Dockerfile").read_bytes()
                digest = hashlib.sha256(self._base_id().encode() + dockerfile).hexdigest()
                name = f"gymforge/base:{digest[:12]}"
                with self._engine.connect() as api:
                    present = self._holds(api, name)
                if not present:
                    with tempfile.TemporaryFile() as context:
                        _write_context(context, {"Dockerfile": dockerfile}, None)
                        self._build(context, name, {"BASE_IMAGE": self._base_image})
                self._machine = name
            return self._machine

    def _base_id(self) -> str:
        try:
            with self._engine.connect() as api:
                if not self._holds(api, self._base_image):
                    api.pull(*self._docker.utils.parse_repository_tag(self._base_image))
                return str(api.inspect_image(self._base_image)["Id"])
        except self._docker.errors.APIError as error:
            raise SandboxUnavailable(
                f"The base image {self._base_image!r} is not in this Docker Engine and cannot be pulled ({error}). "
                f"Import one and name it in {BASE_IMAGE_VARIABLE}, or use `--sandbox local`."
            ) from error

    def _build(self, context: IO[bytes], tag: str, arguments: Mapping[str, str]) -> None:
        context.seek(0)
        log = ""
        with self._engine.connect() as api:
            options = {"custom_context": True, "rm": True, "forcerm": True, "decode": True}
            for line in api.build(fileobj=context, tag=tag, buildargs=dict(arguments), **options):
                log += str(line.get("stream", ""))
                if "error" in line:
                    raise SandboxFailed(
                        f"The image {tag} does not build: {line['error']}. If the engine's disk is full, free some "
                        f"(`docker system df`), then run the same command again.\n{log[-2000:]}"
                    )

    def _remove_strays(self) -> None:
        """Remove containers of runs on this machine that were killed before they could."""
        prefix, _, _ = _run_name().rpartition(":")
        with self._engine.connect() as api:
            for container in api.containers(all=True, filters={"label": RUN_LABEL}):
                machine, _, owner = container["Labels"][RUN_LABEL].rpartition(":")
                if machine == prefix and not _is_running(owner):
                    self._discard(api, container["Id"])


def _knock(url: str) -> None:
    """Fail at once and plainly where nothing listens; the SDK leaves a socket open when it finds out."""
    scheme, _, path = url.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(_KNOCK_S)
            knocking.connect(path)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _sdk() -> Any:
    try:
        import docker.errors
        import docker.types
        import docker.utils

        import docker
    except ImportError as error:
        raise MissingExtra("The Docker sandbox needs the Docker SDK: `pip install 'gymforge[docker]'`") from error
    return docker


def _image_folder() -> Path:
    """Where the Dockerfiles are: in an installed wheel beside this module, in a checkout under `docker/`."""
    wheel = Path(__file__).parent / "images"
    return wheel if wheel.is_dir() else Path(__file__).parents[2] / "docker"


def _write_context(context: IO[bytes], files: Mapping[str, bytes], archive: IO[bytes] | None) -> None:
    """A build context: the given files, and the archive as `environment.tar`; the same bytes for the same inputs."""
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        if archive is not None:
            entry = tarfile.TarInfo("environment.tar")
            entry.size = archive.seek(0, io.SEEK_END)
            archive.seek(0)
            tar.addfile(entry, archive)


@functools.cache
def _machine_name() -> str:
    """The machine and the process namespace: a process id means nothing in another."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"


def _run_name() -> str:
    return f"{_machine_name()}:{os.getpid()}-{_started(os.getpid())}"


def _is_running(owner: str) -> bool:
    pid, _, started = owner.partition("-")
    return pid.isdigit() and _started(int(pid)) == started


def _started(pid: int) -> str:
    """When a process began, in ticks of its kernel; empty where there is none. Process ids are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
