"""How the candidates of one repository are judged: in which order, by which way, and when that is no longer trusted."""

import threading
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from flows.bench import Bench, Brief, Job
from flows.progress import listener
from schemas.code import Candidate
from schemas.errors import SandboxFailed
from schemas.manifest import FastPathAudit
from schemas.reports import VerdictStatus
from storage.ledger import Ledger
from validation.impact import Change, ImpactIndex, ImpactMap
from validation.impact_run import measure_impact
from validation.prover import audited_ids
from validation.sandbox.protocol import SandboxBackend
from validation.validate import Audit, Proof
from validation.warm import Ground

_NO_IMPACT = b"null"
_BLOCK_PER_WORKER = 16


class Wave:
    """Positions of candidates that all workers take from.

    Where no more than `wanted` may be accepted, `accepted` ones known before among them, no more are given at a time
    than could all be needed, or than there are workers; and none with as many accepted before it.
    """

    def __init__(
        self, positions: Sequence[int], *, wanted: int | None = None, accepted: Sequence[int] = (), workers: int = 1
    ) -> None:
        self._waiting = deque(positions)
        self._wanted = wanted
        self._accepted = sorted(accepted)
        self._workers = workers
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        self.closed = False
        """Whether no more of it is wanted."""

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> int | None:
        """The next position; `None` when there is none, or none before others are judged."""
        with self._lock:
            while self._waiting and not self.closed and self._has_room():
                position = self._waiting.popleft()
                if self._wanted is None or bisect_left(self._accepted, position) < self._wanted:
                    self._taken.add(position)
                    return position
            return None

    def put_back(self, position: int) -> None:
        """Have it taken again, before all others: something other than its code kept it from being judged."""
        with self._lock:
            self._taken.discard(position)
            self._waiting.appendleft(position)

    def judged(self, position: int, *, accepted: bool) -> None:
        """Have another taken in its place, unless it was accepted."""
        with self._lock:
            if position in self._taken and accepted:
                insort(self._accepted, position)
            self._taken.discard(position)

    def close(self) -> None:
        """Give nothing more."""
        self.closed = True

    def _has_room(self) -> bool:
        return self._wanted is None or len(self._taken) < max(self._workers, self._wanted - len(self._accepted))


class Case(NamedTuple):
    """What is judged, and on what."""

    candidates: Sequence[Candidate]
    ids: Sequence[str]
    brief: Brief
    """Without impact and texts."""
    backend: SandboxBackend
    source: Callable[[str], bytes]
    """A file of the clean tree by its path."""
    code_files: Sequence[str]
    """All files of that language in the tree, tests and what else may be executed among them."""
    cap: int | None
    """Tasks after which no more candidates are judged."""
    workers: int


