"""The style that says what sort of mistake was made, and nothing about where."""

from collections.abc import Mapping
from random import Random

from schemas.tasks import Issue
from synthesis.issues.context import IssueContext, Reveal, make_issue

TEMPLATES = (
    "There is a bug in this project. {kind} Please find the place and correct it.",
    "{kind} I do not know where in the source that is. Please find the place and put it right.",
    "Some behaviour of this project is wrong, and I think I know why.\n\n{kind}\n\nPlease find the place and fix it.",
    "Please look for a bug of the following sort, and repair it.\n\n{kind}",
)

KINDS: Mapping[str, tuple[str, ...]] = {
    "class_rm_base": (
        "A class no longer inherits from everything that it should.",
        "A base class is missing from the definition of a class.",
    ),
    "class_rm_funcs": (
        "A class lacks at least one of its methods.",
        "At least one method that a class should have is gone.",
    ),
    "class_shuffle_funcs": (
        "The methods of a class stand in the wrong order, and their order matters.",
        "The body of a class is in the wrong order: its methods do not stand where they should.",
    ),
    "ctrl_invert_if": (
        "The two branches of at least one `if` and its `else` are swapped.",
        "The code takes the wrong branch: what belongs under an `if` stands under its `else`, and the other way round.",
    ),
    "ctrl_shuffle": (
        "The statements of a function are in the wrong order.",
        "A function does its steps in the wrong order.",
    ),
    "flip_operators": (
        "At least one operator has become its counterpart, as `<` would become `>`, or `and` become `or`.",
        "At least one operator in an expression is turned around.",
    ),
    "op_break_chains": (
        "Part of a longer expression is missing: at least one operand is left out.",
        "A calculation with several operands leaves out at least one of them.",
    ),
    "op_change": (
        "At least one operator in a calculation is the wrong one.",
        "A calculation uses a wrong operator, as if there were `+` for `-`, or `*` for `/`.",
    ),
    "op_change_const": (
        "At least one number in a calculation is off by one.",
        "There is an off-by-one mistake: an integer in a calculation is one too large or one too small.",
    ),
    "op_swap": (
        "At least one operation has its operands the wrong way round.",
        "Operands are swapped: what should stand to the left of an operator stands to its right.",
    ),
    "remove_assign": (
        "At least one assignment is missing.",
        "A value is not stored, or not updated, because at least one assignment is gone.",
    ),
    "remove_cond": (
        "At least one `if` or `elif` is missing, together with what stood under it.",
        "A condition is no longer checked, and what was to be done in that case is gone too.",
    ),
    "remove_loop": (
        "At least one loop is missing, together with what it did.",
        "Something that should be done again and again is not done at all, because a loop is gone.",
    ),
    "remove_wrapper": (
        "At least one `try` or `with` block is missing, together with what stood in it.",
        "A whole block is gone: a `try` or a `with`, and everything in it.",
    ),
}
"""What is wrong after each strategy, in sentences that name nothing; each is true of one change and of several."""


class BugKindWriter:
    """Reveals what the strategy does, in the words of somebody who saw what is wrong."""

    style = "bug_kind"
    reveals: tuple[Reveal, ...] = (Reveal.BUG_KIND,)

    def write(self, context: IssueContext, rng: Random) -> Issue | None:
        """`None` for a strategy that has no sentence in `KINDS`."""
        kinds = KINDS.get(context.candidate.strategy)
        if not kinds:
            return None
        template = rng.choice(TEMPLATES)
        return make_issue(self, template.format(kind=rng.choice(kinds)))
