"""The facts about one candidate that tags, plan and edit targets are computed from."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.code import Candidate
from schemas.reports import TestFailure


class TaskFacts(NamedTuple):
    """One accepted candidate; whatever is written about it must follow from this, the tree and the coverage."""

    candidate: Candidate
    clean: bytes
    """The changed file as it is in the clean tree."""
    bugged: bytes
    """The same file with the bug: the task's tree."""
    fix_patch: str
    """git diff from `bugged` to `clean`."""
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    failures: Mapping[str, TestFailure]
    """Failures on the bugged tree, by test id; modules that did not load are keyed by their path."""
