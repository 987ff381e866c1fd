"""Measure what a crash-safe working store costs: commits, writers at once, `kill -9`.

    python benchmarks/ledger.py [--stores ledger sqlite deltalake] [--payload-bytes 2000] [--folder DIR]

`ledger` is `storage.ledger.Ledger`: one verdict a commit. `sqlite` commits 100 rows in one transaction to the same
kind of file. `deltalake` (needs `pip install deltalake`) commits 100 rows with an application transaction.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from storage.ledger import Ledger

Rows = list[tuple[str, bytes]]


class Store(Protocol):
    """What is compared: commits that are idempotent by writer and number, and reading everything back."""

    def commit(self, writer: str, number: int, rows: Rows) -> None: ...

    def read(self) -> dict[str, bytes]: ...


class LedgerStore:
    """The project's ledger, through its own interface; a commit for each row."""

    def __init__(self, path: Path) -> None:
        self._ledger = Ledger.open(path / "ledger.sqlite", identity="benchmark")

    def commit(self, writer: str, number: int, rows: Rows) -> None:  # noqa: ARG002
        for key, payload in rows:
            self._ledger.record_verdict(key, payload, executions=1)

    def read(self) -> dict[str, bytes]:
        return dict(self._ledger.verdicts())


class SqliteStore:
    """The same file and settings, a batch a transaction: comparable with the stores that commit files."""

    def __init__(self, path: Path) -> None:
        ledger = Ledger.open(path / "ledger.sqlite", identity="benchmark")
        self._connection = ledger._connection  # noqa: SLF001

    def commit(self, writer: str, number: int, rows: Rows) -> None:  # noqa: ARG002
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT OR IGNORE INTO verdicts VALUES ('benchmark', ?, ?, 1)", rows)
        self._connection.execute("COMMIT")

    def read(self) -> dict[str, bytes]:
        return dict(self._connection.execute("SELECT candidate_id, payload FROM verdicts").fetchall())


class DeltaStore:
    """A Delta table; application transactions make a commit idempotent."""

    def __init__(self, path: Path) -> None:
        import deltalake  # type: ignore[import-not-found, unused-ignore]
        import pyarrow as pa

        self._path = str(path / "delta")
        if not deltalake.DeltaTable.is_deltatable(self._path):
            schema = pa.schema([("key", pa.string()), ("payload", pa.binary())])
            deltalake.DeltaTable.create(self._path, schema, mode="ignore")

    def commit(self, writer: str, number: int, rows: Rows) -> None:
        import deltalake  # type: ignore[import-not-found, unused-ignore]
        import pyarrow as pa

        table = pa.table({"key": [key for key, _ in rows], "payload": [payload for _, payload in rows]})
        properties = deltalake.CommitProperties(
            app_transactions=[deltalake.Transaction(app_id=writer, version=number)], max_commit_retries=100
        )
        deltalake.write_deltalake(self._path, table, mode="append", commit_properties=properties)

    def read(self) -> dict[str, bytes]:
        import deltalake  # type: ignore[import-not-found, unused-ignore]

        table = deltalake.DeltaTable(self._path).to_pyarrow_table()
        return dict(zip(table["key"].to_pylist(), table["payload"].to_pylist(), strict=True))


STORES: dict[str, type[LedgerStore] | type[SqliteStore] | type[DeltaStore]] = {
    "ledger": LedgerStore,
    "sqlite": SqliteStore,
    "deltalake": DeltaStore,
}


class Load(NamedTuple):
    """What one writer commits."""

    store: str
    folder: Path
    payload_bytes: int

    @property
    def rows_per_commit(self) -> int:
        return 1 if self.store == "ledger" else 100

    def rows(self, writer: str, number: int) -> Rows:
        keys = [f"{writer}.{number:05d}.{row:03d}" for row in range(self.rows_per_commit)]
        return [(key, random.Random(key).randbytes(self.payload_bytes // 2).hex().encode()) for key in keys]


def work(load: Load, writer: str, first: int, end: int) -> None:
    """Commit and print number and seconds of each commit once it is acknowledged."""
    store = STORES[load.store](load.folder)
    print("open", flush=True)
    for number in range(first, end):
        rows = load.rows(writer, number)
        started = time.perf_counter()
        store.commit(writer, number, rows)
        print(number, time.perf_counter() - started, flush=True)


def start(load: Load, writer: str, first: int, end: int) -> "subprocess.Popen[str]":
    arguments = [load.store, str(load.folder), str(load.payload_bytes), writer, str(first), str(end)]
    return subprocess.Popen([sys.executable, __file__, "--work", *arguments], stdout=subprocess.PIPE, text=True)


def seconds(process: "subprocess.Popen[str]") -> Iterator[float]:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a writer failed with exit code {process.returncode}")
    for line in output.splitlines()[1:]:
        yield float(line.split()[1])


def measure_commits(load: Load, commits: int) -> str:
    """Median and worst of one writer."""
    found = list(seconds(start(load, "w", 0, commits)))
    return f"median {statistics.median(found) * 1000:.1f} ms, worst {max(found) * 1000:.0f} ms"


def measure_writers(load: Load, commits: int, writers: int) -> str:
    """Median and worst commit of several writers at once, and whether all is there afterwards."""
    STORES[load.store](load.folder)  # makes the file or table: what is measured is writing to it
    processes = [start(load, f"w{number}", 0, commits) for number in range(writers)]
    found = [one for process in processes for one in seconds(process)]
    stored = len(STORES[load.store](load.folder).read())
    missing = writers * commits * load.rows_per_commit - stored
    return f"median {statistics.median(found) * 1000:.1f} ms, worst {max(found) * 1000:.0f} ms, {missing} rows missing"


def measure_kills(load: Load, kills: int) -> str:
    """Kill a writer at a random moment, then look for every acknowledged row; go on where it stopped."""
    lost = damaged = first = 0
    for attempt in range(kills):
        rng = random.Random(attempt)
        with start(load, "w", first, 10**6) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(rng.randrange(2, 12)):
                first = int(process.stdout.readline().split()[0]) + 1
            time.sleep(rng.random() * 0.03)
            os.kill(process.pid, signal.SIGKILL)
            rest = [line for line in process.stdout.read().splitlines() if len(line.split()) == 2]
        first = max([first, *(int(line.split()[0]) + 1 for line in rest)])
        stored = STORES[load.store](load.folder).read()
        expected = [row for number in range(first) for row in load.rows("w", number)]
        lost += sum(key not in stored for key, _ in expected)
        damaged += sum(stored.get(key, payload) != payload for key, payload in expected)
    return f"{kills} kills: {lost} rows lost, {damaged} damaged of {len(expected)}; {size_of(load.folder)}"


def size_of(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", choices=sorted(STORES), default=["ledger", "sqlite"])
    parser.add_argument("--payload-bytes", type=int, default=2000)
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    options = parser.parse_args()
    for name in options.stores:
        scratch = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            loads = [Load(name, scratch / part, options.payload_bytes) for part in ("commits", "writers", "kills")]
            print(f"{name}, {loads[0].rows_per_commit} rows of {options.payload_bytes} bytes a commit")
            print(f"  1 writer:  {measure_commits(loads[0], options.commits)}")
            print(f"  {options.writers} writers: {measure_writers(loads[1], options.commits // 2, options.writers)}")
            print(f"  kill -9:   {measure_kills(loads[2], options.kills)}", flush=True)
        finally:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        kind, place, payload, name_, begin, stop = sys.argv[2:]
        work(Load(kind, Path(place), int(payload)), name_, int(begin), int(stop))
    else:
        main()
