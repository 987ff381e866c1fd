"""Validate candidates of a repository by the fast path; hold time and verdicts against what a user would pick instead.

    python benchmarks/validation.py REPO --candidates 200 --workers 2 --rounds 3 --truth 60 --json

In one run on one machine: SWE-smith's own harness and its protocol in fresh containers without waiting, each on the
first 20 of the sample (kept, so measured once; see `benchmarks.anchors`), and the product on all of the sample, with
the same number of workers. Ratios are of seconds a candidate by the clock. They leave out what both sides share or what
buys trust, which is printed beside them: environment, baseline, measuring what tests depend on, audits. They include
the confirmation of what is accepted, the start of sandboxes, and whole suites for what the fast path leaves open.
`floor_s` is what the affected tests alone took in the warm processes, a candidate. `mib_a_worker_above_suite` is the
memory of our process and all sandboxes at their peaks, a worker, less that of a sandbox that runs the suite; a peak may
be a candidate's, that allocates without end, so `median_mib_a_worker` is told beside it: what both took at most times.

`audits_s` is what the audits of all candidates take, at least: a share of them, 20 or more, by whole suites, of which
those that are accepted take two.
`--truth N` judges the first N by whole suites in fresh containers and stock pytest's JUnit report, and compares. Where
the truth has a test that takes longer than the product allows and the product says `timed_out`, that is listed apart,
as `over_limit`. `--anchors` names what else is compared: both, one, or with no name none. The last line of
`--json` is the object with all figures.
"""

import argparse
import hashlib
import json
import resource
import statistics
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import psutil

sys.path[0] = str(Path(__file__).parents[1])  # or the package `validation` would be this file

from benchmarks.anchors import fresh, swesmith, truth
from benchmarks.anchors.compare import differences, of_verdict
from benchmarks.anchors.results import Measured, load, machine
from benchmarks.anchors.subject import CACHE, Chosen, Subject, prepare
from extractors.diff import apply_patch
from extractors.profile import code_files
from extractors.reach import NameIndex
from schemas.errors import GymforgeError
from validation import impact_run
from validation.fast_path import FastPath, open_fast_path
from validation.impact import ImpactIndex, ImpactMap, read_change
from validation.impact_run import measure_impact
from validation.prover import audited_ids, prove_candidate
from validation.sandbox.protocol import Limits
from validation.validate import Proof, Suite, prove
from validation.warm import Ground

ANCHORS = {"swesmith": swesmith, "fresh": fresh}
ANCHOR_CANDIDATES = 20
_SAMPLE_MEMORY_S = 0.5
_SAMPLE_SUITE_S = 0.05


class Judged(NamedTuple):
    """One candidate of the product's."""

    chosen: Chosen
    proof: Proof
    seconds: float


class Round(NamedTuple):
    """One pass over the whole sample."""

    judged: tuple[Judged, ...]
    wall_s: float
    cpu_s: float
    """Of this process and all that it waited for; sandboxes of an engine are not among them."""
    tests_s: float
    """From the end of loading to the end of the last test, where affected tests were first run."""
    stages_s: Counter[str]
    peak_bytes: int
    """Largest memory of this process and its descendants together; sandboxes of an engine are not among them."""
    engine_bytes: int
    """Largest memory of all containers of the engine together, files in their own memory included; 0 without one."""
    median_bytes: float
    """Of both together, at the moments when it was looked at."""
    sandboxes: int


