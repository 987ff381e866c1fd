"""What a dataset card tells beyond the manifest."""

from collections.abc import Mapping

from schemas.health import HealthSummary
from schemas.model import Model


class Example(Model):
    """A task to show."""

    instance_id: str
    problem_statement: str
    goal: str
    patch: str


class CardFacts(Model):
    """What a card tells of a dataset beyond its manifest."""

    name: str
    """Of the dataset, for people."""
    tasks: Mapping[str, int]
    """Split to number of tasks."""
    repos: Mapping[str, int]
    """Repository to number of tasks."""
    languages: Mapping[str, int]
    strategies: Mapping[str, int]
    domains: Mapping[str, int]
    stages: Mapping[str, int]
    issue_styles: Mapping[str, int]
    complexity: tuple[float, ...]
    """`complexity.score` of every task, sorted."""
    tests_failing: tuple[int, ...]
    """Number of failing tests of every task, sorted."""
    health: HealthSummary
    example: Example | None
