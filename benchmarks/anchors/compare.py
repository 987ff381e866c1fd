"""Hold verdicts against the truth, candidate by candidate, and say which known defect explains a difference."""

import re
from collections.abc import Sequence

from benchmarks.anchors.results import Measured
from benchmarks.anchors.subject import Chosen
from schemas.model import Model
from schemas.reports import Verdict, VerdictStatus

FLAWS = {
    "module does not load": "a test that is not in the log counts for nothing, so a bug that breaks an import breaks "
    "none of the module's tests",
    "error in setup or teardown": "ERROR is neither PASSED nor FAILED, and only these two are compared",
    "white space in a test's id": "a line is read up to the first white space, so the test is lost",
    "line broken by other output": "what a thread or another process prints in the middle of a line hides its status",
    "breaks everything": "accepted, although no test passes any more",
    "one run": "there is no second run, so a bug that breaks other tests each time is accepted",
    "no log": "output that is not UTF-8 ends the run without a log, and so without a verdict",
    "whole suite over its limit": "a time-out keeps nothing of what the suite had found by then",
}
"""Known defects of SWE-smith's grading: a short name, and what happens."""


class Difference(Model):
    """A candidate about which two verdicts differ."""

    id: str
    truth: str
    """`accepted`, or why it was rejected."""
    other: str
    unseen: tuple[str, ...]
    """Tests that the bug breaks, and that the other verdict does not name."""
    surplus: tuple[str, ...]
    """Tests that the other verdict names, and that the bug does not break."""
    explained: tuple[str, ...]
    """Names of `FLAWS` that the difference comes from, all of it; empty where anything is left unexplained."""


def differences(truth: Sequence[Measured], other: Sequence[Measured]) -> tuple[Difference, ...]:
    """Where another verdict is not the truth: accepted or not, and if accepted by both, the failing tests.

    Candidates that only one side has judged are left out.
    """
    by_id = {one.id: one for one in other}
    pairs = [(one, by_id[one.id]) for one in truth if one.id in by_id]
    return tuple(_difference(true, said) for true, said in pairs if not agrees(true, said))


def agrees(truth: Measured, other: Measured) -> bool:
    """Whether both say the same of a candidate; why one is rejected may differ."""
    if truth.accepted != other.accepted:
        return False
    return not truth.accepted or set(truth.failing) == set(other.failing)


def of_verdict(chosen: Chosen, verdict: Verdict) -> Measured:
    """A verdict of the product's, to be held against the truth."""
    return Measured(
        session=0,
        position=chosen.position,
        id=chosen.id,
        started_s=0.0,
        ended_s=0.0,
        accepted=verdict.status is VerdictStatus.ACCEPTED,
        reason="" if verdict.reason is None else verdict.reason.value,
        failing=verdict.fail_to_pass,
        passing=len(verdict.pass_to_pass),
    )


def _difference(truth: Measured, other: Measured) -> Difference:
    unseen = tuple(sorted(set(truth.failing) - set(other.failing)))
    surplus = tuple(sorted(set(other.failing) - set(truth.failing))) if truth.accepted else ()
    return Difference(
        id=truth.id,
        truth=truth.reason or "accepted",
        other=other.reason or "accepted",
        unseen=unseen,
        surplus=surplus,
        explained=_explained(truth, other, unseen, surplus),
    )


def _explained(truth: Measured, other: Measured, unseen: Sequence[str], surplus: Sequence[str]) -> tuple[str, ...]:
    if other.reason == "no_log":
        return ("no log",)
    if truth.accepted and other.reason == "timed_out":
        return ("whole suite over its limit",)
    if not truth.accepted:
        known = {"no_test_passed": "breaks everything", "unstable": "one run"}
        return tuple(known[reason] for reason in (truth.reason,) if reason in known)
    found = {_flaw(truth, other, test) for test in unseen}
    return () if surplus or "" in found else tuple(sorted(found))


def _flaw(truth: Measured, other: Measured, test: str) -> str:
    """Why SWE-smith does not see that a test fails; empty where nothing known explains it."""
    if re.search(r"\s", test):
        return "white space in a test's id"
    if test in truth.facts.get("missing", ()):
        return "module does not load"
    if test in truth.facts.get("errors", ()):
        return "error in setup or teardown"
    return "line broken by other output" if test in other.facts.get("unread", ()) else ""
