"""Kill the real command at random moments over its whole run, and see that nothing is lost, repeated or changed.

A chain is one dataset folder: the command is started, killed at a random moment (by the clock, or by its verdicts),
started again, and so on until it ends by itself. Every third chain begins with an empty cache, so that kills hit
clones, downloads and builds too; every other one uses a Prefect server that stays, as a schedule would. Moments and
kinds come from the seed: SIGKILL, SIGINT, SIGTERM and SIGHUP once (it must stop cleanly), SIGINT twice (at once).

    python benchmarks/kills.py --kills 50 --json

Compared with an uninterrupted run: the SHA-256 of every file that the dataset releases, the names of all files, the
ledger's verdicts (none that was acknowledged lost or changed, none reached twice: the command
fails where it validates a candidate again). After every kill no process may be left. A command that neither ends nor
was killed is a fault too, told with the stacks of its threads. The exit code is 1 where anything differs.
"""

import argparse
import ctypes
import hashlib
import json
import multiprocessing
import os
import platform
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "examples" / "tinystats.bundle"
STRATEGIES = "op_change,remove_cond,ctrl_invert_if"
_SET_CHILD_SUBREAPER = 36
_CLEAN_STOP_LIMIT_S = 120.0
_AT_ONCE_LIMIT_S = 5.0
_LEFT_OVER_LIMIT_S = 20.0
_HUNG_FACTOR, _HUNG_SLACK_S = 10.0, 300.0
"""A command that takes this many times an uninterrupted run, and this much more, hangs."""


class Held(NamedTuple):
    """What a dataset folder holds."""

    files: dict[str, str]
    """Released file to its SHA-256."""
    names: tuple[str, ...]
    """All files, those of the run records and the ledger's own among them."""
    verdicts: dict[str, str]
    """Candidate to the SHA-256 of its verdict."""
    executions: int
    stages: frozenset[str]


