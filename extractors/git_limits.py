"""How far a source may go: the size of a tree, counted before it is written, and what a server may take of us."""

from schemas.errors import CloneFailed

MAX_DEPTH = 100
"""Folders inside each other; deeper, Python's own functions that walk or remove a tree give up."""
MAX_FILES = 200_000
MAX_FOLDERS = 200_000
MAX_BYTES = 4 * 1024**3
MAX_COPY_BYTES = 16 * 1024**3
"""The cached copy of one source."""
MAX_SAID_BYTES = 256 * 1024**2
"""What git may print in one command: names of branches and tags, and messages of the server."""
MEMORY_BYTES = 4 * 1024**3
"""Of each git process; files that are mapped do not count."""
MAX_PROCESSES = 40
"""That one git command may have at a time, with the two that keep it."""
SILENT_S = 120
"""An http server may send nothing for so long."""
LISTING_S = 300
"""For the names of branches and tags."""
FETCH_S = 3600
"""For every other git command."""
_SHOWN = 80


class TreeRoom:
    """What one tree may still hold; its submodules draw on the same room."""

    def __init__(self, address: str) -> None:
        """`address` is the source, for messages."""
        self._address = address
        self._files = 0
        self._folders = 0
        self._bytes = 0

    def take(self, path: str, *, is_folder: bool, size_bytes: int) -> None:
        """Count one entry; `path` counts from the root of the whole tree.

        Raises:
            CloneFailed: the tree is deeper or larger than gymforge writes.
        """
        self._files += not is_folder
        self._folders += is_folder
        self._bytes += size_bytes
        if path.count("/") > MAX_DEPTH:
            raise self._refusal(f"nests folders more than {MAX_DEPTH} deep", path)
        if self._files > MAX_FILES:
            raise self._refusal(f"holds more than {MAX_FILES} files", path)
        if self._folders > MAX_FOLDERS:
            raise self._refusal(f"holds more than {MAX_FOLDERS} folders", path)
        if self._bytes > MAX_BYTES:
            raise self._refusal(f"holds more than {MAX_BYTES // 1024**3} GiB of files", path)

    def take_bytes(self, path: str, size_bytes: int) -> None:
        """Count what files turned out to hold, where their sizes were not known before.

        Raises:
            CloneFailed: as `take`.
        """
        self._bytes += size_bytes
        if self._bytes > MAX_BYTES:
            raise self._refusal(f"holds more than {MAX_BYTES // 1024**3} GiB of files", path)

    @property
    def left_bytes(self) -> int:
        """What files may still be written, where their sizes were not known before."""
        return MAX_BYTES - self._bytes

    def _refusal(self, what: str, path: str) -> CloneFailed:
        message = f"the tree of {self._address} {what} (at {path[:_SHOWN]!r}), which is more than gymforge writes"
        return CloneFailed(f"{message}. Give another --ref, or take that part out of the repository in a fork")