def main() -> None:
    options = parse(sys.argv[1:])
    try:
        found = run(options)
    except GymforgeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<24}{value}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/validation.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repo", help="what `gymforge ingest` takes: URL, path or bundle")
    parser.add_argument("--ref")
    parser.add_argument("--config", type=Path, help="a gymforge.toml for the repository")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="passes over the sample; the median counts")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; candidates are made with seed 0")
    parser.add_argument("--sandbox", choices=["docker", "local"], default="docker")
    parser.add_argument("--truth", type=int, default=0, help="how many candidates to hold against whole suites")
    parser.add_argument(
        "--again-factor",
        type=float,
        default=truth.AGAIN_FACTOR,
        help="truth: a suite over its limit is run again with this many times the limit; 1 for not at all",
    )
    parser.add_argument("--anchors", nargs="*", choices=ANCHORS, default=list(ANCHORS))
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, object]:
    subject = prepare(
        options.repo, ref=options.ref, config=options.config, sandbox=options.sandbox, cache=options.cache
    )
    tell(f"{subject.ref.name} at {subject.ref.commit[:12]}: {len(subject.ids)} candidates")
    impact, impact_s = measured_impact(subject, options.workers)
    sample = subject.sample(min(options.candidates, len(subject.ids)), seed=options.seed)
    rounds = [one_round(subject, impact, sample, workers=options.workers) for _ in range(options.rounds)]
    per = [one.wall_s / len(sample) for one in rounds]
    last = rounds[-1]
    host_mib, sandboxes_mib = (
        max(getattr(one, name) for one in rounds) / 2**20 for name in ("peak_bytes", "engine_bytes")
    )
    suite_bytes, fresh_s = fresh_suite(subject)
    found: dict[str, object] = {
        "repo": subject.ref.name,
        "commit": subject.ref.commit,
        "machine": machine(),
        "load": load(),
        "sandbox": options.sandbox,
        "workers": options.workers,
        "tests": len(subject.baseline.passing),
        "suite_s": round(subject.suite_s, 2),
        "candidates": len(sample),
        "rounds": options.rounds,
        "seconds_per_candidate": round(statistics.median(per), 4),
        "seconds_per_candidate_min_max": [round(min(per), 4), round(max(per), 4)],
        "cpu_s_per_candidate": round(statistics.median(one.cpu_s for one in rounds) / len(sample), 4),
        "floor_s": round(statistics.median(one.tests_s for one in rounds) / len(sample), 4),
        "stages_s_per_candidate": {
            stage: round(seconds / len(sample), 4) for stage, seconds in sorted(last.stages_s.items())
        },
        "slowest_s": round(max(one.seconds for one in last.judged), 2),
        "median_s": round(statistics.median(one.seconds for one in last.judged), 4),
        "sandboxes": last.sandboxes,
        "peak_mib": round(host_mib),
        "sandboxes_mib": round(sandboxes_mib),
        "suite_mib": round(suite_bytes / 2**20),
        "mib_a_worker_above_suite": round((host_mib + sandboxes_mib) / options.workers - suite_bytes / 2**20),
        "median_mib_a_worker": round(last.median_bytes / 2**20 / options.workers),
        "verdicts": dict(Counter(_said(one.proof) for one in last.judged)),
        "whole_suites": dict(Counter(one.proof.why_whole for one in last.judged if one.proof.why_whole)),
        "unlike_between_rounds": _unlike(rounds),
        "shared_s": {**subject.shared_s, "impact": round(impact_s, 1)},
        "audits_s": round(fresh_s * len(audited_ids(subject.ids, seed=0, judged_at_least=len(subject.ids)))),
    }
    found |= against_anchors(subject, options, float(statistics.median(per)))
    found |= against_truth(subject, options, last)
    return found


def measured_impact(subject: Subject, workers: int) -> tuple[ImpactIndex, float]:
    """What every test depends on, and the seconds that it took to measure; kept for this code, beside other results."""
    folder = Path(impact_run.__file__).parent
    sources = sorted([*folder.glob("*.py"), *folder.glob("runners/*.py")])
    code = hashlib.sha256(b"\0".join(one.read_bytes() for one in sources)).hexdigest()[:12]
    kept = subject.folder / f"impact-{subject.backend.kind.value}-{code}.json"
    if not kept.exists():
        tell("measuring what every test depends on")
        began = time.monotonic()
        impact = measure_impact(
            ground_of(subject),
            subject.baseline,
            code_files=code_files(subject.tree, subject.profile.language),
            workers=workers,
        )
        text = json.dumps({"seconds": time.monotonic() - began, "impact": impact.model_dump(mode="json")})
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(text, encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))
    return ImpactIndex(ImpactMap.model_validate(found["impact"])), float(found["seconds"])


