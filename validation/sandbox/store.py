"""Environments of the local sandbox in a cache folder: added whole or not at all, without trusting what is in them."""

import errno
import os
import re
import secrets
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from schemas.errors import InvalidInput, SandboxFailed, StorageFailed
from validation.sandbox import bubblewrap
from validation.sandbox.packing import STORED_TESTBED, pack
from validation.sandbox.protocol import Sandbox
from validation.sandbox.untrusted_files import delete, walk

_INVENTORY = "inventory"
_UNPACKED = "/unpacked"
_TRASH = ".trash-"
_PARTIAL = ".partial-"
_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SAFE = re.compile(r"[^A-Za-z0-9_.-]")

_Sink = Callable[[bytes], object]


class EnvironmentStore:
    """`root/NAME/{env,gymforge/testbed,inventory}`; a folder that has its final name was complete when it got it."""

    def __init__(self, root: Path, bwrap: str) -> None:
        self._root = root
        self._bwrap = bwrap

    def folder(self, image: str) -> Path:
        """Where an environment of this name lies or would lie.

        Raises:
            InvalidInput: the name is empty or starts with a dot.
        """
        if not image or image.startswith("."):
            raise InvalidInput(f"{image!r} cannot be the name of an environment")
        return self._root / _SAFE.sub(lambda match: f"%{ord(match.group()):02x}", image)

    def find(self, image: str) -> Path:
        """The folder of a stored environment.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        folder = self.folder(image)
        if not folder.is_dir():
            raise FileNotFoundError(f"No environment {image!r} is stored in {self._root}; build it first")
        return folder

    def holds(self, image: str) -> bool:
        """Whether an environment of this name is stored with all its files; looks at the size of each."""
        folder = self.folder(image)
        try:
            return (folder / _INVENTORY).read_text() == _inventory(folder)
        except OSError:
            return False

    def add(self, sandbox: Sandbox, image: str) -> int:
        """Keep a sandbox's environment and work tree; returns the size in bytes.

        Raises:
            SandboxFailed: it could not be packed or unpacked, or its files cannot be kept.
            StorageFailed: the cache's disk is full or read-only.
        """
        return self._keep(lambda sink: pack(sandbox, sink), image)

    def receive(self, pieces: Iterable[bytes], image: str) -> int:
        """Keep what was packed on another machine; otherwise as `add`."""

        def write(sink: _Sink) -> None:
            for piece in pieces:
                sink(piece)

        return self._keep(write, image)

    def _keep(self, send: Callable[[_Sink], None], image: str) -> int:
        try:
            return self._add(send, image)
        except StorageFailed:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in _DISK_REFUSES:
                raise _full(self._root, reason) from error
            raise SandboxFailed(f"The environment could not be stored in {self._root}: {reason}") from error

    def _add(self, send: Callable[[_Sink], None], image: str) -> int:
        folder = self.folder(image)
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep()
        partial = self._root / f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(6)}"
        partial.mkdir(mode=0o700)
        try:
            self._unpack(send, partial)
            _refuse_strange(partial)
            size_bytes = _make_tame(partial)
            (partial / _INVENTORY).write_text(_inventory(partial))
            subprocess.run(["/bin/sync", "--file-system", str(partial)], check=False)  # a crash must not tear files
            self._put_in_place(partial, folder)
        finally:
            delete(partial)
        return size_bytes

    def remove(self, image: str) -> None:
        """Forget an environment: first its name, then its files."""
        trash = self._root / f"{_TRASH}{os.getpid()}-{secrets.token_hex(6)}"
        with suppress(FileNotFoundError):
            self.folder(image).rename(trash)
            delete(trash)

    def _unpack(self, send: Callable[[_Sink], None], destination: Path) -> None:
        """Unpack inside a sandbox of its own, where the archive can reach nothing but its destination."""
        mount = bubblewrap.Mount(str(destination), _UNPACKED, writable=True)
        arguments = [*bubblewrap.base_arguments(), "--bind", mount.source, mount.target, "--remount-ro", "/"]
        tar = [
            "/bin/tar",
            "--extract",
            "--file=-",
            f"--directory={_UNPACKED}",
            "--no-same-owner",
            "--delay-directory-restore",
        ]
        # Its complaints go to a file: on a full disk tar has one for each entry, and a full pipe would stop it.
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                [self._bwrap, *arguments, "--", *tar],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
                umask=0o022,
            ) as unpacking:
                assert unpacking.stdin is not None
                try:
                    with suppress(BrokenPipeError):  # tar has given up: it says why
                        send(unpacking.stdin.write)
                        unpacking.stdin.close()
                except BaseException:
                    unpacking.kill()
                    raise
            errors.seek(0)
            complaint = _shortened(errors.read(64 * 1024).decode(errors="replace"))
        if unpacking.returncode != 0:
            if any(os.strerror(number) in complaint for number in _DISK_REFUSES):
                raise _full(self._root, complaint.splitlines()[0])
            raise SandboxFailed(f"The environment could not be stored: {complaint}")

    def _sweep(self) -> None:
        """Delete what processes left that were killed while they stored or removed."""
        for stray in sorted([*self._root.glob(f"{_PARTIAL}*"), *self._root.glob(f"{_TRASH}*")]):
            owner = stray.name.removeprefix(_PARTIAL).removeprefix(_TRASH).split("-")[0]
            if not Path("/proc", owner).exists():
                delete(stray)

    def _put_in_place(self, partial: Path, folder: Path) -> None:
        while True:
            try:
                partial.rename(folder)
            except OSError:  # another run stored it first, or it is stored anew
                trash = self._root / f"{_TRASH}{os.getpid()}-{secrets.token_hex(6)}"
                with suppress(FileNotFoundError):
                    folder.rename(trash)
                    delete(trash)
            else:
                return


def _shortened(complaint: str) -> str:
    """The first lines, each with its end, where tar gives the reason: the path before that may have any length."""
    lines = complaint.strip().splitlines()[:10]
    return "\n".join(line if len(line) <= 400 else f"{line[:200]}...{line[-200:]}" for line in lines)


def _full(folder: Path, reason: str) -> StorageFailed:
    return StorageFailed(
        f"The environment cannot be stored in {folder}: {reason}. Free space there, or name another cache folder in "
        "GYMFORGE_CACHE_DIR, then run the same command again: what is finished is kept."
    )


def _refuse_strange(partial: Path) -> None:
    """A link in place of a folder would show a sandbox the host's own files; one for the inventory leads it astray."""
    for path in (*partial.iterdir(), partial / STORED_TESTBED[1:]):
        if path.is_symlink() or path.name not in ("env", "gymforge", "testbed"):
            raise SandboxFailed(f"The environment could not be stored: {path.name!r} in its archive is not its own")


