"""What a bug strategy is, and the table of all of them."""

import random
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from schemas.errors import InvalidInput

if TYPE_CHECKING:
    from synthesis.entities import SourceEntity


class Rewrite(NamedTuple):
    """An entity's new source."""

    text: str
    """The whole entity, from its `def` or `class` on, at column 0 and with LF line ends."""
    explanation: str
    """What was done, in the words of the strategy."""


class StrategyError(RuntimeError):
    """A strategy raised; the message says what. It never leaves synthesis: it becomes a rejection."""


class BugStrategy(Protocol):
    """Makes bugs out of one entity at a time; holds no state between two calls."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    @property
    def generator(self) -> str:
        """`name==version` of the library that it comes from."""
        ...

    def applies_to(self, entity: "SourceEntity") -> bool:
        """Whether there may be anything to rewrite in `entity`; asked first, for it is no in most cases.

        Raises:
            StrategyError: the strategy cannot deal with this entity.
        """
        ...

    def propose(self, entity: "SourceEntity", *, rng: random.Random) -> Iterable[Rewrite]:
        """Rewrites of `entity`; the same entity and state of `rng` give the same rewrites in the same order.

        Layout does not matter: what a rewrite leaves alone keeps the file's own text.

        Raises:
            StrategyError: the strategy cannot deal with this entity.
        """
        ...


_SWESMITH = (
    "class_rm_base",
    "class_rm_funcs",
    "class_shuffle_funcs",
    "ctrl_invert_if",
    "ctrl_shuffle",
    "flip_operators",
    "op_break_chains",
    "op_change",
    "op_change_const",
    "op_swap",
    "remove_assign",
    "remove_cond",
    "remove_loop",
    "remove_wrapper",
)

STRATEGIES: Mapping[str, str] = {name: f"synthesis.swesmith.strategies:{name}" for name in _SWESMITH}
"""Name to `module:attribute` of a `BugStrategy`; the order decides which of two equal bugs is kept."""


def strategy_names() -> tuple[str, ...]:
    """All strategies, in the table's order."""
    return tuple(STRATEGIES)


def select_strategies(names: Sequence[str] | None) -> tuple[str, ...]:
    """The named strategies without repeats, in the table's order; all of them for `None`.

    Raises:
        InvalidInput: a name is not in the table, or there is no name.
    """
    if names is None:
        return strategy_names()
    unknown = sorted(set(names) - set(STRATEGIES))
    if unknown or not names:
        problem = f"no bug strategy is called {', '.join(unknown)}" if unknown else "no bug strategy was given"
        raise InvalidInput(f"{problem}; choose from {', '.join(STRATEGIES)}")
    return tuple(name for name in STRATEGIES if name in names)


def load_strategy(name: str) -> BugStrategy:
    """Import a strategy of the table.

    Raises:
        InvalidInput: the name is not in the table.
    """
    select_strategies([name])
    module, _, attribute = STRATEGIES[name].partition(":")
    return cast("BugStrategy", getattr(import_module(module), attribute))