def ground_of(subject: Subject) -> Ground:
    return Ground(
        subject.backend,
        subject.environment.image_name,
        subject.test_command,
        subject.profile.environment,
        Limits(),
    )


def suite_of(subject: Subject, ground: Ground) -> Suite:
    return Suite(
        subject.backend, ground.image, ground.test_command, subject.baseline, ground.environment, ground.limits
    )


def fresh_suite(subject: Subject) -> tuple[int, float]:
    """Memory of a sandbox in which the whole suite runs once, on the clean tree (0 where no engine tells); seconds."""
    began = time.monotonic()
    with Memory(_SAMPLE_SUITE_S) as memory:
        prove(suite_of(subject, ground_of(subject)), {})
    return memory.engine_bytes, time.monotonic() - began


def one_round(subject: Subject, impact: ImpactIndex, sample: Sequence[Chosen], *, workers: int) -> Round:
    """Judge the sample, candidates of a file together, with as many threads as there are workers."""
    ground = ground_of(subject)
    suite = suite_of(subject, ground)
    waiting = deque(sorted(sample, key=lambda one: (one.candidate.entity.path, one.position)))
    judged: list[Judged] = []
    found: list[FastPath] = []

    def worker(names: NameIndex) -> None:
        with open_fast_path(ground, subject.baseline, impact, seed=0) as fast:
            found.append(fast)
            while True:
                try:
                    chosen = waiting.popleft()
                except IndexError:
                    break
                began = time.monotonic()
                proof = judge(subject, suite, fast, names, chosen)
                judged.append(Judged(chosen, proof, time.monotonic() - began))

    with Memory() as memory, ThreadPoolExecutor(max_workers=workers) as pool:
        began, cpu_before_s = time.monotonic(), _cpu_s()
        texts = {path: (subject.tree / path).read_bytes() for path in impact.executed}
        names = NameIndex(texts, subject.profile.language, loading=impact.impact.load_lines)
        for future in [pool.submit(worker, names) for _ in range(workers)]:
            future.result()
        wall_s, cpu_s = time.monotonic() - began, _cpu_s() - cpu_before_s
    stages_s: Counter[str] = Counter()
    for fast in found:
        stages_s.update({f"find: {stage}": seconds for stage, seconds in fast.finder.stages_s.items()})
        stages_s.update({f"confirm: {stage}": seconds for stage, seconds in fast.confirmer.stages_s.items()})
    return Round(
        judged=tuple(judged),
        wall_s=wall_s,
        cpu_s=cpu_s,
        tests_s=stages_s["find: tests"],
        stages_s=stages_s,
        peak_bytes=memory.peak_bytes,
        engine_bytes=memory.engine_bytes,
        median_bytes=statistics.median(memory.seen or [0]),
        sandboxes=sum(server.opened for fast in found for server in (fast.finder, fast.confirmer)),
    )


def judge(subject: Subject, suite: Suite, fast: FastPath, names: NameIndex, chosen: Chosen) -> Proof:
    path, patch = chosen.candidate.entity.path, chosen.candidate.bug_patch
    clean = (subject.tree / path).read_bytes()
    bugged = apply_patch(clean, patch)
    return prove_candidate(
        suite,
        fast,
        candidate_id=chosen.id,
        change=read_change(path, clean, bugged, patch, names),
        edits={path: bugged},
        audited=False,
    )


