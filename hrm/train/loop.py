"""The training loop: batches to steps, checkpoints, and back to the last good one where the loss is none."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from hrm.data.shards import MANIFEST, ExampleManifest, open_examples, repos_of, tokenizer_of
from hrm.data.source import Batch as PackedBatch
from hrm.data.source import BatchPlan, Place, batches
from hrm.models.edit import HrmEdit, States
from hrm.models.presets import build
from hrm.optim import AdamATan2
from hrm.train.checkpoint import Progress, differing, list_checkpoints, restore, save_checkpoint
from hrm.train.config import Precision, RunConfig
from hrm.train.objective import Batch, Sums, Totals, loss_of, measure, to_batch, totals_of
from hrm.train.parallel import World
from hrm.train.record import Record, Row
from schemas.errors import DatasetError, InvalidInput, TrainingFailed
from storage.durable import sha256_of

_RUNNING = 0.9
"""Share of the running mean of the loss that stays at each step."""
_CHANGE_NO_CURVE = frozenset({"workers", "save_every", "keep", "rollbacks"})


class _Step(NamedTuple):
    """What a step's passes gave, over all processes."""

    loss: float
    sums: Sums
    """Of the last segment."""
    segments: float
    """Sum over documents."""
    totals: Totals
    cells: int


class Trainer:
    """One run: `train` goes on from the newest checkpoint in its folder, or from the start."""

    def __init__(
        self,
        config: RunConfig,
        examples: Path,
        run: Path,
        *,
        world: World,
        report: Callable[[Row], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`report` is called after every step, `say` where something happens; in the first process alone.

        Raises:
            DatasetError: there are no examples.
            InvalidInput: they were written with another vocabulary than the model's, or are longer than a row.
        """
        self.config = config
        self._examples, self._run, self._world = examples, run, world
        self.manifest, self._manifest_sha256 = _opened(examples, config)
        self._tokenizer = tokenizer_of(examples, self.manifest)
        self._token_bytes = torch.from_numpy(self._tokenizer.token_sizes.astype("int64"))
        self.model = cast("HrmEdit", build(config.model, seed=config.train.seed)).to(world.device)
        self.model.saves_memory = config.train.checkpointing
        # What is compiled is the pass through the cells; it has the model's own weights.
        self._forward: Callable[..., States] = torch.compile(self.model) if config.train.compile else self.model
        self.optimizer = AdamATan2(
            _groups(self.model, config.train.weight_decay), lr=config.train.lr, betas=config.train.betas
        )
        self.mean_weights = (
            {name: one.detach().clone() for name, one in self.model.named_parameters()} if config.train.ema else None
        )
        self.progress = Progress(
            examples_sha256=self._manifest_sha256, repos=repos_of(examples, self.manifest), processes=world.size
        )
        self.record = Record(run, clock=clock)
        self._report = report if world.is_first else lambda _: None
        self._say = say if world.is_first else lambda _: None
        self._stream: Iterator[PackedBatch] | None = None

    def resume(self) -> bool:
        """Go back to where the newest checkpoint is; whether there is one.

        Raises:
            InvalidInput: it was made with other examples, another configuration or another number of processes.
            DatasetDamaged: it cannot be read.
        """
        checkpoints = list_checkpoints(self._run)
        if not checkpoints:
            return False
        others = differing(self.config, checkpoints[-1], passing=_CHANGE_NO_CURVE)
        if others:
            raise InvalidInput(
                f"{self._run} was begun with other values of {', '.join(others)}. Give the same, or another --out"
            )
        self._restore(checkpoints[-1])
        if self.progress.examples_sha256 != self._manifest_sha256:
            raise InvalidInput(f"{self._run} was begun with other examples. Give the same, or another --out")
        if self.progress.processes not in {None, self._world.size}:
            raise InvalidInput(
                f"{self._run} was begun by {self.progress.processes} processes, whose rows make one batch, and here "
                f"are {self._world.size}. Start as many, or give another --out"
            )
        self.record.read()
        self.record.go_back(self.progress.step)
        return True

    def train(self) -> list[Row]:
        """Make all steps that are left; gives the rows of all.

        Raises:
            TrainingFailed: the loss was no number, or too high, more often than may be.
            DatasetDamaged: a shard cannot be read.
            StorageFailed: the file system refused; the checkpoints before are as they were.
        """
        config = self.config.train
        if not list_checkpoints(self._run):
            self._save()  # a loss that is none at the first step has somewhere to go back to
        self._world.wait()
        self._beat(force=True)
        try:
            while self.progress.step < config.steps:
                self._step()
                if self.progress.step % config.save_every == 0 or self.progress.step == config.steps:
                    self._save()
                    self._world.wait()
        finally:
            self._close_stream()
        self._beat(force=True)
        return self.record.rows

    def _step(self) -> None:
        config, began = self.config.train, time.perf_counter()
        running, phase = self.progress.running_loss, self.progress.phase
        given, place = self._batches()
        done = self._pass(given)
        norm = self._clipped_norm()
        begins = self.progress.phase != phase
        # Examples of another phase have another loss; what has exploded by the end of the last one is higher still.
        bound = config.explodes_at**2 if begins else config.explodes_at
        if not (math.isfinite(done.loss) and math.isfinite(norm)) or (
            running is not None and done.loss > bound * running
        ):
            self._roll_back(done.loss)
            return
        lr = config.lr_at(self.progress.step) * self.progress.lr_scale
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        if self.mean_weights is not None:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    self.mean_weights[name].lerp_(parameter, 1 - config.ema)
        step = self.progress.step + 1
        mean = done.loss if running is None or begins else _RUNNING * running + (1 - _RUNNING) * done.loss
        self.progress = self.progress.model_copy(update={"step": step, "place": place, "running_loss": mean})
        row = _row(self.progress, done, norm=norm, lr=lr, seconds=time.perf_counter() - began)
        self.record.rows.append(row)
        self._beat()
        self._report(row)

    def _batches(self) -> tuple[list[Batch], Place]:
        """The batches of the next step, and where the one after them begins."""
        config = self.config.train
        phase = config.phase_at(self.progress.step)
        if phase != self.progress.phase:
            self._close_stream()
            self.progress = self.progress.model_copy(update={"phase": phase, "place": Place()})
        if self._stream is None:
            plan = BatchPlan(
                length=config.length,
                rows=config.rows,
                seed=config.seed,
                rank=self._world.rank,
                world=self._world.size,
                stages=config.curriculum[phase].stages if config.curriculum else (),
            )
            self._stream = batches(
                self._examples, self.manifest, plan, start=self.progress.place, workers=config.workers
            )
        packed = [next(self._stream) for _ in range(config.accumulation)]
        given = [to_batch(one.packed, self._token_bytes, self._world.device) for one in packed]
        return given, packed[-1].after

    def _pass(self, given: list[Batch]) -> _Step:
        """Forward and backward through all batches and segments; the gradients are summed over processes."""
        config, device = self.config.train, self._world.device
        segments = self.config.model.halt.max_segments
        counted = [totals_of(batch) for batch in given]
        cells = sum(int((batch.cells.documents >= 0).sum()) for batch in given)
        counts = torch.tensor([*map(sum, zip(*counted, strict=True)), cells], dtype=torch.int64, device=device)
        *parts, cells = (int(number) for number in self._world.sum(counts))
        totals = Totals(*parts)
        self.optimizer.zero_grad(set_to_none=True)
        found = torch.zeros(2 + len(Sums._fields), dtype=torch.float64, device=device)
        for batch in given:
            states, waiting = None, torch.ones(len(batch.rows), device=device)
            for segment in range(segments):
                with self._precision():
                    states = self._forward(batch.cells, states)
                    sums = measure(self.model, batch, states)
                    loss = loss_of(sums, totals, config.weights) / segments
                loss.backward()  # type: ignore[no-untyped-call]
                states = States(*(state.detach() for state in states))
                found[0] += loss.detach()
                found[1] += waiting.sum()
                waiting = waiting * ~sums.halted
                if segment == segments - 1:
                    found[2:] += torch.stack([_total(one) for one in sums])
        self._world.sum_gradients(self.model.parameters())
        loss, used, *values = self._world.sum(found).unbind()
        return _Step(float(loss), Sums(*values), float(used), totals, cells)

    def _precision(self) -> Any:
        if self.config.train.precision is Precision.FP32:
            return nullcontext()
        return torch.autocast(self._world.device.type, dtype=torch.bfloat16)

    def _clipped_norm(self) -> float:
        return float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.clip))

    def _roll_back(self, loss: float) -> None:
        """Back to the newest checkpoint, with a lower rate."""
        at, config = self.progress, self.config.train
        if at.rollbacks >= config.rollbacks:
            raise TrainingFailed(
                f"the loss is {loss:.4g} at step {at.step + 1}, after {at.rollbacks} rollbacks with lower and lower "
                f"rates. Lower train.lr (it is {config.lr:g}); the last good checkpoint is in {self._run}"
            )
        self._close_stream()
        checkpoint = list_checkpoints(self._run)[-1]
        self._restore(checkpoint)
        scale = at.lr_scale * config.rollback_lr
        self.progress = self.progress.model_copy(update={"lr_scale": scale, "rollbacks": at.rollbacks + 1})
        self.record.go_back(self.progress.step)
        if self._world.is_first:
            self.record.tell("rollback", step=at.step + 1, loss=repr(loss), to=self.progress.step, lr_scale=scale)
        self._say(
            f"The loss is {loss:.4g} at step {at.step + 1}: back to step {self.progress.step}, "
            f"with {scale:g} of the learning rate."
        )

    def _restore(self, checkpoint: Path) -> None:
        self.progress = restore(checkpoint, model=self.model, optimizer=self.optimizer, mean_weights=self.mean_weights)

    def _save(self) -> None:
        if not self._world.is_first:
            return
        is_last = self.progress.step == self.config.train.steps
        self.record.write(is_last=is_last)  # first, so that no checkpoint is ahead of its curve
        save_checkpoint(
            self._run,
            model=self.model,
            optimizer=self.optimizer,
            mean_weights=self.mean_weights,
            config=self.config,
            tokenizer=self._tokenizer,
            progress=self.progress,
        )

    def _beat(self, *, force: bool = False) -> None:
        if self._world.is_first:
            self.record.beat(force=force)

    def _close_stream(self) -> None:
        if self._stream is not None:
            cast("Any", self._stream).close()
            self._stream = None


def _opened(examples: Path, config: RunConfig) -> tuple[ExampleManifest, str]:
    manifest = open_examples(examples)
    if manifest.vocab_size > config.model.vocab_size:
        raise InvalidInput(
            f"the examples in {examples} have {manifest.vocab_size} tokens and the model {config.model.vocab_size}: "
            "write them with the model's vocabulary"
        )
    if not manifest.examples:
        why = ", ".join(f"{count} {reason}" for reason, count in manifest.left_out.items())
        raise DatasetError(f"{examples} holds no example to learn from ({why or 'there was no task'})")
    return manifest, sha256_of(examples / MANIFEST)


def _groups(model: HrmEdit, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices of layers decay; embeddings, which are outputs as well, and biases do not."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    parameters = list(model.parameters())
    decaying = [one for one in parameters if one.ndim > 1 and id(one) not in embeddings]
    names = {id(one) for one in decaying}
    return [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": [one for one in parameters if id(one) not in names], "weight_decay": 0.0},
    ]


def _row(progress: Progress, done: _Step, *, norm: float, lr: float, seconds: float) -> Row:
    sums = Sums(*(float(one) for one in done.sums))  # type: ignore[arg-type]
    tokens, documents = max(1, done.totals.tokens), max(1, done.totals.documents)
    return Row(
        step=progress.step,
        loss=done.loss,
        token_loss=float(sums.token_nats) / tokens,
        bits_per_byte=float(sums.token_nats) / math.log(2) / max(1, done.totals.bytes),
        accuracy=float(sums.tokens_right) / tokens,
        edit_accuracy=float(sums.edits_right) / documents,
        line_accuracy=float(sums.pointers_right) / documents,
        pointer_loss=float(sums.pointer_nats) / documents,
        plan_loss=float(sums.plan_nats) / documents,
        halt_loss=float(sums.halt_nats) / documents,
        segments=done.segments / documents,
        gradient_norm=norm,
        lr=lr,
        epoch=progress.place.epoch,
        phase=progress.phase,
        tokens=done.cells,
        seconds=seconds,
    )


def _total(value: Tensor) -> Tensor:
    return value.detach().double().sum()
