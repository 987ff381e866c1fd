"""What a report tells of a dataset beyond its manifest and its rows."""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.model import Model
from schemas.tasks import TaskInstance
from storage.card_facts import CardFacts


class ReportTask(NamedTuple):
    """A task, and where a curriculum and a release put it."""

    task: TaskInstance
    stage: str
    split: str


class RunTimes(Model):
    """What the recorded runs took; tied to the machines on which they ran."""

    runs: int
    seconds: float
    stages_s: Mapping[str, float]
    """Stage to seconds of all runs together, in the order of the work."""


class ReportFacts(Model):
    counts: CardFacts
    lost: Mapping[str, Mapping[str, int]]
    """Stage (`synthesis`, `validation`, `finish`, `release`) to reason to number, in the order of the work."""
    tried: Mapping[str, int]
    """Strategy to number of rewrites, accepted or not; empty for a release, which does not keep them."""
    times: RunTimes | None
    """`None` where no run left a record, as in a release."""