def against_anchors(subject: Subject, options: argparse.Namespace, seconds: float) -> dict[str, object]:
    """Ratios of seconds a candidate; what an anchor has not measured yet, it measures now."""
    asked = {"size": min(ANCHOR_CANDIDATES, len(subject.ids)), "seed": options.seed, "workers": options.workers}
    found: dict[str, object] = {}
    for name in options.anchors:
        figures = ANCHORS[name].measure(subject, **asked, tell=tell)
        found[f"ratio_{name}"] = round(figures.seconds_per_candidate / seconds, 1)
        found[f"{name}_s"] = figures.seconds_per_candidate
        found[f"{name}_load"] = figures.mean_load
        found[f"{name}_dates"] = figures.dates
        here = machine().items()
        elsewhere = [dict(one) for one in figures.machines if not here <= one.items()]  # theirs have the engine too
        if elsewhere:
            tell(
                f"{name} was measured on another machine: its ratio says nothing. Remove {figures.file} to measure anew"
            )
            found[f"{name}_elsewhere"] = elsewhere
    return found


def against_truth(subject: Subject, options: argparse.Namespace, last: Round) -> dict[str, object]:
    """Verdicts that differ from those of whole suites in fresh sandboxes, as stock pytest reports them."""
    size = min(options.truth, len(subject.ids))
    true: tuple[Measured, ...] = ()
    if size:
        true = truth.measure(
            subject,
            size=size,
            seed=options.seed,
            workers=options.workers,
            again_factor=options.again_factor,
            tell=tell,
        )
    said = [of_verdict(one.chosen, one.proof.verdict) for one in last.judged]
    slow = {one.id: one.facts["over_limit"] for one in true if "over_limit" in one.facts}
    found = differences(true, said)
    by_policy = {one.id: slow[one.id] for one in found if one.id in slow and one.other == "timed_out"}
    return {
        "compared": len({one.id for one in true} & {one.id for one in said}),
        "disagreements": len(found) - len(by_policy) if size else None,
        "disagreeing": [one.model_dump() for one in found if one.id not in by_policy],
        "over_limit": by_policy,
    }


class Memory:
    """Watches the memory of this process and its descendants, where shared pages count once (proportional set size).

    And that of the engine's containers: what the kernel's groups say of anonymous memory and of files in memory.
    """

    def __init__(self, every_s: float = _SAMPLE_MEMORY_S) -> None:
        self.peak_bytes = 0
        self.engine_bytes = 0
        self.seen: list[int] = []
        """Both together, look after look."""
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            own = psutil.Process()
            host = sum(_pss(one) for one in (own, *own.children(recursive=True)))
            engine = sum(_group_bytes(one) for one in _groups())
            self.peak_bytes, self.engine_bytes = max(self.peak_bytes, host), max(self.engine_bytes, engine)
            self.seen.append(host + engine)


def _groups() -> list[Path]:
    """Accounts of the engine's containers: cgroup v1, then v2, whatever there is."""
    top = Path("/sys/fs/cgroup")
    return [*top.glob("memory/docker/*/memory.stat"), *top.glob("system.slice/docker-*.scope/memory.stat")]


def _group_bytes(account: Path) -> int:
    try:
        found = dict(line.split() for line in account.read_text().splitlines())
    except OSError:  # its container has ended
        return 0
    names = ("total_rss", "total_shmem") if "total_rss" in found else ("anon", "shmem")
    return sum(int(found.get(name, 0)) for name in names)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def _cpu_s() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _said(proof: Proof) -> str:
    return proof.verdict.reason.value if proof.verdict.reason else proof.verdict.status.value


def _verdicts(one: Round) -> dict[str, tuple[str, ...]]:
    return {item.chosen.id: (_said(item.proof), *item.proof.verdict.fail_to_pass) for item in one.judged}


def _unlike(rounds: Sequence[Round]) -> dict[str, list[tuple[str, ...]]]:
    """Candidates whose verdicts are not the same in all rounds, with what each said."""
    found = [_verdicts(one) for one in rounds]
    return {one: [each[one] for each in found] for one in sorted(found[0]) if len({each[one] for each in found}) > 1}


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
