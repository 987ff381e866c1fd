"""Call one of SWE-smith's procedural modifiers as a bug strategy.

Only `swesmith.constants` and `swesmith.bug_gen.procedural` are imported, and only when a strategy is used: they read no
environment, change no directory and open no connection, which its profiles, drivers and `bug_gen.utils` do.
"""

import random
from collections.abc import Iterator
from functools import cache
from importlib import import_module, metadata
from typing import Any, NamedTuple

from synthesis.entities import SourceEntity
from synthesis.strategy import Rewrite, StrategyError


class ModifierStrategy(NamedTuple):
    """A `BugStrategy` around one modifier class; a fresh modifier serves each entity."""

    name: str
    modifier: str
    """`module:class` of the modifier."""
    likelihood: float
    """Chance of each place in an entity to be changed; SWE-smith's own value for this modifier."""

    @property
    def generator(self) -> str:
        return f"swesmith=={metadata.version('swesmith')}"

    def propose(self, entity: SourceEntity, *, rng: random.Random) -> Iterator[Rewrite]:
        """At most one rewrite.

        Raises:
            StrategyError: the modifier raised.
        """
        modifier = _load(self.modifier)(likelihood=self.likelihood)
        modifier.rand = rng
        code = _load("synthesis.swesmith.entity:ModifierEntity")(entity)
        try:
            bug = modifier.modify(code) if modifier.can_change(code) else None
        except Exception as error:
            # The one broad catch of this package: third-party code works on arbitrary source, and may raise anything.
            raise StrategyError(f"{type(error).__name__}: {error}") from error
        if bug is not None:
            yield Rewrite(str(bug.rewrite), str(bug.explanation))


@cache
def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
