"""Loss and measures of a segment of `hrm-act-v1`: stablemax cross-entropy and Q-learning."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hrm.models.act_v1 import Segment

IGNORED = -100
"""The label of a cell that is not asked for."""
_Q_WEIGHT = 0.5


class SegmentMeasures(NamedTuple):
    """Sums over rows; the first five are over rows that halted in this segment. Divide by `rows` or the batch."""

    rows: Tensor
    accuracy: Tensor
    """Shares of right cells."""
    exact_accuracy: Tensor
    """Rows with all cells right."""
    q_halt_accuracy: Tensor
    """Rows whose halting value says rightly whether all cells are right."""
    steps: Tensor
    """Segments that the rows had."""
    lm_loss: Tensor
    q_halt_loss: Tensor
    q_go_on_loss: Tensor


class SegmentLoss(NamedTuple):
    """The loss to differentiate, summed over rows, in float64; and what to report."""

    loss: Tensor
    measures: SegmentMeasures


def stablemax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy `[B, S]` with stablemax for softmax (Prieto et al. 2025, arXiv:2501.04697); 0 where ignored.

    Stablemax is s(x) / Σ s(x) with s(x) = x + 1 from 0 up and 1 / (1 - x) below: it cannot overflow, nor grow so fast
    that gradients vanish in rounding. In float64, as published.
    """
    logits = logits.double()
    # The clamp keeps the branch that is not taken finite: its infinity would be NaN in the gradient.
    scores = torch.where(logits < 0, 1 / (1 - logits.clamp(max=0)), logits + 1)
    asked = labels != IGNORED
    chosen = scores.gather(-1, torch.where(asked, labels, 0).long()[..., None])[..., 0]
    return torch.where(asked, scores.sum(-1).log() - chosen.log(), 0)


def segment_loss(segment: Segment) -> SegmentLoss:
    """Mean cross-entropy of each row's cells plus half of both Q-losses, summed over rows.

    Halting is worth 1 where all cells are right, else 0; going on, what the next segment's best choice is worth.
    """
    labels, q_values = segment.carry.grid.labels, segment.q_values
    with torch.no_grad():
        asked = labels != IGNORED
        cells = asked.sum(-1)
        right = asked & (segment.logits.argmax(-1) == labels)
        all_right = right.sum(-1) == cells
        done = segment.carry.halted & (cells > 0)
    lm_loss = (stablemax_cross_entropy(segment.logits, labels).sum(-1) / cells.clamp_min(1)).sum()
    q_halt_loss = _binary(q_values.halt, all_right.float())
    q_go_on_loss = torch.zeros_like(q_halt_loss)
    if segment.target_go_on is not None:
        q_go_on_loss = _binary(q_values.go_on, segment.target_go_on)
    measures = SegmentMeasures(
        rows=done.sum(),
        accuracy=torch.where(done, right.sum(-1) / cells.clamp_min(1), 0).sum(),
        exact_accuracy=(done & all_right).sum(),
        q_halt_accuracy=(done & ((q_values.halt >= 0) == all_right)).sum(),
        steps=torch.where(done, segment.carry.steps, 0).sum(),
        lm_loss=lm_loss.detach(),
        q_halt_loss=q_halt_loss.detach(),
        q_go_on_loss=q_go_on_loss.detach(),
    )
    return SegmentLoss(lm_loss + _Q_WEIGHT * (q_halt_loss + q_go_on_loss), measures)


def _binary(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
