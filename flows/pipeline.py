"""One repository's walk from source to shards: the order of the steps and what survives a kill, nothing else."""

import math
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

from extractors.acquire import Checkout, acquire
from extractors.index import RepoIndex
from extractors.profile import code_files, profile_repository
from flows.assemble import Ground, NotATask, assemble
from flows.bench import Brief, Job
from flows.interrupt import check_interrupt
from flows.judging import Case, Judging, Wave
from flows.preparation import Preparation
from flows.progress import listener
from flows.rejections import dropped_rows, rejected_row
from flows.run_record import RunRecord, peak_memory_bytes
from flows.settings import IngestSettings, rows_hash, work_hash
from schemas.code import Candidate, RejectedRewrite
from schemas.errors import InvalidInput
from schemas.manifest import Ingestion, IngestionSettings
from schemas.model import Model
from schemas.repo import EnvironmentInfo, RepoProfile
from schemas.reports import Baseline, Rejection, VerdictStatus
from schemas.tasks import RejectedCandidate, TaskInstance
from storage.durable import write_whole
from storage.layout import DatasetLayout
from storage.ledger import Ledger
from storage.manifest import (
    add_ingestion,
    committing,
    find_ingestion,
    finished_ingestion,
    open_for_writing,
    read_manifest,
)
from synthesis.generate import generate, strategy_names
from synthesis.identity import instance_id
from synthesis.strategy import select_strategies
from validation.sandbox.protocol import Limits, SandboxBackend
from validation.sandbox.select import open_backend
from validation.suite import frozen_test_command
from validation.validate import Proof

WAVE_PER_WORKER = {True: 400, False: 50}
"""Most validations that one task run carries on average, on the fast path or not: minutes of work, so that the
orchestrator's cost is lost in it."""
_TOLD_BY_THE_LEDGER = frozenset({Rejection.TIMED_OUT, Rejection.INCOMPLETE})
"""Reasons whose details are not released: which test came first, or how many, hangs on how busy the machine was."""


class IngestResult(Model):
    """What an ingestion gave, and what it cost on this machine."""

    out: Path
    ingestion: Ingestion
    candidates: int
    """Candidates that were validated, up to the last one that counts."""
    yields: dict[str, dict[str, int]]
    """Strategy to reason (`accepted` among them) to number of candidates."""
    stages_s: dict[str, float]
    """Seconds by stage; empty where the dataset already held this ingestion."""
    executions: int
    """Suite runs of all validations."""
    dependency_mode: str
    repeated: bool = False
    """The dataset already held it; nothing was done."""


