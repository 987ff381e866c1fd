"""The working store of a run: what is done survives a killed process, and nothing is done twice."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from schemas.errors import DatasetDamaged, DatasetError, GymforgeError, StorageFailed

_APPLICATION_ID = 0x67_79_6D_66
_FORMAT = 1
_BUSY_S = 60.0

_TABLES = """
CREATE TABLE stages (identity TEXT, stage TEXT, payload BLOB NOT NULL, PRIMARY KEY (identity, stage)) WITHOUT ROWID;
CREATE TABLE verdicts (
    identity TEXT, candidate_id TEXT, payload BLOB NOT NULL, executions INTEGER NOT NULL,
    PRIMARY KEY (identity, candidate_id)
);
CREATE TABLE times (id INTEGER PRIMARY KEY, identity TEXT NOT NULL, stage TEXT NOT NULL, seconds REAL NOT NULL,
    at TEXT NOT NULL);
"""


class StageTime(NamedTuple):
    """How long a stage took, once."""

    stage: str
    seconds: float
    at: datetime


class Ledger:
    """One run's part of the ledger file. Every method may be called from any thread; a return means it is on disk.

    Other identities in the same file are neither seen nor touched; other processes may write at the same time.

    Raises, from every method:
        DatasetDamaged: the file is damaged.
        DatasetError: it is not a ledger, or another program holds it.
        StorageFailed: it cannot be written to (disk full, read-only).
    """

    def __init__(self, connection: sqlite3.Connection, *, path: Path, identity: str) -> None:
        self._connection = connection
        self._path = path
        self._identity = identity
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, identity: str) -> Self:
        """Open or make the file at `path`; `identity` is the hash of a run's inputs."""
        with _failures_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                with _alone(path):
                    _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path=path, identity=identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        with self._lock, _failures_named(self._path):
            self._connection.close()

    def put_stage(self, stage: str, payload: bytes | str) -> None:
        """Keep the result of a finished stage; a later one takes its place."""
        self._write("INSERT OR REPLACE INTO stages VALUES (?, ?, ?)", stage, _blob(payload))

    def get_stage(self, stage: str) -> bytes | None:
        """The result of a finished stage, `None` where it has not finished."""
        found = self._read("SELECT payload FROM stages WHERE identity = ? AND stage = ?", self._identity, stage)
        return self._payload(found)

    def record_verdict(self, candidate_id: str, payload: bytes | str, *, executions: int) -> bool:
        """Keep a candidate's verdict and how many suite runs it took; `False` and no change where it has one."""
        return self._write(
            "INSERT INTO verdicts VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", candidate_id, _blob(payload), executions
        )

    def verdicts(self) -> Mapping[str, bytes]:
        """Candidate id to payload, in order of ids, as of now; payloads are read when asked for."""
        found = self._read("SELECT candidate_id FROM verdicts WHERE identity = ? ORDER BY candidate_id", self._identity)
        return _Verdicts(self, tuple(row[0] for row in found))

    def verdict(self, candidate_id: str) -> bytes | None:
        """One candidate's payload, `None` where it has none."""
        found = self._read(
            "SELECT payload FROM verdicts WHERE identity = ? AND candidate_id = ?", self._identity, candidate_id
        )
        return self._payload(found)

    def executions(self) -> int:
        """Suite runs of all recorded verdicts together."""
        return int(
            self._read("SELECT coalesce(sum(executions), 0) FROM verdicts WHERE identity = ?", self._identity)[0][0]
        )

    def record_time(self, stage: str, seconds: float, *, at: datetime) -> None:
        """Add how long a stage took; earlier entries stay."""
        moment = at.astimezone(UTC).isoformat()
        self._write("INSERT INTO times (identity, stage, seconds, at) VALUES (?, ?, ?, ?)", stage, seconds, moment)

    def times(self) -> tuple[StageTime, ...]:
        """All recorded times, oldest entry first."""
        found = self._read("SELECT stage, seconds, at FROM times WHERE identity = ? ORDER BY id", self._identity)
        try:
            return tuple(
                StageTime(str(stage), float(seconds), datetime.fromisoformat(at)) for stage, seconds, at in found
            )
        except (ValueError, TypeError) as error:
            raise self.damaged(error) from error

    def identities(self) -> tuple[str, ...]:
        """Every identity that has recorded a time in this file, sorted: the runs that statistics can tell of."""
        return tuple(row[0] for row in self._read("SELECT DISTINCT identity FROM times ORDER BY identity"))

    def _write(self, statement: str, *values: bytes | str | float) -> bool:
        """Run one statement as a transaction; whether it changed a row."""
        with self._lock, _failures_named(self._path):
            return self._connection.execute(statement, (self._identity, *values)).rowcount > 0

    def _read(self, statement: str, *values: str) -> list[Any]:
        with self._lock, _failures_named(self._path):
            return self._connection.execute(statement, values).fetchall()

    def damaged(self, detail: object) -> DatasetDamaged:
        """The error to raise where the file's content contradicts itself."""
        return _damaged(self._path, detail)

    def _payload(self, found: list[Any]) -> bytes | None:
        if found and not isinstance(found[0][0], bytes):
            raise self.damaged("a payload is no bytes")
        return found[0][0] if found else None


class _Verdicts(Mapping[str, bytes]):
    """Ids in memory, payloads in the file: thousands of verdicts with their test lists do not fit in memory."""

    def __init__(self, ledger: Ledger, ids: tuple[str, ...]) -> None:
        self._ledger = ledger
        self._ids = dict.fromkeys(ids)

    def __getitem__(self, candidate_id: str) -> bytes:
        if candidate_id not in self._ids:
            raise KeyError(candidate_id)
        payload = self._ledger.verdict(candidate_id)
        if payload is None:
            raise self._ledger.damaged(f"verdict {candidate_id!r} is listed and not there")
        return payload

    def __contains__(self, candidate_id: object) -> bool:
        return candidate_id in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def _blob(payload: bytes | str) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: SQLite refuses the change to WAL at once, whatever the time-out, where two ask for it."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: a commit is on disk when it returns, so that a power cut, too, loses nothing that was acknowledged.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    application, form = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if (application, form) == (0, 0) and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    elif (application, form) != (_APPLICATION_ID, _FORMAT):
        raise DatasetError(
            f"{path} is not a ledger of this gymforge. Choose another folder with --out, or delete the file: what it "
            "recorded is then done again."
        )
    connection.execute("COMMIT")


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        raise _named(path, error) from error
    except UnicodeDecodeError as error:  # SQLite quotes the damaged text in its own complaint
        raise _damaged(path, error) from error


def _damaged(path: Path, detail: object) -> DatasetDamaged:
    return DatasetDamaged(
        f"ledger {path} is damaged: delete it (with its -wal and -shm files); what it recorded is then done again "
        f"({detail})."
    )


def _named(path: Path, error: Exception) -> GymforgeError:
    code = getattr(error, "sqlite_errorname", "")
    if code == "SQLITE_NOTADB" or code.startswith("SQLITE_CORRUPT"):
        return _damaged(path, error)
    if isinstance(error, OSError) or code.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return StorageFailed(
            f"ledger {path} cannot be written: free space on its disk and run the same command again; what is recorded "
            f"is kept ({error})."
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StorageFailed(f"ledger {path} cannot be written: make it writable, then run again ({error}).")
    return DatasetError(f"ledger {path} cannot be used: see that no other program holds it, then run again ({error}).")
