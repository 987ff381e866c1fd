"""A dataset made by the scheduled deployment itself: how many tasks an hour, and what they took.

    python -m benchmarks.scheduled examples/repositories.toml --folder build/scheduled --json

A real Prefect server and a real worker are started, `prefect.yaml` is deployed with `nightly` set to fire within two
minutes, and the run that the schedule starts is followed to its end. A second call with the same folder goes on, as the
next night would; the hours of all its runs are added up. `--verify 0.05` then runs that share of the tasks again, by
whole suites and stock pytest (`gymforge verify --record`), which is told apart.

The last line of `--json` is the object with all figures. Exit code 1 where a repository failed, or a task did not hold.
"""

import argparse
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.anchors.results import machine
from flows.statistics import count_dataset
from storage.layout import DatasetLayout

ROOT = Path(__file__).parents[1]
PREFECT = (sys.executable, "-m", "prefect")
GYMFORGE = (sys.executable, "-c", "from flows.entry import main; main()")
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_LOOK_S = 10.0
_FIRES_WITHIN_S = 600.0
_ENDS_WITHIN_S = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path, help="as `gymforge refresh` takes it")
    parser.add_argument("--folder", type=Path, required=True, help="where the deployment works; a second call goes on")
    parser.add_argument("--sandbox", choices=["docker", "local"], default="docker")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--hours", type=float, default=1.0, help="for each repository")
    parser.add_argument("--verify", type=float, default=0.0, help="share of the tasks to run again afterwards")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    run = follow(options) | {"load_at_end": round(os.getloadavg()[0], 2)}
    kept = options.folder / "runs.json"
    runs = [*(json.loads(kept.read_text()) if kept.exists() else []), run]
    kept.write_text(json.dumps(runs, indent=1))
    found = figures(options.folder / "tasks", runs)
    if options.verify:
        found |= verified(options.folder / "tasks", math.ceil(options.verify * found["tasks"]), options)
    text = json.dumps(found) if options.json else "\n".join(f"{name:<24}{value}" for name, value in found.items())
    print(text)
    sys.exit(1 if found["failed"] or found.get("disagreeing") else 0)