class Judging:
    """Judges candidates by position, from as many threads as there are, or lets others do it; a context manager."""

    def __init__(self, case: Case, ledger: Ledger, *, timed: Callable[[str], AbstractContextManager[None]]) -> None:
        self._case = case
        self._ledger = ledger
        self._timed = timed
        sure = min(len(case.ids), case.cap or len(case.ids))
        self._audited = audited_ids(case.ids, seed=case.brief.seed, judged_at_least=sure)
        self._distrusted: FastPathAudit | None = None
        self._disagreement: FastPathAudit | None = None
        """An audit's, from when it is counted until candidates are judged anew."""
        self._stack = ExitStack()
        self._audits: list[Audit] = []
        self._ways: Counter[str] = Counter()
        self.brief = case.brief
        """By which candidates are judged now; another one once an audit disagrees."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def fast_path(self) -> bool:
        """Whether candidates are judged by the tests that they can affect."""
        return self._bench.impact is not None

    @property
    def audit(self) -> FastPathAudit | None:
        """What the audits of the counted candidates said; `None` where there was no fast path."""
        if self._distrusted is not None:
            return self._distrusted
        return FastPathAudit(audited=len(self._audits), disagreements=0) if self.fast_path else None

    @property
    def ways(self) -> dict[str, int]:
        """How the counted candidates were judged, and how many."""
        return dict(sorted(self._ways.items()))

    def measure_impact(self) -> None:
        """Measure what every test depends on, once; without that, every candidate takes whole runs of the suite.

        Raises:
            SandboxFailed: this machine cannot open sandboxes now.
        """
        kept, distrusted = self._ledger.get_stage("impact"), self._ledger.get_stage("distrusted")
        if kept is None:
            listener().stage("impact")
            with self._timed("impact"):
                kept = self._measured_impact()
            self._ledger.put_stage("impact", kept)
        impact = None if kept == _NO_IMPACT else ImpactMap.model_validate_json(kept)
        if distrusted is not None and impact is not None:
            self._distrusted, impact = FastPathAudit.model_validate_json(distrusted), None
            self._tell_distrust(self._distrusted)
        self._set_up(impact)

    def scheduled(self, positions: Sequence[int], *, wanted: int | None, workers: int) -> Wave:
        """Those without a verdict, in blocks, which are small beside a wave: rows are made in the order of positions.

        In a block, candidates of a file are together, and what takes longest is first. Where no more than `wanted` may
        be accepted, those that are needed for sure come in blocks, and then one by one.
        """
        waiting, accepted = [], []
        for position in positions:
            proof = self.verdict(position)
            if proof is None:
                waiting.append(position)
            elif proof.verdict.status is VerdictStatus.ACCEPTED:
                accepted.append(position)
        sure = len(waiting) if wanted is None else max(workers, wanted - len(accepted))
        ordered: list[int] = []
        for start in range(0, min(sure, len(waiting)), _BLOCK_PER_WORKER * workers):
            ordered += self._ordered(waiting[start : min(sure, start + _BLOCK_PER_WORKER * workers)])
        return Wave((*ordered, *waiting[len(ordered) :]), wanted=wanted, accepted=accepted, workers=workers)

    def _ordered(self, waiting: Sequence[int]) -> Sequence[int]:
        impact = self._bench.impact
        if impact is None:
            return waiting
        cost_s = {position: self._expected_s(impact, position) for position in waiting}
        by_file: dict[str, float] = {}
        for position in waiting:
            path = self._case.candidates[position].entity.path
            by_file[path] = by_file.get(path, 0.0) + cost_s[position]

        def order(position: int) -> tuple[float, str, float, int]:
            path = self._case.candidates[position].entity.path
            return -by_file[path], path, -cost_s[position], position

        return sorted(waiting, key=order)

    def job(self, position: int) -> Job:
        """What a bench has to know of a candidate."""
        candidate, candidate_id = self._case.candidates[position], self._case.ids[position]
        audited = candidate_id in self._audited
        return Job(position, candidate_id, candidate.entity.path, candidate.bug_patch, audited)

    def judge(self, position: int) -> Proof:
        """Judge one candidate on this machine.

        Raises:
            GymforgeError: this machine cannot judge it now, which says nothing about the candidate.
        """
        return self._bench.judge(self.job(position))

    def keep(self, position: int, proof: Proof) -> bool:
        """Keep what was found about a candidate; `False` and no change where it has a verdict."""
        return self._ledger.record_verdict(self._key(position), proof.model_dump_json(), executions=proof.executions)

    def verdict(self, position: int) -> Proof | None:
        """What was found about a candidate, by the way in which they are judged now; `None` before it is judged."""
        payload = self._ledger.verdict(self._key(position))
        return None if payload is None else Proof.model_validate_json(payload)

    def count(self, position: int, proof: Proof) -> None:
        """Have a candidate's verdict count from now on; see then whether an audit in it `disagrees`."""
        self._ways[_way(proof)] += 1
        if proof.audit is None:
            return
        self._audits.append(proof.audit)
        if proof.audit.difference:
            detail = f"{self._case.ids[position]}: {proof.audit.difference}"
            self._disagreement = FastPathAudit(audited=len(self._audits), disagreements=1, detail=detail)

    @property
    def disagrees(self) -> bool:
        """Whether nothing counts that was judged so far, for an audit disagrees: go on with `begin_anew`."""
        return self._disagreement is not None

    def begin_anew(self) -> None:
        """Judge by whole suites from now on; nobody may be judging."""
        found, self._disagreement = self._disagreement, None
        assert found is not None, "there is a reason"
        self._ledger.put_stage("distrusted", found.model_dump_json())
        self._distrusted = found
        self._tell_distrust(found)
        self._set_up(None)
        self._audits.clear()
        self._ways.clear()

    def _set_up(self, impact: ImpactMap | None) -> None:
        """Judge by this impact from now on."""
        self._stack.close()
        paths = {candidate.entity.path for candidate in self._case.candidates}
        if impact is not None:
            paths |= {*impact.lines, *impact.load_lines}
        texts = {path: text for path in sorted(paths) if (text := self._text(path)) is not None}
        self.brief = self._case.brief._replace(impact=impact, texts=texts)
        self._bench = self._stack.enter_context(Bench(self.brief, self._case.backend))

    def _measured_impact(self) -> bytes:
        """The impact as JSON; `_NO_IMPACT` where the suite cannot be run in warm sandboxes."""
        case, brief = self._case, self._case.brief
        image = brief.environment.image_name
        ground = Ground(case.backend, image, brief.test_command, brief.variables, brief.limits)
        try:
            impact = measure_impact(ground, brief.baseline, code_files=case.code_files, workers=case.workers)
        except SandboxFailed as error:
            if error.transient:
                raise
            listener().fact(f"The suite takes no warm sandbox, so every candidate takes whole runs of it: {error}")
            return _NO_IMPACT
        apart = sum(not group.separable for group in impact.groups)
        needy = sum(bool(group.needs) for group in impact.groups)
        bound = sum(bool(group.bound) for group in impact.groups)
        workers = "forked" if impact.forks else f"started anew: {impact.why_not_forks}"
        listener().fact(
            f"{len(impact.groups)} test files: {apart} do not run alone, {needy} do with another one loaded, "
            f"{bound} do as a whole; "
            f"{len(impact.opaque)} tests run for every candidate; workers are {workers}"
        )
        return impact.model_dump_json().encode()

    def _expected_s(self, impact: ImpactIndex, position: int) -> float:
        entity = self._case.candidates[position].entity
        span = (entity.span.start_line, entity.span.end_line)
        return impact.cpu_s(impact.select(Change(entity.path, (span,), at_load=False, load_lines=())))

    def _text(self, path: str) -> bytes | None:
        try:
            return self._case.source(path)
        except FileNotFoundError:
            return None

    def _key(self, position: int) -> str:
        """What the ledger calls a candidate; judged by whole suites after all, it is judged anew."""
        return f"{self._case.ids[position]}{'' if self._distrusted is None else ' whole'}"

    def _tell_distrust(self, found: FastPathAudit) -> None:
        listener().fact(
            f"Whole suites judge an audited candidate differently ({found.detail}). All candidates of this repository "
            "are judged by whole suites now."
        )


def _way(proof: Proof) -> str:
    """How a candidate was judged, in words that many share."""
    if proof.affected_only:
        return "affected tests"
    if proof.why_whole:
        return f"whole suites{', chosen for an audit' if proof.audit else ''}: {proof.why_whole.partition(':')[0]}"
    return "affected tests and whole suites, which agree" if proof.audit else "whole suites"
