"""The first interrupt lets work end by itself, the second ends the process whatever holds it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from flows.interrupt import INTERRUPTED
from flows.pipeline import Pipeline
from flows.settings import IngestSettings
from storage.layout import DatasetLayout

ROOT = Path(__file__).parents[2]
SAMPLE = str(ROOT / "examples" / "tinystats.bundle")
WORKER = """
import threading, time
from flows.interrupt import finishing_first

stopping, done = threading.Event(), threading.Event()
work = threading.Thread(target=lambda: (time.sleep({seconds}), done.set()))
with finishing_first(stopping):
    work.start()
    print("working", flush=True)
    work.join()
print("finished" if done.is_set() and stopping.is_set() else "torn", flush=True)
"""


@pytest.fixture
def working() -> "Callable[[float], subprocess.Popen[str]]":
    def start(seconds: float) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER.format(seconds=seconds)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        return process

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_interrupt_lets_the_work_end(
    working: "Callable[[float], subprocess.Popen[str]]", number: signal.Signals
) -> None:
    with working(1.5) as process:
        process.send_signal(number)
        printed, _ = process.communicate(timeout=30)
    assert printed == "finished\n"
    assert process.returncode == 0


def test_a_second_interrupt_ends_at_once_what_would_go_on(
    working: "Callable[[float], subprocess.Popen[str]]",
) -> None:
    with working(60) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED


WAITER = """
import time
from flows.interrupt import interruptible

with interruptible():
    try:
        print("working", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        time.sleep({seconds})
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("again", [False, True])
def test_outside_validation_the_first_interrupts_and_the_second_ends(number: signal.Signals, again: bool) -> None:
    code = WAITER.format(seconds=60 if again else 0)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        assert process.stdout.readline() == "interrupted\n"
        if again:
            process.send_signal(number)
        assert process.wait(timeout=10) == (INTERRUPTED if again else 0)


TAKER = """
import os, signal
from flows.interrupt import interruptible

def takes_it():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("Error calling a function: KeyboardInterrupt") from None

def fails():
    raise ValueError("an error of its own")

for work in (takes_it, fails):
    try:
        with interruptible():
            work()
    except (KeyboardInterrupt, ValueError) as error:
        print(type(error).__name__, error)
"""


def test_an_interrupt_that_a_library_takes_for_an_error_of_its_own_is_an_interrupt() -> None:
    # In a process of its own: what other tests left in this one (threads, handlers of signals) has no say.
    command = [sys.executable, "-c", TAKER]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60)
    assert done.stdout == "KeyboardInterrupt \nValueError an error of its own\n"


DROPPER = """
import os, signal, sys
from pathlib import Path
import flows.pipeline
from flows.interrupt import interruptible
from flows.settings import IngestSettings
from synthesis.generate import Synthesis

def takes_it(*args, **more):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        return Synthesis((), ())

flows.pipeline.generate = takes_it
settings = IngestSettings(source=sys.argv[1], out=Path(sys.argv[2]), sandbox="local")
with flows.pipeline.Pipeline(settings) as pipeline:
    try:
        with interruptible():
            pipeline.acquire()
            pipeline.synthesize()
    except KeyboardInterrupt:
        print("interrupted", pipeline.ledger.get_stage("synthesis"))
"""


def test_what_an_interrupt_spoiled_is_not_kept(tmp_path: Path, command_environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-c", DROPPER, SAMPLE, str(tmp_path / "out")]
    environment = dict(command_environment)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["interrupted None"], done.stderr


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["environment", "synthesis"])
def test_a_command_that_is_interrupted_before_validation_says_so(
    command_environment: Mapping[str, str], tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from flows.entry import main; main()", "ingest", SAMPLE, "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--sandbox", "local", "--max-tasks", "1", "--workers", "2"],
        cwd=ROOT,
        env=dict(command_environment),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    ledger = out / "ledger" / "ledger.sqlite"
    while process.poll() is None and not (ledger.exists() if moment == "environment" else has_baseline(ledger)):
        time.sleep(0.02)
    time.sleep(0.3)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in said) == (INTERRUPTED, False), said
    assert "gymforge: Interrupted." in said


def has_baseline(ledger: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM stages WHERE stage = 'baseline'").fetchone() is not None
    except sqlite3.Error:
        return False


def test_an_interrupt_while_the_program_loads_gives_no_traceback() -> None:
    loading = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "flows.cli": os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from flows.entry import main
main()
"""
    done = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (INTERRUPTED, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_python_takes_itself_down_keeps_the_exit_code(number: signal.Signals) -> None:
    ending = f"""
import os, sys
class Interrupting:
    def __del__(self, kill=os.kill, pid=os.getpid()): kill(pid, {int(number)})
sys.left = Interrupting()
sys.argv[1:] = ["show"]
from flows.entry import main
main()
"""
    done = subprocess.run([sys.executable, "-c", ending], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "Missing argument" in done.stderr) == (2, True), done.stderr


@pytest.mark.sandbox
def test_checkout_of_a_killed_run_is_cleared(sample_settings: Callable[..., IngestSettings], tmp_path: Path) -> None:
    settings = sample_settings(tmp_path / "out")
    stray = DatasetLayout(settings.out).writer(settings.work) / "tree" / "left.py"
    with Pipeline(settings) as pipeline:
        pipeline.acquire()
        pipeline.ledger.put_stage("environment", "{}")
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("left by a run that was killed")
    with Pipeline(settings) as pipeline:
        pipeline.acquire()
        assert not stray.exists()
    assert not DatasetLayout(settings.out).writers.exists()