class Synthesized(Model):
    """What synthesis gave, as the ledger keeps it."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[RejectedRewrite, ...]


class Prepared(NamedTuple):
    environment: EnvironmentInfo
    baseline: Baseline
    test_command: tuple[str, ...]


class Pipeline:
    """The state of one ingestion. Methods are called in the order in which they stand here; a context manager."""

    def __init__(self, settings: IngestSettings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.settings = settings
        self.stopping = threading.Event()
        """Set it to end after the validations that are under way."""
        self._now = now
        self._stack = ExitStack()
        self._tasks: list[bytes] = []
        """Finished rows, packed: thousands of them must fit beside all else."""
        self._accepted: Counter[str] = Counter()
        self._texts: set[str] = set()
        self._rejected: list[RejectedCandidate] = []
        self._position = 0
        self._wave = Wave(())
        self._workers = settings.workers

    def __enter__(self) -> Self:
        strategies = self.settings.strategies
        if strategies is not None:
            _require_known(strategies)
        self.backend: SandboxBackend = open_backend(self.settings.sandbox, cache_dir=self.settings.cache_dir)
        writing = open_for_writing(self.settings.out, writer=self.settings.work)
        self.layout: DatasetLayout = self._stack.enter_context(writing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def acquire(self) -> RepoProfile:
        """Clone the source at its pinned commit, profile it, and open its part of the ledger."""
        started = monotonic()
        listener().stage("acquire")
        self.checkout: Checkout = acquire(
            self.settings.source,
            ref=self.settings.ref,
            cache_dir=self.settings.cache_dir,
            destination=self.layout.writer(self.settings.work) / "tree",
        )
        ref = self.checkout.ref
        listener().fact(f"{ref.name} at {ref.commit[:12]} ({ref.version or 'no tag'}), licence {ref.license_spdx}")
        listener().stage("profile")
        self.profile: RepoProfile = profile_repository(self.checkout.path, config=self.settings.config)
        listener().fact(
            f"{self.profile.language}: {len(self.profile.source_files)} source files, "
            f"{len(self.profile.test_files)} test files, {' '.join(self.profile.test_command)}"
        )
        for name, where in sorted(self.profile.provenance.items()):
            listener().fact(f"  {name}: {where}")
        if self.profile.excluded:
            listener().fact(f"  {len(self.profile.excluded)} files are left out of synthesis, `manifest.json` says why")
        identity = work_hash(self.settings, ref.name, ref.commit, self.profile.model_dump_json(), self.backend.kind)
        self.ledger: Ledger = self._stack.enter_context(Ledger.open(self.layout.ledger, identity=identity))
        self.ledger.record_time("acquire", monotonic() - started, at=self._now())
        return self.profile

    def prepare(self) -> Prepared:
        """Build the environment and measure the baseline: newest dependencies first, else those of the commit's time.

        Raises:
            EnvironmentFailed, BaselineFailed: neither gives a suite that runs; of the attempt that came further.
        """
        preparation = Preparation(self.settings, self.backend, self.checkout, self.profile, self._timed, self._now())
        kept = self.ledger.get_stage("environment"), self.ledger.get_stage("baseline")
        if kept[0] is not None and kept[1] is not None:
            environment = EnvironmentInfo.model_validate_json(kept[0])
            baseline = Baseline.model_validate_json(kept[1])
            if not self.backend.has(environment.image_name):
                environment = preparation.build(cutoff=environment.cutoff, lock=environment.dependencies)
        else:
            environment, baseline = preparation.choose()
            self.ledger.put_stage("environment", environment.model_dump_json())
            self.ledger.put_stage("baseline", baseline.model_dump_json())
        command = frozen_test_command(self.profile.test_command, environment.dependencies, without=baseline.hanging)
        self.prepared = Prepared(environment, baseline, command)
        config_hash = rows_hash(self.settings, self.profile.model_dump_json(), environment.key)
        index = RepoIndex(self.checkout.path, self.profile, baseline.coverage)
        self.ground = Ground(
            self.checkout, self.profile, environment, baseline, index, command, self.settings.seed, config_hash
        )
        return self.prepared

    def present(self) -> Ingestion | None:
        """What the dataset holds of the same commit, where only new commits are asked for."""
        if not self.settings.only_new:
            return None
        ref = self.checkout.ref
        return find_ingestion(read_manifest(self.layout), repo=ref.name, commit=ref.commit)

    def finished(self) -> Ingestion | None:
        """The very same ingestion, where the dataset already holds it.

        Raises:
            DatasetError: it holds the same commit with other settings.
        """
        ref = self.checkout.ref
        return finished_ingestion(
            self.layout,
            repo=ref.name,
            commit=ref.commit,
            config_hash=self.ground.config_hash,
            seed=self.settings.seed,
            sandbox=self.backend.kind,
        )

    def synthesize(self) -> int:
        """Make all candidates, in sampling order; returns their number."""
        kept = self.ledger.get_stage("synthesis")
        if kept is None:
            listener().stage("synthesize")
            with self._timed("synthesize"):
                made = generate(
                    self.checkout.path,
                    self.profile,
                    seed=self.settings.seed,
                    strategies=self.settings.strategies,
                    workers=self.settings.workers,
                )
                self.synthesized = Synthesized(candidates=made.candidates, rejected=made.rejected)
            self.ledger.put_stage("synthesis", self.synthesized.model_dump_json())
        else:
            self.synthesized = Synthesized.model_validate_json(kept)
        ref = self.checkout.ref
        self._ids = tuple(
            instance_id(ref.name, ref.commit, candidate.strategy, candidate.bug_patch)
            for candidate in self.synthesized.candidates
        )
        listener().fact(
            f"{len(self._ids)} candidates, {len(self.synthesized.rejected)} rewrites dropped before any test ran"
        )
        return len(self._ids)

    def measure_impact(self) -> None:
        """Measure what every test depends on, so that candidates can be judged by the tests that they can affect."""
        brief = Brief(
            environment=self.prepared.environment,
            test_command=self.prepared.test_command,
            variables=self.profile.environment,
            baseline=self.prepared.baseline,
            limits=Limits(),
            impact=None,
            texts={},
            language=self.profile.language,
            seed=self.settings.seed,
        )
        case = Case(
            candidates=self.synthesized.candidates,
            ids=self._ids,
            brief=brief,
            backend=self.backend,
            source=self.ground.repository.source,
            code_files=code_files(self.checkout.path, self.profile.language),
            cap=self.settings.max_tasks,
            workers=self.settings.workers,
        )
        self._judging = self._stack.enter_context(Judging(case, self.ledger, timed=self._timed))
        self._judging.measure_impact()
        listener().stage("validate", total=self.settings.max_tasks or len(self._ids))

    def waves(self, *, workers: int | None = None) -> Iterator[Wave]:
        """Candidates still to be judged, for all workers to take from; as many workers as the settings say, or these.

        The next wave is asked for when nobody judges any more; a cap on tasks ends the waves.
        """
        self._workers = workers = workers or self.settings.workers
        while self._to_do and not self.stopping.is_set():
            cap, size = self.settings.max_tasks, WAVE_PER_WORKER[self._judging.fast_path] * workers
            wanted = None if cap is None else cap - len(self._tasks)
            first = self._position
            positions = range(first, min(len(self._ids), first + size))
            self._wave = self._judging.scheduled(positions, wanted=wanted, workers=workers)
            with self._timed("validate"):
                yield self._wave
            with self._timed("assemble"):
                self.count()
            if self._judging.disagrees:
                self._judging.begin_anew()
                self._tasks, self._rejected, self._position = [], [], 0
                self._accepted.clear()
                self._texts.clear()
            elif not self.stopping.is_set():
                assert self._position > first, "the first of a wave is always needed, and judged in it"

    def validate(self, wave: Wave) -> int:
        """Take candidates from the wave until none is left, and judge them; returns how many."""
        ran = 0
        while not self.stopping.is_set():
            position = wave.take()
            if position is None:
                break
            try:
                new = self.keep(position, self._judging.judge(position))
            except BaseException:
                wave.put_back(position)
                raise
            # Who works on the repository under another name of its source may have judged it meanwhile.
            ran += new
        return ran

    @property
    def brief(self) -> Brief:
        """By what candidates of the wave at hand are judged, where that is not done by `validate`."""
        return self._judging.brief

    def job(self, position: int) -> Job:
        """A candidate of the wave at hand, for a bench that has the `brief`."""
        return self._judging.job(position)

    def keep(self, position: int, proof: Proof) -> bool:
        """Keep a candidate's verdict; `False` and no change where it has one."""
        new = self._judging.keep(position, proof)
        accepted = proof.verdict.status is VerdictStatus.ACCEPTED
        self._wave.judged(position, accepted=accepted)
        if new and (self.settings.max_tasks is None or accepted):
            listener().advance(note=self.synthesized.candidates[position].strategy)
        return new

    def count(self, *, for_s: float = math.inf) -> None:
        """Make rows of what is judged, in candidate order, up to the first that is not; others may judge meanwhile.

        For the thread that asks for waves; after `for_s` seconds it may go on later. What lies behind the cap on tasks
        counts nowhere.
        """
        until = monotonic() + for_s
        while self._to_do and not self.stopping.is_set() and not self._judging.disagrees:
            proof = self._judging.verdict(self._position) if monotonic() < until else None
            if proof is None:
                return
            self._judging.count(self._position, proof)
            if not self._judging.disagrees:
                self._assemble(self._position, proof)
                self._position += 1
        self._wave.close()

    @property
    def _to_do(self) -> bool:
        """Whether there are more candidates and the cap leaves room for tasks."""
        cap = self.settings.max_tasks
        return self._position < len(self._ids) and (cap is None or len(self._tasks) < cap)

    def write(self) -> IngestResult:
        """Write the shards, then the manifest. The same inputs give the same bytes.

        Raises:
            DatasetError: another process has added the same commit with other settings meanwhile.
        """
        listener().stage("write")
        with committing(self.layout):
            present = self.finished()
            return self._commit() if present is None else self.repeated(present)

    def _commit(self) -> IngestResult:
        from storage.shards import write_rejected, write_tasks

        ref = self.checkout.ref
        rejected = [*self._rejected, *dropped_rows(self.checkout.ref, self.synthesized.rejected)]
        with self._timed("write"):
            tasks = (TaskInstance.model_validate_json(zlib.decompress(packed)) for packed in self._tasks)
            shards = write_tasks(self.layout, repo=ref.name, commit=ref.commit, tasks=tasks)
            rejected_shards = write_rejected(self.layout, repo=ref.name, commit=ref.commit, rows=rejected)
            ingestion = Ingestion(
                repo=ref.name,
                url=ref.url,
                commit=ref.commit,
                license_spdx=ref.license_spdx,
                attribution=ref.attribution,
                root_commits=ref.root_commits,
                first_commit=ref.first_commit,
                sandbox=self.backend.kind,
                config_hash=self.ground.config_hash,
                seed=self.settings.seed,
                settings=IngestionSettings(
                    max_tasks=self.settings.max_tasks,
                    strategies=select_strategies(self.settings.strategies),
                    config="" if self.settings.config is None else self.settings.config.name,
                ),
                tasks=len(self._tasks),
                rejected=dict(sorted(Counter(row.reason for row in rejected).items())),
                quarantined={test: tuple(seen) for test, seen in sorted(self.prepared.baseline.quarantined.items())},
                profile=self.profile,
                environment=self.prepared.environment,
                fast_path=self._judging.audit,
                not_passing=tuple(sorted(set(self.prepared.baseline.stable) - self.prepared.baseline.passing)),
                shards=shards,
                rejected_shards=rejected_shards,
            )
        # The record comes first: once the manifest names the ingestion, no run comes back to it.
        result = self.result(ingestion)
        self._keep_record(result)
        add_ingestion(self.layout, ingestion)
        return result

    def _keep_record(self, result: IngestResult) -> None:
        ref = self.checkout.ref
        record = RunRecord(
            repo=ref.name,
            commit=ref.commit,
            finished_at=self._now().isoformat(),
            seconds=sum(result.stages_s.values()),
            stages_s=result.stages_s,
            executions=result.executions,
            judged_by=self._judging.ways,
            peak_memory_bytes=peak_memory_bytes(),
            workers=self._workers,
            dependency_mode=result.dependency_mode,
        )
        write_whole(self.layout.run_record(ref.name, ref.commit), record.model_dump_json(indent=2).encode())

    def repeated(self, ingestion: Ingestion) -> IngestResult:
        """The summary where the dataset already held the ingestion: nothing was done."""
        return IngestResult(
            out=self.layout.root,
            ingestion=ingestion,
            candidates=0,
            yields={},
            stages_s={},
            executions=0,
            dependency_mode=ingestion.environment.dependency_mode,
            repeated=True,
        )

    def result(self, ingestion: Ingestion) -> IngestResult:
        """The summary of a finished walk."""
        yields: dict[str, Counter[str]] = {}
        for strategy, number in self._accepted.items():
            yields.setdefault(strategy, Counter())["accepted"] = number
        for row in (*self._rejected, *dropped_rows(self.checkout.ref, self.synthesized.rejected)):
            yields.setdefault(row.strategy, Counter())[row.reason] += 1
        stages_s: dict[str, float] = {}
        for entry in self.ledger.times():
            stages_s[entry.stage] = stages_s.get(entry.stage, 0.0) + entry.seconds
        return IngestResult(
            out=self.layout.root,
            ingestion=ingestion,
            candidates=len(self._tasks) + len(self._rejected),
            yields={strategy: dict(sorted(counts.items())) for strategy, counts in sorted(yields.items())},
            stages_s={stage: round(seconds, 3) for stage, seconds in sorted(stages_s.items())},
            executions=self.ledger.executions(),
            dependency_mode=self.prepared.environment.dependency_mode,
        )

    def _assemble(self, position: int, proof: Proof) -> None:
        """Make a row of a judged candidate."""
        candidate = self.synthesized.candidates[position]
        if proof.verdict.status is VerdictStatus.ACCEPTED:
            made = assemble(
                candidate,
                proof,
                instance_id=self._ids[position],
                ground=self.ground,
                taken=self._texts,
                fast_path=self._judging.fast_path,
            )
            if isinstance(made, TaskInstance):
                self._keep(made)
                return
            why, stage = made, "finish"
        else:
            reason = proof.verdict.reason
            assert reason is not None, "a rejected verdict has a reason"
            detail = "" if reason in _TOLD_BY_THE_LEDGER else proof.verdict.detail
            why, stage = NotATask(reason, detail), "validation"
        self._rejected.append(
            rejected_row(self.checkout.ref, candidate, candidate_id=self._ids[position], stage=stage, why=why)
        )

    def _keep(self, task: TaskInstance) -> None:
        self._tasks.append(zlib.compress(task.model_dump_json().encode(), level=1))
        self._accepted[task.strategy] += 1
        self._texts.add(task.problem_statement)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = monotonic()
        try:
            yield
            check_interrupt()
        finally:
            self.ledger.record_time(stage, monotonic() - started, at=self._now())


def _require_known(strategies: Sequence[str]) -> None:
    unknown = sorted(set(strategies) - set(strategy_names()))
    if unknown:
        raise InvalidInput(
            f"Unknown strategy {', '.join(unknown)} in --strategies; choose from {', '.join(strategy_names())}."
        )
