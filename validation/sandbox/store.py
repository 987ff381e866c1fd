"""Environments of the local sandbox in a cache folder: added whole or not at all, without trusting what is in them."""

import errno
import os
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from schemas.errors import InvalidInput, SandboxFailed, StorageFailed
from validation.sandbox import bubblewrap
from validation.sandbox.packing import pack
from validation.sandbox.protocol import Sandbox

_INVENTORY = "inventory"
_UNPACKED = "/unpacked"
_TRASH = ".trash-"
_PARTIAL = ".partial-"
_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SAFE = re.compile(r"[^A-Za-z0-9_.-]")


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
            SandboxFailed: it could not be packed or unpacked.
            StorageFailed: the cache's disk is full or read-only.
        """
        try:
            return self._add(sandbox, image)
        except OSError as error:
            if error.errno is None or error.errno not in _DISK_REFUSES:
                raise
            raise _full(self._root, os.strerror(error.errno)) from error

    def _add(self, sandbox: Sandbox, image: str) -> int:
        folder = self.folder(image)
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweep()
        partial = self._root / f"{_PARTIAL}{os.getpid()}-{secrets.token_hex(6)}"
        partial.mkdir(mode=0o700)
        try:
            self._unpack(sandbox, partial)
            size_bytes = _make_tame(partial)
            (partial / _INVENTORY).write_text(_inventory(partial))
            subprocess.run(["/bin/sync", "--file-system", str(partial)], check=False)  # a crash must not tear files
            self._put_in_place(partial, folder)
        finally:
            _delete(partial)
        return size_bytes

    def remove(self, image: str) -> None:
        """Forget an environment: first its name, then its files."""
        trash = self._root / f"{_TRASH}{os.getpid()}-{secrets.token_hex(6)}"
        with suppress(FileNotFoundError):
            self.folder(image).rename(trash)
            _delete(trash)

    def _unpack(self, sandbox: Sandbox, destination: Path) -> None:
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
                        pack(sandbox, unpacking.stdin.write)
                        unpacking.stdin.close()
                except BaseException:
                    unpacking.kill()
                    raise
            errors.seek(0)
            complaint = errors.read(4000).decode(errors="replace")
        if unpacking.returncode != 0:
            if any(os.strerror(number) in complaint for number in _DISK_REFUSES):
                raise _full(self._root, complaint.strip().splitlines()[0])
            raise SandboxFailed(f"The environment could not be stored: {complaint}")

    def _sweep(self) -> None:
        """Delete what processes left that were killed while they stored or removed."""
        for stray in sorted([*self._root.glob(f"{_PARTIAL}*"), *self._root.glob(f"{_TRASH}*")]):
            owner = stray.name.removeprefix(_PARTIAL).removeprefix(_TRASH).split("-")[0]
            if not Path("/proc", owner).exists():
                _delete(stray)

    def _put_in_place(self, partial: Path, folder: Path) -> None:
        while True:
            try:
                partial.rename(folder)
            except OSError:  # another run stored it first, or it is stored anew
                trash = self._root / f"{_TRASH}{os.getpid()}-{secrets.token_hex(6)}"
                with suppress(FileNotFoundError):
                    folder.rename(trash)
                    _delete(trash)
            else:
                return


def _full(folder: Path, reason: str) -> StorageFailed:
    return StorageFailed(
        f"The environment cannot be stored in {folder}: {reason}. Free space there, or name another cache folder in "
        "GYMFORGE_CACHE_DIR, then run the same command again: what is finished is kept."
    )


def _inventory(root: Path) -> str:
    """How many files an environment has and how many bytes are in them: what is lost or cut short shows."""
    files = size_bytes = 0
    for folder, _, names in os.walk(root):
        for name in names:
            if folder != str(root):  # the inventory itself
                files += 1
                size_bytes += Path(folder, name).lstat().st_size
    return f"{files} files, {size_bytes} bytes\n"


def _make_tame(root: Path) -> int:
    """Take set-user-id bits away and let the owner clean up later; returns the bytes of all files."""
    size_bytes = 0
    for folder, _, names in os.walk(root):
        Path(folder).chmod(stat.S_IMODE(os.lstat(folder).st_mode) & 0o777 | 0o700)
        for name in names:
            path = Path(folder, name)
            info = path.lstat()
            size_bytes += info.st_size
            if stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
                path.chmod(stat.S_IMODE(info.st_mode) & 0o777)
    return size_bytes


def _delete(folder: Path) -> None:
    """Delete a folder of untrusted files; links in it are removed, never followed."""
    if folder.exists():
        _make_tame(folder)
        shutil.rmtree(folder)