def follow(options: argparse.Namespace) -> dict[str, Any]:
    """One run of the deployment, from its schedule to its end."""
    folder: Path = options.folder
    shutil.copy(options.list, folder / f"list{options.list.suffix}")
    described = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    for one in described["deployments"]:
        one["schedules"] = []
        if one["name"] == "nightly":
            one["schedules"] = [{"cron": "*/2 * * * *", "timezone": "UTC"}]
            one["parameters"] = {
                "repositories": f"list{options.list.suffix}",
                "out": "tasks",
                "sandbox": options.sandbox,
                "workers": options.workers,
                "hours": options.hours,
            }
    (folder / "prefect.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    with server(folder) as environment, (folder / "worker.log").open("ab") as log:
        url = environment["PREFECT_API_URL"]
        subprocess.run([*GYMFORGE, "deploy"], cwd=folder, env=environment, check=True, stdout=log, stderr=log)
        worker = subprocess.Popen(
            [*PREFECT, "worker", "start", "--pool", "gymforge"], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            run = _first_run(url, worker)
            deployment = run["deployment_id"]
            # One is what is asked for; the schedule is switched off once it has fired.
            for schedule in _answer("GET", f"{url}/deployments/{deployment}/schedules"):
                _answer("PATCH", f"{url}/deployments/{deployment}/schedules/{schedule['id']}", active=False)
            while run["state_type"] not in ENDED:
                time.sleep(_LOOK_S)
                run = _answer("GET", f"{url}/flow_runs/{run['id']}")
        finally:
            worker.terminate()
            try:
                worker.wait(timeout=_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:  # of a run that was cancelled, Prefect's worker keeps something
                worker.kill()
                worker.wait()
    return {
        "began": run["start_time"],
        "ended": run["end_time"],
        "seconds": run["total_run_time"],
        "state": run["state_name"],
        "message": run["state"]["message"] or "",
    }


def _answer(method: str, url: str, **body: object) -> Any:
    """A busy server without another database than SQLite says 503 now and then."""
    for _ in range(60):
        answer = httpx.request(method, url, json=body or None, timeout=60, trust_env=False)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return answer.raise_for_status().json() if answer.content else None
        time.sleep(1)
    sys.exit(f"the server does not get to {url}")


def _first_run(url: str, worker: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """The run that the schedule has started."""
    end = time.monotonic() + _FIRES_WITHIN_S
    while time.monotonic() < end:
        if worker.poll() is not None:
            sys.exit("the worker has ended; see worker.log")
        asked = {"flows": {"name": {"any_": ["refresh"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        for run in _answer("POST", f"{url}/flow_runs/filter", **asked):
            if run["state_type"] != "SCHEDULED" and run["start_time"]:
                return dict(run)
        time.sleep(1)
    sys.exit("the schedule did not fire; see server.log")


@contextmanager
def server(folder: Path) -> Iterator[Mapping[str, str]]:
    """A Prefect server with a database of its own; the environment in which to speak with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    home = folder / "prefect"
    shutil.rmtree(home, ignore_errors=True)  # what a call before this one left running is not to be waited for
    environment = kept | {
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(ROOT),
    }
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            for _ in range(240):
                try:
                    if httpx.get(f"{environment['PREFECT_API_URL']}/health", trust_env=False).is_success:
                        break
                except httpx.TransportError:
                    time.sleep(0.5)
            yield environment
        finally:
            process.terminate()
            process.wait()


def figures(dataset: Path, runs: list[dict[str, Any]]) -> dict[str, Any]:
    counts = count_dataset(dataset)
    seconds = sum(run["seconds"] for run in runs)
    candidates = counts.tasks + sum(counts.rejected.values())
    layout = DatasetLayout(dataset)
    shards = [path for folder in (layout.data, layout.rejected) for path in folder.glob("*.parquet")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "tasks": counts.tasks,
        "repositories": len(counts.repositories),
        "candidates": candidates,
        "hours": round(seconds / 3600, 2),
        "tasks_an_hour": round(counts.tasks / seconds * 3600),
        "candidates_an_hour": round(candidates / seconds * 3600),
        "hours_of_the_repositories": round(sum(run.seconds for run in counts.runs) / 3600, 2),
        "ledger_mib": round(sum(path.stat().st_size for path in layout.ledger.parent.iterdir()) / 2**20),
        "shards_mib": round(sum(path.stat().st_size for path in shards) / 2**20, 1),
        "failed": sorted({run["message"] for run in runs[-1:] if run["state"] != "Completed"}),
        "runs": runs,
        "by_repository": [
            {
                "repo": run.repo,
                "commit": run.commit[:12],
                "tasks": next((one.tasks for one in counts.repositories if one.repo == run.repo), 0),
                "seconds": round(run.seconds),
                "stages_s": {name: round(value, 1) for name, value in run.stages_s.items()},
                "judged_by": dict(run.judged_by),
                "peak_memory_mib": round(run.peak_memory_bytes / 2**20),
            }
            for run in counts.runs
        ],
        "rejected": dict(counts.rejected),
    }


def verified(dataset: Path, sample: int, options: argparse.Namespace) -> dict[str, Any]:
    started = time.monotonic()
    command = [*GYMFORGE, "verify", str(dataset), "--sample", str(sample), "--workers", str(options.workers)]
    done = subprocess.run(
        [*command, "--sandbox", options.sandbox, "--record", "--json"], capture_output=True, text=True, check=False
    )
    if not done.stdout.strip():
        sys.exit(f"gymforge verify says nothing: {done.stderr}")
    outcome = json.loads(done.stdout)
    return {
        "verified": outcome["verified"],
        "disagreeing": outcome["disagreeing"],
        "verify_minutes": round((time.monotonic() - started) / 60, 1),
    }


if __name__ == "__main__":
    main()
