"""What a model is to learn from a batch: the response's tokens, the plan, the line to edit, and when to stop."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hrm.data.packing import PADDING, Packed
from hrm.data.plans import FILES, HAS_STEP, KINDS, SYMBOLS
from hrm.models.edit import Cells, HrmEdit, PlanLogits, States
from hrm.tokenizer.special import Special, line_id, special_id
from hrm.train.config import LossWeights

_LINES = (line_id(0), line_id(255))


class Batch(NamedTuple):
    """A batch as tensors; documents are numbered through, `[N]`, cells that are asked for as well, `[T]`."""

    cells: Cells
    asked_rows: Tensor
    """`[T]`: the row of each cell behind which a token of a response stands."""
    asked_cells: Tensor
    """`[T]`: its place in the row."""
    labels: Tensor
    """`[T]`: that token."""
    label_bytes: Tensor
    """`[T]`: the bytes of text that it stands for."""
    owners: Tensor
    """`[T]`: the document that it is of."""
    is_edit: Tensor
    """`[T]`: whether it is of an edit, behind the plan."""
    rows: Tensor
    """`[N]`: the row of each document."""
    numbers: Tensor
    """`[N]`: which document of its row."""
    prompt_ends: Tensor
    """`[N]`: cell of the prompt's last token."""
    targets: Tensor
    """`[N]`: cell of the token that numbers the line to change."""
    plans: Tensor
    """`[N, PLAN_CODES]`."""


class Sums(NamedTuple):
    """What one segment gives, summed over tokens or documents; scalars but the last."""

    token_nats: Tensor
    tokens_right: Tensor
    edits_right: Tensor
    """Documents all of whose edit tokens are right, each after the right ones."""
    pointer_nats: Tensor
    pointers_right: Tensor
    plan_nats: Tensor
    halt_nats: Tensor
    halted: Tensor
    """`[N]`, not summed: for which documents one more segment is not worth it."""


class Totals(NamedTuple):
    """What the sums are divided by, over all batches and processes of a step."""

    tokens: int
    documents: int
    bytes: int


def to_batch(packed: Packed, token_bytes: Tensor, device: torch.device) -> Batch:
    """The tensors of packed rows; `token_bytes` `[V]` says how many bytes each token stands for."""
    tokens = torch.from_numpy(packed.tokens.astype("int64"))
    documents = torch.from_numpy(packed.documents.astype("int64"))
    positions, is_prompt = torch.from_numpy(packed.positions.astype("int64")), torch.from_numpy(packed.is_prompt)
    rows, numbers = torch.nonzero(torch.from_numpy(packed.examples) != PADDING, as_tuple=True)
    index = torch.full(packed.examples.shape, PADDING, dtype=torch.int64)
    index[rows, numbers] = torch.arange(len(rows))
    is_asked = (documents[:, 1:] == documents[:, :-1]) & ~is_prompt[:, 1:] & (documents[:, 1:] != PADDING)
    asked_rows, asked_cells = torch.nonzero(is_asked, as_tuple=True)
    labels = tokens[asked_rows, asked_cells + 1]
    owners = index[asked_rows, documents[asked_rows, asked_cells]]
    opens = (labels == special_id(Special.SEARCH)) | (labels == special_id(Special.FILE))
    opened = opens.long().cumsum(0)
    before = torch.full((len(rows),), len(labels), dtype=torch.int64)
    before = before.scatter_reduce(0, owners, opened - opens.long(), "amin")
    batch = Batch(
        Cells(tokens, documents, positions, is_prompt),
        asked_rows,
        asked_cells,
        labels,
        token_bytes[labels],
        owners,
        opened > before[owners],
        rows,
        numbers,
        torch.from_numpy(packed.prompt_ends)[rows, numbers],
        torch.from_numpy(packed.targets)[rows, numbers],
        torch.from_numpy(packed.plans)[rows, numbers].long(),
    )
    moved = [one.to(device, non_blocking=True) for one in batch[1:]]
    return Batch(Cells(*(one.to(device, non_blocking=True) for one in batch.cells)), *moved)


