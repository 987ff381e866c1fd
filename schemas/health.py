"""What finished tasks gave when they were run again: the history from which tasks are quarantined."""

from datetime import datetime

from pydantic import computed_field

from schemas.model import Model

TARGET = 0.05
"""Of the tasks that were accepted, fewer are to be rejected later."""


class HealthCheck(Model):
    """One task, run again; a second time where it did not hold in the first, and kept only where both agree."""

    instance_id: str
    checked_at: datetime
    """UTC."""
    sandbox: str
    """Kind of sandbox in which it ran."""
    gymforge_version: str
    disagreements: tuple[str, ...]
    """What speaks against it; empty where it holds."""

    @property
    def holds(self) -> bool:
        return not self.disagreements


class HealthSummary(Model):
    """How many finished tasks were rejected later, for they did not hold when they were run again."""

    accepted: int
    """Tasks when they were made, those that were rejected since among them."""
    checked: int
    """Of these, how many were run again at least once."""
    quarantined: int
    """Of these, how many are in quarantine now (see `task_registry.gates.health`); releases leave them out."""
    last_checked_at: datetime | None = None
    """`None` where none was, or where nobody recorded it."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rejected_later(self) -> float | None:
        """Share of the tasks that were run again; `None` where none was."""
        return self.quarantined / self.checked if self.checked else None

    @property
    def told(self) -> str:
        """All of it in a sentence, for people."""
        if self.rejected_later is None:
            return f"none of {self.accepted:,} tasks has been run again since it was made"
        last = f", last on {self.last_checked_at:%Y-%m-%d}" if self.last_checked_at else ""
        return (
            f"{self.quarantined:,} of {self.checked:,} tasks that were run again were rejected later: "
            f"{self.rejected_later:.1%}, and less than {TARGET:.0%} is the target ({self.accepted:,} tasks were "
            f"accepted{last})"
        )
