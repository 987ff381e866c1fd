"""Stages of a curriculum: what a task asks for before it can be solved, told from its measured complexity."""

from typing import TYPE_CHECKING

from schemas.tasks import Complexity

if TYPE_CHECKING:
    import polars as pl

STAGES = ("syntax", "algorithmic", "multi_file", "tool_use")
"""From the first to the last that a model should meet."""
ALGORITHMIC_SCORE = 0.35
"""`complexity.score` from which a function near the failing test is more than a matter of reading it."""
FAR_CALL_DISTANCE = 3
"""Calls between the failing test and the change from which the place must be searched for."""


def stage_of(complexity: Complexity) -> str:
    """The stage of a task.

    - `tool_use`: the change is `FAR_CALL_DISTANCE` calls or more from the failing tests, or no call leads there that
      can be read from the code (fixtures, dispatch by name, processes): it has to be found by running things;
    - `multi_file`: several files change, or another function lies between test and change;
    - `algorithmic`: the change is where the test looks, in code of `ALGORITHMIC_SCORE` or more;
    - `syntax`: all others.
    """
    if complexity.call_distance is None or complexity.call_distance >= FAR_CALL_DISTANCE:
        return "tool_use"
    if complexity.files > 1 or complexity.call_distance > 1:
        return "multi_file"
    return "algorithmic" if complexity.score >= ALGORITHMIC_SCORE else "syntax"


def stage_expression() -> "pl.Expr":
    """`stage_of` for the `complexity` column of a frame."""
    import polars as pl

    part = pl.col("complexity").struct.field
    distance = part("call_distance")
    return (
        pl.when(distance.is_null() | (distance >= FAR_CALL_DISTANCE))
        .then(pl.lit("tool_use"))
        .when((part("files") > 1) | (distance > 1))
        .then(pl.lit("multi_file"))
        .when(part("score") >= ALGORITHMIC_SCORE)
        .then(pl.lit("algorithmic"))
        .otherwise(pl.lit("syntax"))
    )
