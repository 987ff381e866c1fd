"""Validations on a Ray cluster: what the desk promises, and real nodes, one of which is killed in the middle."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from flows.bench import Job
from flows.ray_cluster import require_cluster
from flows.ray_node import Answer, Desk, Found
from schemas.errors import InvalidInput, MissingExtra

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "tinystats.bundle"
ASKED = ("--sandbox", "local", "--strategies", "op_change,remove_cond", "--max-tasks", 12)
BEGUN = 3
"""Verdicts after which something dies."""


def desk_with(*positions: int) -> Desk:
    desk = Desk()
    desk.add([Job(position, f"id-{position}", "a.py", "", audited=False) for position in positions])
    return desk


def found(position: int) -> Found:
    return Found(position, b"proof")


def given(answer: Answer) -> int | None:
    """The position of the job in an answer."""
    return answer.job.position if answer.job else None


def test_a_job_is_given_to_one_worker_and_its_finding_is_collected_once() -> None:
    desk = desk_with(7, 8)
    assert [given(desk.begin("a")), given(desk.begin("b"))] == [7, 8]
    assert desk.exchange("a", found(7)) == (None, True)
    assert desk.collect() == ([found(7)], 0, 1)
    assert desk.exchange("b", found(8)) == (None, True)
    assert desk.collect() == ([found(8)], 0, 0)


def test_a_worker_has_a_job_in_advance_as_long_as_others_have_enough() -> None:
    desk = desk_with(1, 2, 3, 4, 5)
    assert [given(desk.begin("a")), given(desk.begin("b"))] == [1, 2]
    assert [given(desk.exchange("a", None)), given(desk.exchange("b", None))] == [3, None]
    assert given(desk.exchange("b", found(2))) == 4


def test_a_worker_that_was_kept_from_judging_gets_its_jobs_again() -> None:
    desk = desk_with(1, 2, 3, 4)
    desk.begin("a")
    desk.exchange("a", None)
    assert [given(desk.begin("a")), given(desk.exchange("a", None))] == [1, 2]


def test_the_jobs_of_a_dead_worker_are_the_next_ones_given() -> None:
    desk = desk_with(1, 2, 3, 4)
    desk.begin("a")
    desk.exchange("a", None)
    assert desk.lost("a") == 1
    assert desk.collect() == ([], 4, 4)
    assert [given(desk.begin("b")), given(desk.exchange("b", None))] == [1, 2]


def test_deaths_at_one_job_are_counted_and_those_at_none_are_not() -> None:
    desk = desk_with(7)
    for number, worker in enumerate("abc", start=1):
        desk.begin(worker)
        assert desk.lost(worker) == number
    assert desk.lost("d") == 0


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_worker_that_was_only_out_of_reach_counts_nothing_twice_and_gets_no_more(taken_over: bool) -> None:
    desk = desk_with(7, 8)
    desk.begin("a")
    desk.lost("a")
    if taken_over:
        desk.begin("b")
    assert desk.exchange("a", found(7)) == (None, False)
    assert given(desk.exchange("b", found(7) if taken_over else None)) == 8
    desk.exchange("b", found(8))
    assert desk.collect() == ([found(7), found(8)], 0, 0)


def test_a_closed_desk_gives_nothing_and_still_takes_what_was_found() -> None:
    desk = desk_with(7, 8)
    desk.begin("a")
    assert desk.close() == {"a"}
    assert desk.exchange("a", found(7)) == (None, False)
    assert desk.collect() == ([found(7)], 0, 0)


@pytest.mark.parametrize("address", ["", "cluster", "http://127.0.0.1:6379", "127.0.0.1", "auto", "host:port"])
def test_an_address_in_no_known_form_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        require_cluster(address)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"gymforge\[ray\]"):
        require_cluster("127.0.0.1:6379")


def test_a_cluster_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    (port,) = free_ports(1)
    with pytest.raises(InvalidInput, match=rf"127\.0\.0\.1:{port} .*refused.*ray start"):
        require_cluster(f"127.0.0.1:{port}")


@pytest.mark.ray
def test_what_is_no_ray_cluster_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.ray_cluster._KNOCK_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(InvalidInput, match="does not speak gRPC"):
        require_cluster(f"127.0.0.1:{server.getsockname()[1]}")


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in servers]


class Node:
    """A node of a cluster as `ray start` makes it, with a cache of its own; all its processes are in one tree."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.cache = folder / name
        self.log = folder / f"{name}.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))}
        variables = {"GYMFORGE_CACHE_DIR": str(self.cache), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        variables |= {"RAY_raylet_start_wait_time_s": "60"}
        agents = ("metrics-export", "runtime-env-agent", "dashboard-agent-grpc", "dashboard-agent-listen")
        ports = [f"--{agent}-port={port}" for agent, port in zip(agents, free_ports(len(agents)), strict=True)]
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--num-cpus=1", "--object-store-memory=100000000", *ports, *arguments],
                env=kept | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        """Whether it takes part in the cluster, once that is known."""
        while "This command will now block" not in self.log.read_text():
            if self.process.poll() is not None:
                return False
            time.sleep(0.1)
        return True

    def kill(self) -> None:
        """As a machine that loses power: everything at once, its sandboxes too."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            everything = [first, *first.children(recursive=True)]
            for end in (psutil.Process.suspend, psutil.Process.kill):
                for process in everything:
                    with suppress(psutil.NoSuchProcess):
                        end(process)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what a node that did not come up has left
        self.process.wait()


class Grid(NamedTuple):
    address: str
    join: Callable[[str], Node]
    """Add a node of this name."""


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    folder = tmp_path_factory.mktemp("ray")
    ports = free_ports(2)
    nodes: list[Node] = []

    def start(name: str, *arguments: str) -> Node:
        # Ray gives a node's agents 15 s to start, which a machine with other work may not have for them.
        for _ in range(5):
            nodes.append(Node(folder, name, *arguments))
            if nodes[-1].is_up():
                return nodes[-1]
            nodes[-1].kill()
        raise AssertionError(nodes[-1].log.read_text()[-3000:])

    def join(name: str) -> Node:
        return start(name, f"--address={address}")

    address = f"127.0.0.1:{ports[0]}"
    head = ["--head", f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}", "--include-dashboard=false"]
    start("head", *head, f"--temp-dir={tmp_path_factory.mktemp('r')}")
    yield Grid(address, join)
    for node in nodes:
        node.kill()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, sample_settings: Callable, walk: Callable) -> Path:
    """The dataset that this machine makes without a cluster."""
    from flows.pipeline import Pipeline

    out: Path = tmp_path_factory.mktemp("alone") / "out"
    walk(Pipeline(sample_settings(out, strategies=("op_change", "remove_cond"), max_tasks=12)))
    return out


def shards(out: Path) -> dict[str, bytes]:
    files = [*out.glob("data/*"), *out.glob("rejected/*"), out / "manifest.json"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def begun(process: "subprocess.Popen[str]", validations: Callable[[], Mapping[str, object]], number: int) -> None:
    """Wait until so many validations are in the ledger."""
    deadline = time.monotonic() + 240
    while len(validations()) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.ray
@pytest.mark.sandbox
@pytest.mark.slow
def test_a_node_that_is_killed_in_the_middle_loses_nothing_and_changes_no_byte(
    grid: Grid, alone: Path, tmp_path: Path, start_gymforge, orchestrator, finished_validations
) -> None:
    other = grid.join("other")
    out = tmp_path / "out"
    run = start_gymforge("ingest", SAMPLE, *ASKED, "--out", out, "--ray", grid.address, **orchestrator)
    begun(run, lambda: finished_validations(out), BEGUN)
    assert list(other.cache.glob("environments/gymforge*")), "the node had the environment from the driver, and worked"
    before = finished_validations(out)
    other.kill()
    told, errors = run.communicate(timeout=240)
    assert run.returncode == 0, errors
    assert shards(out) == shards(alone)
    after = finished_validations(out)
    assert {name: after[name] for name in before} == before
    alike = after.keys() & finished_validations(alone).keys()
    assert len(alike) >= 12, "all tasks, and beyond the last one as many as cores may have been ahead"
    assert len(after) <= len(finished_validations(alone)) + 2
    assert "12 tasks" in told


@pytest.mark.ray
@pytest.mark.sandbox
@pytest.mark.slow
def test_a_driver_that_is_stopped_and_killed_leaves_no_work_behind_and_goes_on(
    grid: Grid, alone: Path, tmp_path: Path, start_gymforge, orchestrator, finished_validations
) -> None:
    out = tmp_path / "out"
    command = ("ingest", SAMPLE, *ASKED, "--out", out, "--ray", grid.address)
    finished: dict[str, object] = {}
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        run = start_gymforge(*command, **orchestrator)
        begun(run, lambda: finished_validations(out), len(finished) + 2)
        run.send_signal(number)
        _, errors = run.communicate(timeout=120)
        assert run.returncode == code, errors
        finished = finished_validations(out)
        assert len(finished) < len(finished_validations(alone)), "it was stopped in the middle"
        deadline = time.monotonic() + 60
        while sandboxes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sandboxes() == []
        assert finished_validations(out) == finished
    run = start_gymforge(*command, **orchestrator)
    _, errors = run.communicate(timeout=240)
    assert run.returncode == 0, errors
    assert shards(out) == shards(alone)
    after = finished_validations(out)
    assert {name: after[name] for name in finished} == finished


def sandboxes() -> list[int]:
    """Process ids of sandboxes that belong to workers of a cluster."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            owners = [parent.name() for parent in process.parents()] if process.info["name"] == "bwrap" else []
        except psutil.Error:
            continue
        if any(name.startswith("ray::") for name in owners):
            found.append(process.pid)
    return found