def totals_of(batch: Batch) -> Totals:
    """What there is in a batch."""
    return Totals(len(batch.labels), len(batch.rows), int(batch.label_bytes.sum()))


def measure(model: HrmEdit, batch: Batch, states: States) -> Sums:
    """What the states of a segment give for a batch."""
    logits = model.logits(states.low[batch.asked_rows, batch.asked_cells]).float()
    nats = functional.cross_entropy(logits, batch.labels, reduction="sum")
    with torch.no_grad():
        right = logits.argmax(-1) == batch.labels
        wrong = torch.zeros(len(batch.rows), device=nats.device)
        wrong = wrong.index_add(0, batch.owners, (batch.is_edit & ~right).float())
        is_right = wrong == 0
    high = states.high[batch.rows, batch.prompt_ends]
    pointers = _pointer_logits(model, batch, states, high)
    halt = model.halt_logits(high).float()
    halt_nats = halt.new_zeros(())
    if model.halt_head is not None:
        halt_nats = functional.binary_cross_entropy_with_logits(halt, is_right.float(), reduction="sum")
    return Sums(
        token_nats=nats,
        tokens_right=right.sum(),
        edits_right=is_right.sum(),
        pointer_nats=functional.cross_entropy(pointers, batch.targets, reduction="sum"),
        pointers_right=(pointers.detach().argmax(-1) == batch.targets).sum(),
        plan_nats=_plan_nats(model.plan_logits(high), batch.plans),
        halt_nats=halt_nats,
        halted=halt > 0,
    )


def loss_of(sums: Sums, totals: Totals, weights: LossWeights) -> Tensor:
    """The loss of a segment: a mean over tokens, and weighted means over documents."""
    by_document = weights.plan * sums.plan_nats + weights.pointer * sums.pointer_nats + weights.halt * sums.halt_nats
    return sums.token_nats / max(1, totals.tokens) + by_document / max(1, totals.documents)


def _pointer_logits(model: HrmEdit, batch: Batch, states: States, high: Tensor) -> Tensor:
    """`[N, S]`: which cell numbers the line to change, of those that number a line of the document's prompt."""
    logits = model.pointer_logits(high, states.low[batch.rows]).float()
    cells = batch.cells
    is_line = (cells.tokens >= _LINES[0]) & (cells.tokens <= _LINES[1]) & cells.is_prompt
    own = cells.documents[batch.rows] == batch.numbers[:, None]
    return logits.masked_fill(~(is_line[batch.rows] & own), -torch.inf)


def _plan_nats(logits: PlanLogits, plans: Tensor) -> Tensor:
    """Surprise at the plans: whether there is each kind of step, and in the mean the tokens of files and symbols."""
    known = plans != PADDING
    documents = torch.arange(len(plans), device=plans.device)[:, None].expand_as(plans)[known]
    codes = plans[known]
    steps, tokens = codes // 2**16, codes % 2**16
    kinds, parts = steps // 3, steps % 3
    has = torch.zeros_like(logits.steps, dtype=torch.float32)
    has[documents[parts == HAS_STEP], kinds[parts == HAS_STEP]] = 1
    nats = functional.binary_cross_entropy_with_logits(logits.steps.float(), has, reduction="sum") / len(KINDS)
    for part, said in ((FILES, logits.files), (SYMBOLS, logits.symbols)):
        chosen = parts == part
        where = (documents[chosen], kinds[chosen])
        surprise = -functional.log_softmax(said.float(), dim=-1)[(*where, tokens[chosen])]
        count = torch.zeros_like(logits.steps, dtype=torch.float32)
        count.index_put_(where, torch.ones_like(surprise), accumulate=True)
        per_document = torch.count_nonzero(count, dim=1).clamp_min(1)
        nats = nats + (surprise / count[where] / per_document[where[0]]).sum()
    return nats
