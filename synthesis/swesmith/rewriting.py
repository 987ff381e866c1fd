"""Apply one of SWE-smith's Python modifiers to an entity: what its own `modify` gives, in a fraction of the time."""

from functools import lru_cache
from typing import cast

import libcst
from swesmith.bug_gen.procedural.python.base import PythonProceduralModifier

from synthesis.entities import SourceEntity
from synthesis.swesmith.entity import modifier_entity
from synthesis.swesmith.fold import Folded, Sight, fold
from synthesis.swesmith.walk import Stop, Unwalkable, route, walk


def rewrite(modifier: PythonProceduralModifier, entity: SourceEntity, *, sight: Sight) -> str | None:
    """The entity's new source, or `None` where the modifier leaves it as it is.

    It draws from the modifier's generator what `modify` would draw.
    """
    state = modifier.rand.getstate()
    try:
        return _rewrite(modifier, entity.text, fold(entity, sight))
    except (Unwalkable, libcst.CSTValidationError):
        modifier.rand.setstate(state)
        bug = modifier.modify(modifier_entity(entity))
        return None if bug is None else str(bug.rewrite)


def _rewrite(modifier: PythonProceduralModifier, source: str, folded: Folded) -> str | None:
    """The steps of `PythonProceduralModifier.modify`; a syntax tree is parsed once for all modifiers that see it.

    Raises:
        Unwalkable: the modifier needs more than a folded tree and the known handlers.
    """
    if type(modifier).modify is not PythonProceduralModifier.modify:
        raise Unwalkable
    try:
        start = _parse(folded.text)
    except libcst.ParserSyntaxError:
        return None
    transformer = modifier.Transformer(modifier)
    try:
        for _ in range(modifier.max_attempts):
            module = walk(start, transformer)
            if module is start.node:
                continue
            text = folded.unfold(cast("libcst.Module", module).code)
            if text is None:
                raise Unwalkable
            if text != source:
                return text
    except (AttributeError, TypeError, ValueError):
        # What libcst raises where a modifier removes something that cannot be missing.
        return None
    return None


@lru_cache(maxsize=len(Sight))
def _parse(text: str) -> Stop:
    """All modifiers look at one entity before the next."""
    return route(libcst.parse_module(text))
