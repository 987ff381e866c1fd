"""Apply one of SWE-smith's Python modifiers to an entity: what its own `modify` gives, in a fraction of the time."""

from functools import lru_cache

import libcst
from swesmith.bug_gen.procedural.python.base import PythonProceduralModifier

from synthesis.entities import SourceEntity
from synthesis.swesmith.fold import Folded, Sight, fold
from synthesis.swesmith.sparse import sparse


def rewrite(modifier: PythonProceduralModifier, entity: SourceEntity, *, sight: Sight) -> str | None:
    """The entity's new source, or `None` where the modifier leaves it as it is.

    It draws from the modifier's generator what `modify` would draw.
    """
    state = modifier.rand.getstate()
    folded = fold(entity, sight)
    try:
        return _rewrite(modifier, entity, folded)
    except _StandInChanged:
        modifier.rand.setstate(state)
        return _rewrite(modifier, entity, Folded(entity.text, {}))


class _StandInChanged(Exception):
    """A modifier looked at what it was said not to look at."""


def _rewrite(modifier: PythonProceduralModifier, entity: SourceEntity, folded: Folded) -> str | None:
    """The steps of `PythonProceduralModifier.modify`; a syntax tree is parsed once for all modifiers that see it."""
    try:
        module = _parse(folded.text)
    except libcst.ParserSyntaxError:
        return None
    transformer = sparse(modifier.Transformer)(modifier)
    try:
        for _ in range(modifier.max_attempts):
            text = folded.unfold(module.visit(transformer).code)
            if text is None:
                raise _StandInChanged
            if text != entity.text:
                return text
    except (AttributeError, TypeError, ValueError):
        # What libcst raises where a modifier removes something that cannot be missing.
        return None
    return None


@lru_cache(maxsize=len(Sight))
def _parse(text: str) -> libcst.Module:
    """All modifiers look at one entity before the next."""
    return libcst.parse_module(text)
