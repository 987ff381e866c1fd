"""The content-addressed store of distributions: a file with a known hash is fetched once, whoever needs it."""

import contextlib
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from schemas.errors import EnvironmentFailed
from schemas.model import Model
from validation.downloads import Downloader

PARALLEL_DOWNLOADS = 4
_LEFTOVER_S = 24 * 3600


class Wheel(Model):
    """A pinned wheel: what it is, and where its bytes come from."""

    name: str
    """Normalised project name."""
    version: str
    filename: str
    url: str
    """`https:`, `http:` or `file:`; without credentials."""
    sha256: str = ""
    """Empty where the index does not say."""

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"


class Fetched(NamedTuple):
    """Wheels on disk, and how many of them had to be downloaded."""

    paths: tuple[Path, ...]
    """In the order asked for."""
    downloaded: int


class Wheelhouse:
    """Distributions under a cache folder, by hash; several processes may use it at once."""

    def __init__(self, cache_dir: Path) -> None:
        self._files = cache_dir / "distributions"
        self._built = cache_dir / "built-wheels"
        self._unfinished = cache_dir / "unfinished"

    def fetch(self, wheels: Sequence[Wheel], downloader: Downloader) -> Fetched:
        """Bring wheels here, those that are missing in parallel.

        Raises:
            EnvironmentFailed: one cannot be had, or its bytes are not those that the index promised.
        """
        missing = [wheel for wheel in wheels if not self._held(wheel)]
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            fresh = dict(zip(missing, pool.map(lambda wheel: self._download(wheel, downloader), missing), strict=True))
        paths = tuple(fresh[wheel] if wheel in fresh else self._place(wheel.sha256, wheel.filename) for wheel in wheels)
        return Fetched(paths, downloaded=len(missing))

    def fetch_file(self, url: str, filename: str, sha256: str, downloader: Downloader) -> Path:
        """Bring one file of any kind here (a source distribution); nothing in it is run or unpacked.

        Raises:
            EnvironmentFailed: as for `fetch`.
        """
        if not sha256 or not self._place(sha256, filename).is_file():
            return self._save(url, filename, sha256, downloader)
        return self._place(sha256, filename)

    def built_folder(self, key: str) -> Path:
        """The folder of the one wheel that was built from a source distribution; it may not exist yet."""
        return self._built / key

    def add_built(self, key: str, filename: str, content: bytes) -> Path:
        """Keep a wheel that a sandbox built from a source distribution.

        Raises:
            EnvironmentFailed: the name is not a wheel's.
        """
        _checked_name(filename)
        folder = self.built_folder(key)
        folder.mkdir(parents=True, exist_ok=True)
        handle, unfinished = self._open_unfinished()
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        unfinished.replace(folder / filename)
        return folder / filename

    def _held(self, wheel: Wheel) -> bool:
        return bool(wheel.sha256) and self._place(wheel.sha256, wheel.filename).is_file()

    def _download(self, wheel: Wheel, downloader: Downloader) -> Path:
        _checked_name(wheel.filename)
        return self._save(wheel.url, wheel.filename, wheel.sha256, downloader)

    def _save(self, url: str, filename: str, sha256: str, downloader: Downloader) -> Path:
        handle, unfinished = self._open_unfinished()
        try:
            with os.fdopen(handle, "w+b") as file:
                digest = downloader.download(url, file)
            if sha256 and digest != sha256:
                message = f"{filename} has SHA-256 {digest}, and the index promised {sha256}"
                raise EnvironmentFailed(f"{message}. The download is damaged or was tampered with: try again")
            place = self._place(digest, filename)
            place.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
        return place

    def _open_unfinished(self) -> tuple[int, Path]:
        self._unfinished.mkdir(parents=True, exist_ok=True)
        # What a killed process left; a download that still runs is younger.
        for leftover in self._unfinished.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _LEFTOVER_S:
                    leftover.unlink()
        handle, name = tempfile.mkstemp(dir=self._unfinished)
        return handle, Path(name)

    def _place(self, sha256: str, filename: str) -> Path:
        # A filename comes from an index: only its last part counts.
        return self._files / sha256[:2] / sha256 / Path(filename).name


def _checked_name(filename: str) -> None:
    try:
        parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise EnvironmentFailed(f"{filename!r} is not the name of a wheel: {error}. Check the index") from error
