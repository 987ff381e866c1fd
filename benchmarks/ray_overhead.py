"""What a Ray cluster adds to validation: the same candidates judged by threads here and by as many nodes, turn about.

    python benchmarks/ray_overhead.py [SOURCE] [--nodes 2] [--max-tasks 60] [--rounds 2] [--json]

Nodes are processes of this machine that `ray start` makes, each with one core and a cache of its own. What counts as
overhead is every second of a worker in which it judges nothing: its start, what it waits for, and the end of a wave.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "tinystats.bundle"
_DESK_EXCHANGES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default=str(SAMPLE))
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--max-tasks", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--strategies")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ |= {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    os.environ |= {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_LOGGING_TO_API_ENABLED": "false"}
    with tempfile.TemporaryDirectory(prefix="gf-") as folder, a_server(Path(folder) / "prefect"):
        result = measure(options, Path(folder))
    print(json.dumps(result, indent=2) if options.json else "\n".join(f"{n:<32}{v}" for n, v in result.items()))


@contextmanager
def a_server(home: Path) -> Iterator[None]:
    from flows.prefect_server import start_server

    os.environ["PREFECT_HOME"] = str(home)
    with start_server(home) as wait_until_ready:
        wait_until_ready()
        yield


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    from flows.settings import IngestSettings

    load_before = os.getloadavg()[0]
    settings = IngestSettings(
        source=options.source,
        out=folder / "prepared",
        sandbox="local",
        max_tasks=options.max_tasks,
        strategies=tuple(options.strategies.split(",")) if options.strategies else None,
        workers=options.nodes,
        cache_dir=folder / "cache",
    )
    environment_bytes, sending_s = prepare(settings)
    threads, cluster, differ = [], [], []
    with nodes(folder, options.nodes) as address:
        for number in range(options.rounds):
            for ray, times in ((None, threads), (address, cluster)):
                out = folder / f"{number}-{'here' if ray is None else 'ray'}"
                shutil.copytree(settings.out, out)
                times.append(judge(settings.model_copy(update={"out": out, "ray": ray})))
                differ += differing(folder / "0-here", out)
                print(out.name, times[-1], file=sys.stderr, flush=True)
        desk_per_s = desk_limit(address, folder, options.nodes)
    judged = cluster[0]["judged"]
    here_s = statistics.median(one["wall_s"] for one in threads)
    ray_s = statistics.median(one["wall_s"] for one in cluster)
    last = cluster[-1]
    return {
        "repository": Path(options.source).name,
        "nodes": options.nodes,
        "candidates": judged,
        "threads_s": [round(one["wall_s"], 1) for one in threads],
        "ray_s": [round(one["wall_s"], 1) for one in cluster],
        "ray_against_threads": round(ray_s / here_s, 3),
        "judging_s_per_candidate": round(last["judging_s"] / judged, 3),
        "joining_s": [round(one["joining_s"], 1) for one in cluster],
        "preparing_s_per_worker": [round(one["preparing_s"] / options.nodes, 1) for one in cluster],
        "starting_and_ending_s_per_worker": [round(one["around_s"] / options.nodes, 1) for one in cluster],
        "exchange_ms_per_candidate": [round(1000 * one["exchange_s"] / judged, 1) for one in cluster],
        "exchange_share": [round(one["exchange_s"] / (one["exchange_s"] + one["judging_s"]), 5) for one in cluster],
        "idle_share_of_the_whole_wave": [
            round(1 - one["judging_s"] / (options.nodes * one["wall_s"]), 4) for one in cluster
        ],
        "judged_otherwise": differ,
        "environment_mb": round(environment_bytes / 1e6, 1),
        "packing_s": round(sending_s, 1),
        "verdicts_per_s_of_desk_and_ledger": round(desk_per_s),
        "load_average": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).date().isoformat(),
    }


def prepare(settings: Any) -> tuple[int, float]:
    """Everything before validation, once; gives the packed environment's size and what packing it took."""
    from flows.pipeline import Pipeline

    with Pipeline(settings) as pipeline:
        pipeline.acquire()
        prepared = pipeline.prepare()
        pipeline.synthesize()
        pipeline.measure_impact()
        sizes: deque[int] = deque()
        began = time.monotonic()
        pipeline.backend.send(prepared.environment.image_name, lambda piece: sizes.append(len(piece)))
        return sum(sizes), time.monotonic() - began