@dataclass
class Lane:
    """What the chains of one process met."""

    kills: int = 0
    chains: int = 0
    by_signal: Counter[str] = field(default_factory=Counter)
    by_phase: Counter[str] = field(default_factory=Counter)
    runs_more: int = 0
    """Suite runs beyond those of the uninterrupted run: a suite over its limit is run again, which depends on load."""
    faults: list[str] = field(default_factory=list)


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="gymforge-kills-") as folder:
        result = measure(options, Path(folder))
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name:<20}{value}")
    sys.exit(1 if result["faults"] else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", default=str(SAMPLE))
    parser.add_argument("--sandbox", default="local", choices=["docker", "local"])
    parser.add_argument("--max-tasks", type=int, default=4)
    parser.add_argument("--lanes", type=int, default=2, help="chains at the same time")
    parser.add_argument("--cache-dir", type=Path, help="a warm cache, to copy wheels from")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    began = time.monotonic()
    warm = folder / "cache"
    if options.cache_dir:
        shutil.copytree(options.cache_dir / "distributions", warm / "distributions")
    out = folder / "uninterrupted"
    for _ in range(2):  # the second one says how long a run with a warm cache takes
        shutil.rmtree(out, ignore_errors=True)
        started = time.monotonic()
        subprocess.run(command(options, out), env=surroundings(warm), check=True, stdout=subprocess.DEVNULL)
        whole_s = time.monotonic() - started
    runs = read(out).executions
    context = multiprocessing.get_context("spawn")
    shares = [options.kills // options.lanes + (lane < options.kills % options.lanes) for lane in range(options.lanes)]
    with ProcessPoolExecutor(options.lanes, mp_context=context) as pool:
        work = [(options, folder / str(lane), warm, whole_s, lane, share) for lane, share in enumerate(shares)]
        lanes = list(pool.map(run_lane, *zip(*work, strict=True)))
    return {
        "kills": sum(lane.kills for lane in lanes),
        "chains": sum(lane.chains for lane in lanes),
        "by_signal": dict(sorted(sum((lane.by_signal for lane in lanes), Counter()).items())),
        "by_phase": dict(sorted(sum((lane.by_phase for lane in lanes), Counter()).items())),
        "suite_runs_of_a_chain": runs,
        "suite_runs_more": sum(lane.runs_more for lane in lanes),
        "faults": [fault for lane in lanes for fault in lane.faults],
        "uninterrupted_s": round(whole_s, 1),
        "wall_s": round(time.monotonic() - began),
        "sandbox": options.sandbox,
        "seed": options.seed,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform(terse=True)}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def command(options: argparse.Namespace, out: Path) -> list[str]:
    gymforge = [sys.executable, "-X", "faulthandler", "-c", "from flows.entry import main; main()"]
    asked = ["--sandbox", options.sandbox, "--max-tasks", str(options.max_tasks), "--strategies", STRATEGIES]
    return [*gymforge, "ingest", options.source, "--out", str(out), *asked, "--workers", "2", "--json"]


def surroundings(cache: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"GYMFORGE_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}


def run_lane(options: argparse.Namespace, folder: Path, warm: Path, whole_s: float, number: int, kills: int) -> Lane:
    """Chains until there were enough kills, or a fault, in a process of its own: it inherits what a command leaves."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    expected = read(folder.parent / "uninterrupted")
    rng = random.Random(f"{options.seed} {number}")
    lane = Lane()
    with a_server_that_stays(folder / "prefect") as server:
        while lane.kills < kills and not lane.faults:
            cold = lane.chains % 3 == 0
            cache = folder / "cache" if cold else warm
            if cold:
                shutil.rmtree(cache, ignore_errors=True)
                shutil.copytree(warm / "distributions", cache / "distributions")
            environment = surroundings(cache) | (server if lane.chains % 2 else {})
            shutil.rmtree(folder / "out", ignore_errors=True)
            run_chain(lane, command(options, folder / "out"), environment, expected, rng, whole_s, kills)
            if lane.faults:
                lane.faults += differences(folder / "out", folder.parent / "uninterrupted")
            lane.chains += 1
    return lane


def run_chain(
    lane: Lane,
    arguments: list[str],
    environment: dict[str, str],
    expected: Held,
    rng: random.Random,
    whole_s: float,
    kills: int,
) -> None:
    out = Path(arguments[arguments.index("--out") + 1])
    before: dict[str, str] = {}
    while True:
        others = set(psutil.Process().children(recursive=True))
        # To a file: whatever is left of a killed command would hold a pipe open.
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                arguments, env=environment, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )
            due = lane.kills < kills
            killed = kill_at_random(lane, process, rng, whole_s, out, expected) if due else ""
            hung = not ended(process, _HUNG_FACTOR * whole_s + _HUNG_SLACK_S)
            said.seek(0)
            errors = said.read().decode(errors="replace")
        after = read(out)
        if hung:
            lane.faults.append(f"does not end: {sorted(what_is_left(others))}: {errors[-8000:]}")
            return
        lost = sorted(name for name, payload in before.items() if after.verdicts.get(name) != payload)
        if lost:
            lane.faults.append(f"lost or changed after {killed}: {lost}")
        before = after.verdicts
        if not killed or process.returncode == 0:
            break
        lane.kills += 1
        lane.by_signal[killed] += 1
        lane.by_phase[phase(after, expected)] += 1
        lane.faults += faults_of_a_death(killed, process.returncode, errors, what_is_left(others))
    if process.returncode != 0:
        lane.faults.append(f"exit code {process.returncode} without a kill: {errors[-2000:]}")
    lane.runs_more += after.executions - expected.executions
    for name in ("files", "names", "stages"):
        if getattr(after, name) != getattr(expected, name):
            lane.faults.append(f"{name}: {getattr(after, name)} instead of {getattr(expected, name)}")


def faults_of_a_death(killed: str, exit_code: int, errors: str, left: list[str]) -> Iterator[str]:
    # A pool's process that starts when its parent is killed has a traceback of Python's own to show.
    torn = "Traceback" in errors and (killed != "SIGKILL" or str(ROOT) in errors)
    if torn or exit_code != (-signal.SIGKILL if killed == "SIGKILL" else 130):
        yield f"{killed} gave exit code {exit_code}: {errors[-2000:]}"
    if left:
        yield f"left after {killed}: {left}"


def kill_at_random(
    lane: Lane, process: "subprocess.Popen[bytes]", rng: random.Random, whole_s: float, out: Path, expected: Held
) -> str:
    """Wait for a random moment and kill; empty where the command had ended by then.

    A third of the moments are uniform over the time of a run. A third are soon after a stage that is still to come, a
    third soon after a verdict: stages and validations are most of a real run, and little of the sample's.
    """
    way = rng.choice(["clock", "stage", "verdict"])
    stages = sorted(expected.stages - set(rows(out, "SELECT stage FROM stages")))
    stage, verdict = rng.choice(stages or [""]), rng.randint(1, len(expected.verdicts))
    delay_s = whole_s if way == "clock" else 1.5

    def is_due() -> bool:
        if way == "stage" and stage:
            return stage in rows(out, "SELECT stage FROM stages")
        return way != "verdict" or len(rows(out, "SELECT candidate_id FROM verdicts")) >= verdict

    while process.poll() is None and not is_due():
        time.sleep(0.05)
    try:
        process.wait(rng.uniform(0, delay_s))
    except subprocess.TimeoutExpired:
        return kill(lane, process, rng)
    return ""


def rows(out: Path, query: str) -> list[str]:
    """The first column of a query of the ledger."""
    try:
        with closing(sqlite3.connect(f"file:{out}/ledger/ledger.sqlite?mode=ro", uri=True, timeout=60)) as connection:
            return [row[0] for row in connection.execute(query)]
    except sqlite3.OperationalError:  # there is no ledger yet, or no table in it
        return []


def kill(lane: Lane, process: "subprocess.Popen[bytes]", rng: random.Random) -> str:
    """Kill in one of the ways; returns its name, empty where the command had ended by then."""
    way = rng.choice(["SIGKILL", "SIGKILL", "SIGINT", "SIGINT twice", "SIGTERM", "SIGHUP"])
    if way == "SIGKILL":
        process.kill()
        return way
    while process.poll() is None and not takes_signals(process.pid):
        time.sleep(0.01)  # until its first line has run, Python has the word
    if process.returncode is not None:
        return ""
    # As a terminal does: every process of the group gets it.
    number = signal.Signals[way.split()[0]]
    os.killpg(process.pid, number)
    if way == "SIGINT twice":
        time.sleep(rng.uniform(0.02, 0.5))
        if process.poll() is None:
            os.killpg(process.pid, number)
    limit_s = _AT_ONCE_LIMIT_S if way == "SIGINT twice" else _CLEAN_STOP_LIMIT_S
    deadline = time.monotonic() + limit_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() is None:
        lane.faults.append(f"{way} did not end it within {limit_s} s")
        process.kill()
    return way


def takes_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which Python does not give it."""
    try:
        (caught,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return False
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def ended(process: "subprocess.Popen[bytes]", limit_s: float) -> bool:
    """Wait for a command to end; one that does not is ended, after it has written the stacks of its threads."""
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LEFT_OVER_LIMIT_S)
        process.kill()
        process.wait()
        return False
    return True


def what_is_left(others: set[psutil.Process]) -> list[str]:
    """Processes of a killed command that are still there after a while, and are ended; zombies are reaped."""
    deadline = time.monotonic() + _LEFT_OVER_LIMIT_S
    while True:
        found = {}
        for process in set(psutil.Process().children(recursive=True)) - others:
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)
                    continue
                found[process] = " ".join(process.cmdline())[:200]
            except (psutil.NoSuchProcess, ChildProcessError):
                continue
        if not found or time.monotonic() > deadline:
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return list(found.values())
        time.sleep(0.1)


def read(out: Path) -> Held:
    """What lies in a dataset folder, read with nothing of ours."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    released = [path for path in files if path.relative_to(out).parts[0] in ("data", "rejected", "manifest.json")]
    ledger = out / "ledger" / "ledger.sqlite"
    verdicts, executions, stages = {}, 0, frozenset[str]()
    if ledger.exists():
        with closing(sqlite3.connect(ledger, timeout=60)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if {"verdicts", "stages"} <= tables:
                rows = connection.execute("SELECT candidate_id, payload, executions FROM verdicts").fetchall()
                verdicts = {name: hashlib.sha256(payload).hexdigest() for name, payload, _ in rows}
                executions = sum(row[2] for row in rows)
                stages = frozenset(row[0] for row in connection.execute("SELECT DISTINCT stage FROM stages"))
    return Held(
        {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in released},
        tuple(path.relative_to(out).as_posix() for path in files if not path.name.endswith(("-wal", "-shm"))),
        verdicts,
        executions,
        stages,
    )


def differences(out: Path, uninterrupted: Path) -> Iterator[str]:
    """Which columns of which released rows are others than without a kill."""
    for path in sorted(uninterrupted.glob("*/*.parquet")):
        other = out / path.relative_to(uninterrupted)
        found = pq.read_table(other).to_pylist() if other.exists() else []
        for row, kept in zip_longest(found, pq.read_table(path).to_pylist(), fillvalue={}):
            for column in sorted(row.keys() | kept.keys()):
                if row.get(column) != kept.get(column):
                    yield f"{other.name}: {column} is {row.get(column)!r} instead of {kept.get(column)!r}"


def phase(found: Held, expected: Held) -> str:
    """How far the command had come when it was killed, by what it had finished."""
    if found.files == expected.files:
        return "5 after the manifest"
    if len(found.verdicts) >= len(expected.verdicts):  # which are more than count, by as many as workers are ahead
        return "4 writing"
    if "synthesis" in found.stages:
        return "3 validating"
    if "baseline" in found.stages:
        return "2 synthesizing"
    return "1 environment and baseline" if found.names else "0 before the folder"


@contextmanager
def a_server_that_stays(home: Path) -> Iterator[dict[str, str]]:
    """The settings that lead a command to a Prefect server which outlives it."""
    sys.path.insert(0, str(ROOT))
    from flows.prefect_server import start_server

    os.environ |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    with start_server(home) as wait_until_ready:
        wait_until_ready()
        yield {"PREFECT_API_URL": os.environ["PREFECT_API_URL"]}


if __name__ == "__main__":
    main()
