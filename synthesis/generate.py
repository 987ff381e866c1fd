"""Generate candidate bugs for a checkout: every strategy on every entity, screened, deduplicated, in sampling order."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from schemas.code import Candidate, CandidateRejection, RejectedRewrite
from schemas.errors import InvalidInput
from schemas.repo import RepoProfile
from synthesis.pool import spread
from synthesis.sampling import sampling_order
from synthesis.strategy import select_strategies, strategy_names
from synthesis.work import Made, Piece, work

__all__ = ["Synthesis", "generate", "strategy_names"]

_PIECE_BYTES = 24_000
"""Of a file, for one message to a process: small beside a repository, large beside what reading the file takes."""
_PROCESS_BYTES = 300_000
"""Of source, for each process: less is done sooner than a process starts."""


class Synthesis(NamedTuple):
    """What came of a checkout."""

    candidates: tuple[Candidate, ...]
    """In sampling order: cut it anywhere, and it is varied."""
    rejected: tuple[RejectedRewrite, ...]
    """By path, place in the file and strategy."""


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
    paths = [path for path in paths if path.endswith((".py", ".pyi"))]
    sizes = {path: (tree / path).stat().st_size for path in paths}
    workers = min(workers, 1 + sum(sizes.values()) // _PROCESS_BYTES)
    # Largest files first, so that the last pieces are small ones; a file's pieces stay together.
    pieces = [
        Piece(tree, path, seed, names, number, count)
        for path in sorted(paths, key=lambda path: -sizes[path])
        for count in [1 + sizes[path] // _PIECE_BYTES if workers > 1 else 1]
        for number in range(count)
    ]
    results = zip(pieces, spread(work, pieces, workers=workers), strict=True)
    made = sorted(results, key=lambda result: (result[0].path, result[0].number))
    candidates: list[Candidate] = []
    rejected: list[RejectedRewrite] = []
    for path, parts in groupby(made, key=lambda result: result[0].path):
        for one in _without_duplicates(path, (outcome for _, outcomes in parts for outcome in outcomes)):
            if isinstance(one, Candidate):
                candidates.append(one)
            else:
                rejected.append(one)
    return Synthesis(sampling_order(candidates, seed=seed), tuple(rejected))


def _without_duplicates(path: str, outcomes: Iterable[Made | RejectedRewrite]) -> Iterator[Candidate | RejectedRewrite]:
    """Outcomes of one file; of the bugs that make the same file, the first is kept."""
    seen: dict[bytes, str] = {}
    for one in outcomes:
        if isinstance(one, RejectedRewrite):
            yield one
        elif one.digest in seen or one.candidate is None:
            detail = f"same file as {seen[one.digest]}"
            reason = CandidateRejection.DUPLICATE
            yield RejectedRewrite(strategy=one.strategy, path=path, entity=one.entity, reason=reason, detail=detail)
        else:
            seen[one.digest] = f"{one.strategy} in {one.entity}"
            yield one.candidate
