"""How a run tells a person what it does; silent unless somebody listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Progress(Protocol):
    """What the pipeline says while it works; called from any thread."""

    def stage(self, name: str, *, total: int | None = None) -> None:
        """A stage begins; `total` is the number of steps where it is known."""
        ...

    def advance(self, *, note: str = "") -> None:
        """One step of the stage is done."""
        ...

    def fact(self, text: str) -> None:
        """Something worth keeping on the screen."""
        ...


class Silence:
    """Says nothing."""

    def stage(self, name: str, *, total: int | None = None) -> None:
        pass

    def advance(self, *, note: str = "") -> None:
        pass

    def fact(self, text: str) -> None:
        pass


_listener: ContextVar[Progress] = ContextVar("gymforge_progress", default=Silence())  # noqa: B039 - has no state


def listener() -> Progress:
    """Who listens to the run in this context."""
    return _listener.get()


@contextmanager
def listening(progress: Progress) -> Iterator[None]:
    """Let `progress` hear of everything that runs inside."""
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)
