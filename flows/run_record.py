"""What a finished run cost on its machine; kept beside the dataset, never in it."""

import resource
import sys
from collections.abc import Mapping

from pydantic import Field

from schemas.model import Model


class RunRecord(Model):
    """One finished run, kept in `runs/`; tied to a machine."""

    repo: str
    commit: str
    finished_at: str
    seconds: float
    stages_s: Mapping[str, float]
    executions: int
    judged_by: Mapping[str, int] = Field(default_factory=dict)
    """`affected tests`, these and whole suites (an audit), `whole suites`, or why it had to be these, to the number of
    candidates."""
    peak_memory_bytes: int
    workers: int
    dependency_mode: str


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