class _File(NamedTuple):
    name: str
    folder: int
    """A descriptor; the name is looked up below it."""
    info: os.stat_result


def _files(root: Path, *, tame: bool = False) -> Iterator[_File]:
    """Every file below `root`, but for links to folders."""
    for folder in walk(root, tame=tame):
        for name in folder.others:
            info = os.lstat(name, dir_fd=folder.descriptor)
            if not (stat.S_ISLNK(info.st_mode) and _leads_to_folder(name, folder.descriptor)):
                yield _File(name, folder.descriptor, info)


def _leads_to_folder(link: str, folder: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(link, dir_fd=folder).st_mode)
    except OSError:
        return False


def _inventory(root: Path) -> str:
    """How many files an environment has and how many bytes are in them: what is lost or cut short shows."""
    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]  # beside them is itself
    sizes = [file.info.st_size for folder in folders for file in _files(folder)]
    return f"{len(sizes)} files, {sum(sizes)} bytes\n"


def _make_tame(root: Path) -> int:
    """Take set-user-id bits away and let the owner clean up later; returns the bytes of all files."""
    size_bytes = 0
    for name, folder, info in _files(root, tame=True):
        size_bytes += info.st_size
        if stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
            os.chmod(name, stat.S_IMODE(info.st_mode) & 0o777, dir_fd=folder)
    return size_bytes
