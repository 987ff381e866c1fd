"""What finished tasks gave when they were run again: the history from which tasks are quarantined."""

from datetime import datetime

from schemas.model import Model


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
