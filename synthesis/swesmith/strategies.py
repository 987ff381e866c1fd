"""SWE-smith's Python modifiers, with the likelihoods that it registers them with."""

from synthesis.swesmith.adapter import ModifierStrategy
from synthesis.swesmith.fold import Sight

_PYTHON = "swesmith.bug_gen.procedural.python"


def _strategy(name: str, modifier: str, likelihood: float, sight: Sight) -> ModifierStrategy:
    return ModifierStrategy(name, f"{_PYTHON}.{modifier}", likelihood, sight)


class_rm_base = _strategy("class_rm_base", "classes:ClassRemoveBasesModifier", 0.25, Sight.CLASSES)
class_rm_funcs = _strategy("class_rm_funcs", "classes:ClassRemoveFuncsModifier", 0.15, Sight.REFERENCES)
class_shuffle_funcs = _strategy("class_shuffle_funcs", "classes:ClassShuffleMethodsModifier", 0.25, Sight.CLASSES)
ctrl_invert_if = _strategy("ctrl_invert_if", "control_flow:ControlIfElseInvertModifier", 0.25, Sight.STATEMENTS)
ctrl_shuffle = _strategy("ctrl_shuffle", "control_flow:ControlShuffleLinesModifier", 0.25, Sight.STATEMENTS)
op_break_chains = _strategy("op_break_chains", "operations:OperationBreakChainsModifier", 0.4, Sight.OPERATIONS)
op_change = _strategy("op_change", "operations:OperationChangeModifier", 0.4, Sight.OPERATIONS)
op_change_const = _strategy("op_change_const", "operations:OperationChangeConstantsModifier", 0.4, Sight.OPERATIONS)
op_swap = _strategy("op_swap", "operations:OperationSwapOperandsModifier", 0.4, Sight.OPERATIONS)
remove_assign = _strategy("remove_assign", "remove:RemoveAssignModifier", 0.25, Sight.STATEMENTS)
remove_cond = _strategy("remove_cond", "remove:RemoveConditionalModifier", 0.25, Sight.STATEMENTS)
remove_loop = _strategy("remove_loop", "remove:RemoveLoopModifier", 0.25, Sight.STATEMENTS)
remove_wrapper = _strategy("remove_wrapper", "remove:RemoveWrapperModifier", 0.25, Sight.STATEMENTS)

flip_operators = ModifierStrategy(
    "flip_operators", "synthesis.swesmith.comparison:ComparisonFlipModifier", 0.4, Sight.OPERATIONS
)