def judge(settings: Any) -> dict[str, float]:
    """Judge all candidates up to the cap; seconds of workers by what they did, where they were on a cluster."""
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    from flows.ingest import Threads, validate
    from flows.pipeline import Pipeline

    @flow(validate_parameters=False)
    def validation() -> dict[str, float]:
        with Pipeline(settings) as pipeline:
            pipeline.acquire()
            pipeline.prepare()
            pipeline.synthesize()
            pipeline.measure_impact()
            began = time.monotonic()
            if settings.ray is None:
                with ThreadPoolTaskRunner[object](max_workers=settings.workers) as runner:
                    began = time.monotonic()
                    for wave in pipeline.waves():
                        Threads(pipeline, runner).judge(wave)
                return {"wall_s": time.monotonic() - began}
            from flows.ray_cluster import open_cluster

            with open_cluster(pipeline, validate) as cluster:
                joined = time.monotonic()
                for wave in pipeline.waves(workers=cluster.size):
                    cluster.judge(wave)
                wall_s = time.monotonic() - joined
                size = cluster.size
                cluster.close()
                shares = cluster.shares
                whole_s = sum(one.whole_s for one in shares)
                judging_s = sum(one.judging_s for one in shares)
                preparing_s = sum(one.preparing_s for one in shares)
                return {
                    "wall_s": wall_s,
                    "joining_s": joined - began,
                    "judged": sum(one.judged for one in shares),
                    "judging_s": judging_s,
                    "preparing_s": preparing_s,
                    "exchange_s": whole_s - judging_s - preparing_s,
                    "around_s": size * wall_s - whole_s,
                }

    return validation()


def differing(one: Path, other: Path) -> list[str]:
    """Candidates that both have judged, and not alike: limits of time depend on what else a machine does."""
    query = "SELECT candidate_id, json_extract(payload, '$.verdict.status', '$.verdict.reason') FROM verdicts"
    found = []
    for out in (one, other):
        with closing(sqlite3.connect(out / "ledger" / "ledger.sqlite")) as connection:
            found.append(dict(connection.execute(query).fetchall()))
    return [
        f"{name}: {found[0][name]} {found[1][name]}"
        for name in found[0].keys() & found[1].keys()
        if found[0][name] != found[1][name]
    ]


def desk_limit(address: str, folder: Path, workers: int) -> float:
    """Verdicts a second through the desk into a ledger, where judging takes no time."""
    import zlib

    import ray

    from flows.bench import Job
    from flows.ray_node import Desk, Found
    from storage.ledger import Ledger

    with closing(sqlite3.connect(folder / "0-ray" / "ledger" / "ledger.sqlite")) as connection:
        (payload,) = connection.execute("SELECT payload FROM verdicts ORDER BY length(payload) DESC").fetchone()
    packed = zlib.compress(payload, level=1)
    ray.init(address, log_to_driver=False, logging_level="error")
    try:
        desk = ray.remote(Desk).options(num_cpus=0).remote()
        desk.add.remote([Job(n, str(n), "", "", audited=False) for n in range(_DESK_EXCHANGES)])

        @ray.remote(num_cpus=1)
        def work(name: str) -> int:
            done, answer = 0, ray.get(desk.begin.remote(name))
            while answer.job is not None:
                done, found = done + 1, Found(answer.job.position, packed)
                answer = ray.get(desk.exchange.remote(name, found))
            return done

        ray.get([ray.remote(num_cpus=1)(lambda: None).remote() for _ in range(workers)])  # processes are there
        began = time.monotonic()
        running = [work.remote(str(number)) for number in range(workers)]
        with Ledger.open(folder / "scratch.sqlite", identity="desk") as ledger:
            left = 1
            while left:
                found, _, left = ray.get(desk.collect.remote())
                for position, content in found:
                    ledger.record_verdict(str(position), zlib.decompress(content), executions=1)
                time.sleep(0.01)
        elapsed_s = time.monotonic() - began
        assert sum(ray.get(running)) == _DESK_EXCHANGES
        return _DESK_EXCHANGES / elapsed_s
    finally:
        ray.shutdown()


@contextmanager
def nodes(folder: Path, number: int) -> Iterator[str]:
    """A cluster of so many nodes with one core each; gives its address."""
    head, client = free_ports(2)
    address = f"127.0.0.1:{head}"
    first = ["--head", f"--port={head}", f"--ray-client-server-port={client}", "--include-dashboard=false"]
    first.append(f"--temp-dir={folder / 'r'}")
    with ExitStack() as stack:
        for place in range(number):
            stack.enter_context(node(folder / f"node-{place}", first if place == 0 else [f"--address={address}"]))
        yield address


@contextmanager
def node(folder: Path, arguments: list[str]) -> Iterator[None]:
    for _ in range(5):  # Ray gives a node's agents 15 s to start, which a machine with other work may not have for them
        process = start_node(folder, arguments)
        while process.poll() is None and "This command will now block" not in folder.with_suffix(".log").read_text():
            time.sleep(0.1)
        if process.poll() is None:
            break
    else:
        sys.exit(folder.with_suffix(".log").read_text())
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def start_node(folder: Path, arguments: list[str]) -> "subprocess.Popen[bytes]":
    agents = ("metrics-export", "runtime-env-agent", "dashboard-agent-grpc", "dashboard-agent-listen")
    ports = [f"--{agent}-port={port}" for agent, port in zip(agents, free_ports(len(agents)), strict=True)]
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", *ports, *arguments]
    variables = {"GYMFORGE_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    variables |= {"RAY_raylet_start_wait_time_s": "60"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with folder.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            command, env=kept | variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in servers]


if __name__ == "__main__":
    main()
