"""The rows of what did not become a task: every one keeps its reason."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator

from flows.assemble import NotATask
from schemas.code import Candidate, RejectedRewrite
from schemas.repo import RepoRef
from schemas.tasks import RejectedCandidate


def rejected_row(
    ref: RepoRef, candidate: Candidate, *, candidate_id: str, stage: str, why: NotATask
) -> RejectedCandidate:
    """The row of a candidate that validation rejected, or that no sound task could be made of."""
    return RejectedCandidate(
        repo=ref.name,
        base_commit=ref.commit,
        candidate_id=candidate_id,
        strategy=candidate.strategy,
        path=candidate.entity.path,
        entity=candidate.entity.name,
        stage=stage,
        reason=why.reason,
        detail=why.detail,
        bug_patch=candidate.bug_patch,
    )


def dropped_rows(ref: RepoRef, rewrites: Iterable[RejectedRewrite]) -> Iterator[RejectedCandidate]:
    """Rows of rewrites that never became candidates; the id is a hash of the place and its number there."""
    seen: Counter[str] = Counter()
    for one in rewrites:
        place = json.dumps([ref.name, ref.commit, one.strategy, one.path, one.entity, one.reason, one.detail])
        seen[place] += 1
        digest = hashlib.sha256(f"{place}{seen[place]}".encode()).hexdigest()[:16]
        # A file that is left out as a whole belongs to no strategy.
        strategy = one.strategy or "none"
        yield RejectedCandidate(
            repo=ref.name,
            base_commit=ref.commit,
            candidate_id=f"{ref.name.replace('/', '__')}.{ref.commit[:8]}.{strategy}__dropped-{digest}",
            strategy=strategy,
            path=one.path,
            entity=one.entity,
            stage="synthesis",
            reason=one.reason,
            detail=one.detail,
            bug_patch="",
        )
