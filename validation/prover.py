"""Prove a candidate as it is trusted: by affected tests in warm sandboxes, by whole suites in fresh ones, or both."""

import hashlib
from collections.abc import Mapping, Sequence

from schemas.reports import Verdict
from validation.fast_path import FastPath, Undecided
from validation.impact import Change
from validation.validate import Audit, Proof, Suite, prove

AUDITED_SHARE = 0.02
AUDITED_AT_LEAST = 20
"""Candidates of a repository, where it has as many."""


def prove_candidate(
    suite: Suite, fast: FastPath | None, *, candidate_id: str, change: Change, edits: Mapping[str, bytes], audited: bool
) -> Proof:
    """Judge the tree with `edits` applied, which are what `change` says.

    What the fast path leaves open is decided by whole runs, as is everything without one. An `audited` candidate is
    judged both ways, independently, and has the verdict of the whole runs.

    Raises:
        SandboxFailed: no sandbox can be opened on this machine now.
    """
    if fast is None:
        return prove(suite, edits)
    try:
        found = fast.prove(candidate_id, change, edits)
    except Undecided as undecided:
        whole = prove(suite, edits)
        executions = whole.executions + undecided.executions
        # A row says what it was chosen for: whether the fast path decides may hang on how busy the machine is.
        audit = Audit() if audited else None
        return whole.model_copy(update={"executions": executions, "why_whole": str(undecided), "audit": audit})
    if not audited:
        return found
    whole = prove(suite, edits)
    audit = Audit(difference=_difference(found.verdict, whole.verdict))
    return whole.model_copy(update={"executions": whole.executions + found.executions, "audit": audit})


def audited_ids(candidate_ids: Sequence[str], *, seed: int, judged_at_least: int) -> frozenset[str]:
    """The candidates to audit, by their hashes: a share of all, and enough among those that are sure to be judged.

    `judged_at_least`: how many of the first candidates will be judged whatever happens.
    """
    by_hash = sorted(candidate_ids[:judged_at_least], key=lambda one: _hash(seed, one))
    share = {one for one in candidate_ids if int.from_bytes(_hash(seed, one)[:8], "big") < AUDITED_SHARE * 2**64}
    return frozenset(share.union(by_hash[:AUDITED_AT_LEAST]))


def _difference(fast: Verdict, whole: Verdict) -> str:
    """How two verdicts disagree; empty where they do not."""
    says = [one.reason.value if one.reason else one.status.value for one in (fast, whole)]
    if says[0] != says[1]:
        return f"{says[0]} by the affected tests, {says[1]} by the whole suite ({whole.detail or 'no detail'})"
    for name, tests, others in (
        ("fail", fast.fail_to_pass, whole.fail_to_pass),
        ("pass", fast.pass_to_pass, whole.pass_to_pass),
    ):
        differing = sorted(set(tests) ^ set(others))
        if differing:
            return f"{len(differing)} tests that {name} differ, {differing[0]} first"
    return ""


def _hash(seed: int, candidate_id: str) -> bytes:
    return hashlib.sha256(f"audit\0{seed}\0{candidate_id}".encode()).digest()
