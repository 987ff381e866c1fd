"""Ingest a repository from nothing and say what it takes: tasks an hour, yield, seconds by stage, memory, sizes.

Runs the real command in a process of its own, with an empty cache unless --cache-dir names a warm one.

    python benchmarks/end_to_end.py https://github.com/mahmoud/boltons --max-tasks 50 --json
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil


def main() -> None:
    options = parse()
    folder = Path(tempfile.mkdtemp(prefix="gymforge-benchmark-"))
    try:
        measured = measure(options, folder)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name:<28}{value}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", help="what `gymforge ingest` takes: URL, path or bundle")
    parser.add_argument("--sandbox", default="auto", choices=["auto", "docker", "local"])
    parser.add_argument("--max-tasks", type=int, default=50)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ref")
    parser.add_argument("--cache-dir", type=Path, help="a warm cache; without it the run starts with an empty one")
    parser.add_argument("--out", type=Path, help="keep the dataset here")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    cache = options.cache_dir or folder / "cache"
    out = options.out or folder / "out"
    command = [str(Path(sys.executable).with_name("gymforge")), "ingest", options.repo, "--out", str(out), "--json"]
    for name in ("sandbox", "max_tasks", "workers", "seed", "ref"):
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    environment = os.environ | {"GYMFORGE_CACHE_DIR": str(cache.resolve())}
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    watch = _Watch(process.pid)
    watch.start()
    printed, _ = process.communicate()
    wall_s = time.monotonic() - started
    watch.finished.set()
    watch.join()
    if process.returncode != 0:
        sys.exit(f"gymforge ingest ended with {process.returncode}")
    result = json.loads(printed)
    tasks = result["ingestion"]["tasks"]
    accounted_s = sum(result["stages_s"].values())
    return {
        "repo": result["ingestion"]["repo"],
        "commit": result["ingestion"]["commit"],
        "sandbox": result["ingestion"]["sandbox"],
        "workers": options.workers,
        "tasks": tasks,
        "candidates": result["candidates"],
        "suite_runs": result["executions"],
        "wall_s": round(wall_s, 1),
        "tasks_per_hour": round(3600 * tasks / wall_s),
        "tasks_per_hour_validating": round(3600 * tasks / result["stages_s"]["validate"]),
        "stages_s": result["stages_s"],
        "outside_stages_s": round(wall_s - accounted_s, 1),
        "yield_by_strategy": {
            strategy: f"{counts.get('accepted', 0)}/{sum(counts.values())}"
            for strategy, counts in result["yields"].items()
        },
        "rejected": result["ingestion"]["rejected"],
        "quarantined": len(result["ingestion"]["quarantined"]),
        "dependency_mode": result["dependency_mode"],
        "peak_orchestrator_bytes": watch.peak_bytes,
        "dataset_bytes": size_of(out / "data") + size_of(out / "rejected"),
        "environment_bytes": environment_bytes(cache, result["ingestion"]["repo"]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform(terse=True)}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


class _Watch(threading.Thread):
    """Samples the orchestrating process's own resident memory, without its children."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.finished = threading.Event()
        self.peak_bytes = 0
        self._process = psutil.Process(pid)

    def run(self) -> None:
        while not self.finished.wait(0.1):
            try:
                self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            except psutil.NoSuchProcess:
                return


def environment_bytes(cache: Path, repo: str) -> int:
    """Size of the largest environment that the cache knows for the repository (of its image's own layer, in Docker)."""
    records = [json.loads(path.read_text()) for path in (cache / "environment-info").glob("*.json")]
    prefix = "gymforge/" + repo.replace("/", "__").lower() + ":"
    return max((one["size_bytes"] for one in records if one["info"]["image_name"].startswith(prefix)), default=0)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
