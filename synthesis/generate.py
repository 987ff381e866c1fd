"""Generate candidate bugs for a checkout: every strategy on every entity, screened, deduplicated, in sampling order."""

import hashlib
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from extractors.diff import FileChange, make_patches
from schemas.code import Candidate, CandidateRejection, RejectedRewrite
from schemas.errors import InvalidInput
from schemas.repo import RepoProfile
from synthesis.alone import CleanFile
from synthesis.entities import SourceEntity, extract_entities
from synthesis.identity import derive_seed
from synthesis.lexing import LexingError
from synthesis.sampling import sampling_order
from synthesis.screen import Refusal, read_source, screen
from synthesis.strategy import BugStrategy, StrategyError, load_strategy, select_strategies, strategy_names

__all__ = ["Synthesis", "generate", "strategy_names"]

_PATCHES_AT_ONCE = 64


class Synthesis(NamedTuple):
    """What came of a checkout."""

    candidates: tuple[Candidate, ...]
    """In sampling order: cut it anywhere, and it is varied."""
    rejected: tuple[RejectedRewrite, ...]
    """By path, place in the file and strategy."""


class _Job(NamedTuple):
    """One file's work, small enough to send to another process."""

    tree: Path
    path: str
    seed: int
    strategies: tuple[str, ...]


class _Bug(NamedTuple):
    """A screened rewrite that has no patch yet."""

    strategy: str
    entity: SourceEntity
    explanation: str
    seed: int
    content: bytes


class _FileResult(NamedTuple):
    candidates: tuple[Candidate, ...]
    rejected: tuple[RejectedRewrite, ...]


_OF_THE_TERMINAL = {signal.SIGINT, signal.SIGHUP}
"""Signals that a terminal sends to all processes of a command at once."""


def generate(
    tree: Path, profile: RepoProfile, *, seed: int, strategies: Sequence[str] | None = None, workers: int = 1
) -> Synthesis:
    """All candidate bugs of a checkout's source files, and every rewrite that was dropped, with its reason.

    Each strategy gets a generator of its own for each entity, seeded by the run's seed and their names, so the result
    depends neither on `workers` nor on the order of anything. Nothing of the repository is executed.

    Raises:
        InvalidInput: an unknown strategy, or fewer than one worker.
        GymforgeError: git is missing.
    """
    if workers < 1:
        raise InvalidInput(f"workers must be at least 1, not {workers}")
    names = select_strategies(strategies)
    paths = sorted(set(profile.source_files) - set(profile.excluded) - set(profile.test_files))
    jobs = [_Job(tree, path, seed, names) for path in paths if path.endswith((".py", ".pyi"))]
    results = _in_processes(jobs, workers) if workers > 1 and len(jobs) > 1 else [_process(job) for job in jobs]
    candidates = [candidate for result in results for candidate in result.candidates]
    rejected = [rewrite for result in results for rewrite in result.rejected]
    return Synthesis(sampling_order(candidates, seed=seed), tuple(rejected))


def _in_processes(jobs: Sequence[_Job], workers: int) -> list[_FileResult]:
    """Results in the order of `jobs`; the largest files are started first."""

    def size(index: int) -> int:
        return -(jobs[index].tree / jobs[index].path).stat().st_size

    context = multiprocessing.get_context("spawn")
    # Processes that are started here inherit the mask: an interrupt waits until they have loaded the program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TERMINAL)
    try:
        pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_die_with_parent)
        # Again: what starts multiprocessing's resource tracker takes SIGINT out of the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_TERMINAL)
        futures = {index: pool.submit(_process, jobs[index]) for index in sorted(range(len(jobs)), key=size)}
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return [futures[index].result() for index in range(len(jobs))]
        finally:
            # After an error or an interrupt, nothing more is started; files in work are finished by their processes.
            pool.shutdown(wait=True, cancel_futures=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    """End when the parent does, however it ends: what a pool waits for never comes then.

    An interrupt from the terminal reaches all processes: workers end without a traceback, the parent reports.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_THE_TERMINAL)


def _process(job: _Job) -> _FileResult:
    content = (job.tree / job.path).read_bytes()
    rejected: list[RejectedRewrite] = []
    try:
        file = read_source(job.path, content)
        entities = extract_entities(job.path, file.source, file.tree)
    except (UnicodeDecodeError, SyntaxError, LexingError) as error:
        reason = CandidateRejection.SYNTAX_ERROR
        if not isinstance(error, SyntaxError):
            reason = CandidateRejection.NOT_RECONSTRUCTED
        detail = f"the clean file cannot be read: {error}"
        return _FileResult((), (RejectedRewrite(strategy="", path=job.path, entity="", reason=reason, detail=detail),))
    strategies = [load_strategy(name) for name in job.strategies]
    bugs = _bugs(file, entities, strategies, seed=job.seed, rejected=rejected)
    return _FileResult(tuple(_with_patches(job.path, content, bugs, rejected)), tuple(rejected))


def _bugs(
    file: CleanFile,
    entities: Sequence[SourceEntity],
    strategies: Sequence[BugStrategy],
    *,
    seed: int,
    rejected: list[RejectedRewrite],
) -> Iterator[_Bug]:
    for entity in entities:
        for strategy in strategies:
            place = (strategy.name, file.path, entity.entity.name, entity.ordinal)
            own_seed = derive_seed(seed, *place)

            def refuse(refusal: Refusal, *, place: tuple[str, str, str, int] = place) -> None:
                rejected.append(
                    RejectedRewrite(
                        strategy=place[0], path=place[1], entity=place[2], reason=refusal.reason, detail=refusal.detail
                    )
                )

            try:
                for rewrite in strategy.propose(entity, rng=random.Random(own_seed)):  # noqa: S311
                    screened = screen(file, entity, rewrite.text)
                    if isinstance(screened, Refusal):
                        refuse(screened)
                    else:
                        yield _Bug(strategy.name, entity, rewrite.explanation, own_seed, screened.encode())
            except StrategyError as error:
                refuse(Refusal(CandidateRejection.STRATEGY_FAILED, str(error)))


def _with_patches(
    path: str, clean: bytes, bugs: Iterator[_Bug], rejected: list[RejectedRewrite]
) -> Iterator[Candidate]:
    """Candidates of one file, without those that make a file that is known already.

    Few bugged files are held at once.
    """
    seen: dict[bytes, str] = {}
    batch: list[_Bug] = []
    for bug in bugs:
        digest = hashlib.sha256(bug.content).digest()
        if digest in seen:
            rejected.append(
                RejectedRewrite(
                    strategy=bug.strategy,
                    path=path,
                    entity=bug.entity.entity.name,
                    reason=CandidateRejection.DUPLICATE,
                    detail=f"same file as {seen[digest]}",
                )
            )
            continue
        seen[digest] = f"{bug.strategy} in {bug.entity.entity.name}"
        batch.append(bug)
        if len(batch) == _PATCHES_AT_ONCE:
            yield from _candidates(path, clean, batch)
            batch = []
    yield from _candidates(path, clean, batch)


def _candidates(path: str, clean: bytes, bugs: Sequence[_Bug]) -> Iterator[Candidate]:
    patches = make_patches([FileChange(path, clean, bug.content) for bug in bugs]) if bugs else ()
    for bug, patch in zip(bugs, patches, strict=True):
        yield Candidate(
            strategy=bug.strategy,
            entity=bug.entity.entity,
            bug_patch=patch,
            explanation=bug.explanation,
            seed=bug.seed,
        )
