"""Call one of SWE-smith's procedural modifiers as a bug strategy.

Only `swesmith.constants` and `swesmith.bug_gen.procedural` are imported, and only when a strategy is used: they read no
environment, change no directory and open no connection, which its profiles, drivers and `bug_gen.utils` do.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module, metadata
from typing import Any, NamedTuple

from synthesis.entities import SourceEntity
from synthesis.strategy import Rewrite, StrategyError
from synthesis.swesmith.fold import Sight


class ModifierStrategy(NamedTuple):
    """A `BugStrategy` around one modifier class; a fresh modifier serves each entity."""

    name: str
    modifier: str
    """`module:class` of the modifier."""
    likelihood: float
    """Chance of each place in an entity to be changed; SWE-smith's own value for this modifier."""
    sight: Sight
    """What the modifier looks at in an entity; the rest is kept from it."""

    @property
    def generator(self) -> str:
        return f"swesmith=={metadata.version('swesmith')}"

    def applies_to(self, entity: SourceEntity) -> bool:
        """Whether the modifier says that it can change the entity.

        Raises:
            StrategyError: the modifier raised.
        """
        with _one_error():
            code = _load("synthesis.swesmith.entity:modifier_entity")(entity)
            return bool(_any(self.modifier).can_change(code))

    def propose(self, entity: SourceEntity, *, rng: random.Random) -> Iterator[Rewrite]:
        """At most one rewrite.

        Raises:
            StrategyError: the modifier raised.
        """
        if not self.applies_to(entity):
            return
        with _one_error():
            modifier = _load(self.modifier)(likelihood=self.likelihood)
            modifier.rand = rng
            text = _load("synthesis.swesmith.rewriting:rewrite")(modifier, entity, sight=self.sight)
        if text is not None:
            yield Rewrite(text, str(modifier.explanation))


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # The one broad catch of this package: third-party code works on arbitrary source, and may raise anything.
        raise StrategyError(f"{type(error).__name__}: {error}") from error


@cache
def _any(modifier: str) -> Any:
    """A modifier to ask what it can change, which no likelihood and no random number has a part in."""
    return _load(modifier)()


@cache
def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
