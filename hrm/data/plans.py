"""A plan as a set of numbers, which the high-level state of a model learns to say; pure, no I/O."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm.tokenizer.encoding import Tokenizer
from schemas.tasks import Plan, StepKind

KINDS = tuple(StepKind)
_TOKENS_EACH = 12
"""Different tokens that are kept of the files of one kind of step, and of its symbols."""
PLAN_CODES = len(KINDS) * (1 + 2 * _TOKENS_EACH)
"""Most numbers that a plan has."""
_VOCABULARY = 2**16
HAS_STEP, FILES, SYMBOLS = range(3)
"""What a number says: that there is a step of a kind; that a token is in its files' names, or in its symbols'."""


class PlanCode(NamedTuple):
    """What one number says."""

    kind: int
    """Position in `KINDS`."""
    part: int
    """`HAS_STEP`, `FILES` or `SYMBOLS`."""
    token: int
    """0 for `HAS_STEP`."""


def plan_codes(plan: Plan, *, tokenizer: Tokenizer) -> NDArray[np.int32]:
    """The numbers of a plan, sorted, at most `PLAN_CODES`."""
    found: set[int] = set()
    for number, kind in enumerate(KINDS):
        steps = [step for step in plan.steps if step.kind is kind]
        if not steps:
            continue
        found.add(_code(number, HAS_STEP, 0))
        for part, names in (
            (FILES, [path for step in steps for path in step.files]),
            (SYMBOLS, [symbol for step in steps for symbol in step.symbols]),
        ):
            tokens = dict.fromkeys(int(token) for name in names for token in tokenizer.encode(name))
            found.update(_code(number, part, token) for token in list(tokens)[:_TOKENS_EACH])
    return np.array(sorted(found), dtype=np.int32)


def read_code(code: int) -> PlanCode:
    """What a number of `plan_codes` says."""
    step, token = divmod(code, _VOCABULARY)
    return PlanCode(*divmod(step, 3), token)


def _code(kind: int, part: int, token: int) -> int:
    return (kind * 3 + part) * _VOCABULARY + token
