"""Time our synthesis and SWE-smith's own generation on one repository, and compare what they make.

    python -m benchmarks.synthesis https://github.com/mahmoud/boltons --json

SWE-smith runs as shipped: its adapter's `get_entities_from_file` over the repository's source files (the same files
that ours reads, tests excluded), then, as its procedural `generate` does without limits, every registered modifier on
every entity that it can change, each through its own `_process_candidate`: rewrite, difflib patch, two files written.
It has no option for more than one process. Cloning is left out on both sides, and so are imports, but for those of our
second process. Every measurement has a process of its own. Ours is timed with the 13 modifiers that SWE-smith
registers, and with all strategies; a candidate of ours is one that was screened, proven and deduplicated.

What the two make is compared as `benchmarks/mutants.py` says; the exit code is 1 where a mutant of SWE-smith's is
missing.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.mutants import compare, python_adapter, registered, source_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", help="URL, path or bundle of a repository")
    parser.add_argument("--ref", help="branch, tag or commit; the default branch without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of ours, beside a run with one")
    parser.add_argument("--rounds", type=int, default=3, help="of everything, in turn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-benchmark-") as scratch:
        measured = measure(options, Path(scratch))
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name:<28}{value}")
    sys.exit(1 if measured["mutants"]["missing"] else 0)


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    from extractors.acquire import acquire
    from extractors.profile import profile_repository

    checkout = acquire(options.repo, ref=options.ref, cache_dir=scratch / "cache", destination=scratch / "tree")
    profile = profile_repository(checkout.path)
    tasks: dict[str, Callable[[], Run]] = {"swesmith, 1": partial(apart, shipped, checkout.path, profile)}
    for name, strategies in (("registered", registered()), ("all", None)):
        for workers in (1, options.workers):
            task = partial(apart, ours, checkout.path, profile, options.seed, strategies, workers)
            tasks[f"{name}, {workers}"] = task
    # One after the other in each round, so that all meet the same machine.
    rounds = [{name: task() for name, task in tasks.items()} for _ in range(options.rounds)]
    base = Figures.of([one["swesmith, 1"] for one in rounds])
    found = {name: Figures.of([one[name] for one in rounds]) for name in tasks}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.platform()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}",
        "repo": f"{checkout.ref.name} {checkout.ref.commit[:12]}",
        "rounds": options.rounds,
        **{name: figures.shown(base) for name, figures in found.items()},
        "scaling_by_wall": {
            name: round(found[f"{name}, 1"].wall_s.median / found[f"{name}, {options.workers}"].wall_s.median, 2)
            for name in ("registered", "all")
        },
        "mutants": apart(compare, checkout.path, profile, options.seed),
    }


class Run(NamedTuple):
    candidates: int
    wall_s: float
    cpu_s: float
    """Of all processes, git included."""


class Spread(NamedTuple):
    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(*(round(one, 2) for one in (statistics.median(values), min(values), max(values))))


class Figures(NamedTuple):
    candidates: int
    wall_s: Spread
    cpu_s: Spread

    @classmethod
    def of(cls, runs: list[Run]) -> "Figures":
        return cls(runs[0].candidates, *(Spread.of([getattr(one, of) for one in runs]) for of in ("wall_s", "cpu_s")))

    def shown(self, base: "Figures") -> dict[str, Any]:
        rates = [self.candidates / time.median for time in (self.wall_s, self.cpu_s)]
        theirs = [base.candidates / time.median for time in (base.wall_s, base.cpu_s)]
        return {
            "candidates": self.candidates,
            "wall_s": self.wall_s._asdict(),
            "cpu_s": self.cpu_s._asdict(),
            "a_second": round(rates[0], 1),
            "a_cpu_second": round(rates[1], 1),
            "times_swesmith_by_wall": round(rates[0] / theirs[0], 1),
            "times_swesmith_by_cpu": round(rates[1] / theirs[1], 1),
        }


def apart(task: Callable[..., Any], *arguments: object) -> Any:
    """What the task returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def timed(work: Callable[[], int]) -> Run:
    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    before, started = cpu(), time.perf_counter()
    count = work()
    return Run(count, round(time.perf_counter() - started, 2), round(cpu() - before, 2))


def ours(tree: Path, profile: Any, seed: int, strategies: tuple[str, ...] | None, workers: int) -> Run:
    import libcst  # noqa: F401

    import synthesis.swesmith.comparison  # noqa: F401
    from synthesis.generate import generate

    return timed(lambda: len(generate(tree, profile, seed=seed, strategies=strategies, workers=workers).candidates))


def shipped(tree: Path, profile: Any) -> Run:
    from swesmith.bug_gen.procedural import MAP_EXT_TO_MODIFIERS
    from swesmith.bug_gen.procedural.generate import _process_candidate

    read = python_adapter().get_entities_from_file_py

    def work() -> int:
        entities: list[Any] = []
        for path in source_files(tree, profile):
            read(entities, str(path), -1)
        return sum(
            bool(_process_candidate(entity, modifier, Path(logs), str(tree)))
            for modifier in MAP_EXT_TO_MODIFIERS[".py"]
            for entity in [one for one in entities if modifier.can_change(one)]
        )

    with tempfile.TemporaryDirectory() as logs, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return timed(work)


if __name__ == "__main__":
    main()
