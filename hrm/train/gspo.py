"""Group sequence policy optimization (Zheng et al. 2025, arXiv:2507.18071): learn from what executed tests say.

Several responses are written to each prompt and rewarded; a response that is better than its group's mean is made
likelier. The ratio of new to old probability is that of the whole response, as the geometric mean over its tokens, and
is clipped. A batch of responses serves several steps.
"""

import random
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hrm.data.example import split_lines
from hrm.decoding.generate import Prompt, Written, write
from hrm.decoding.grammar import Vocabulary
from hrm.models.edit import Cells, HrmEdit, States
from schemas.judge import Judge, ProposedEdit, is_solved
from schemas.model import Model
from schemas.tasks import TaskInstance

_SPREAD_FLOOR = 1e-4
"""Added to a group's deviation, which is 0 where all rewards are the same."""


class GspoConfig(Model):
    """How responses are sampled and learnt from; the published clip bounds."""

    group_size: int = Field(default=8, ge=2)
    """Responses to each prompt."""
    max_tokens: int = Field(default=256, ge=8)
    """Of a response."""
    temperature: float = Field(default=1.0, gt=0)
    minibatches: int = Field(default=4, ge=1)
    """Steps that are made on each batch of responses."""
    epsilon_low: float = Field(default=3e-4, gt=0)
    epsilon_high: float = Field(default=4e-4, gt=0)
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a step's gradient."""
    similarity_weight: float = Field(default=0.1, ge=0, lt=1)
    """How much the likeness to the task's own fix counts where the tests do not pass: less than passing, always."""
    seed: int = 0


class Reinforced(NamedTuple):
    """What a round gave."""

    reward: float
    """Mean over responses."""
    solved: float
    """Share of responses with which all tests pass."""
    loss: float
    """Mean over minibatches."""
    clipped: float
    """Share of responses that gave no gradient because their ratio was out of bounds."""


class PolicyLoss(NamedTuple):
    """The loss to differentiate, and `[responses]` whether the bounds cut each off."""

    loss: Tensor
    is_clipped: Tensor


class Question(NamedTuple):
    """A task and its prompt."""

    task: TaskInstance
    prompt: Prompt


class _Response(NamedTuple):
    prompt: Prompt
    written: Written
    advantage: float


def advantages(rewards: Tensor, *, group_size: int) -> Tensor:
    """By how many deviations each of `[responses]` is better than its group's mean; groups follow one another."""
    groups = rewards.view(-1, group_size)
    spread = groups.std(dim=1, keepdim=True) + _SPREAD_FLOOR
    return ((groups - groups.mean(dim=1, keepdim=True)) / spread).view(-1)


def policy_loss(
    new: Tensor, old: Tensor, mask: Tensor, advantage: Tensor, *, epsilon_low: float, epsilon_high: float
) -> PolicyLoss:
    """The clipped loss of responses: log-probabilities and mask `[responses, tokens]`, advantages `[responses]`."""
    mask = mask.to(new.dtype)
    log_ratio = ((new - old) * mask).sum(-1) / mask.sum(-1).clamp_min(1)
    ratio = log_ratio.exp()
    bounded = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)
    free, held = ratio * advantage, bounded * advantage
    return PolicyLoss(-torch.minimum(free, held).mean(), held < free)


def reward_of(task: TaskInstance, edits: Sequence[ProposedEdit], judge: Judge, *, similarity_weight: float) -> float:
    """1 where all tests pass; else at most `similarity_weight`, by the likeness of the changed lines to the fix's."""
    if is_solved(task, judge.judge(task, edits)):
        return 1.0
    return similarity_weight * likeness(task, edits)


def likeness(task: TaskInstance, edits: Sequence[ProposedEdit]) -> float:
    """How alike the lines are that edits and fix remove and add, 0..1."""
    wanted = _changed_lines([(target.path, target.search, target.replace) for target in task.edit_targets])
    found = _changed_lines([(edit.path, edit.search, edit.replace) for edit in edits])
    return SequenceMatcher(a=wanted, b=found, autojunk=False).ratio()


class Reinforcer:
    """Rounds of writing, judging and learning."""

    def __init__(
        self,
        model: HrmEdit,
        vocabulary: Vocabulary,
        optimizer: torch.optim.Optimizer,
        judge: Judge,
        config: GspoConfig,
    ) -> None:
        self.model, self.config = model, config
        self._vocabulary, self._optimizer, self._judge = vocabulary, optimizer, judge
        self._generator = torch.Generator(device=model.embed.weight.device).manual_seed(config.seed)
        self._rng = random.Random(config.seed)  # noqa: S311 - an order, not a secret

    def round(self, questions: Sequence[Question]) -> Reinforced:
        """Write to each question, have the edits judged, and make a step on each minibatch of the responses.

        Raises:
            ValueError: nothing can be written to a prompt in so many tokens.
        """
        config, responses, rewards, solved = self.config, [], [], 0
        for question in questions:
            written = write(
                self.model,
                self._vocabulary,
                question.prompt,
                max_tokens=config.max_tokens,
                count=config.group_size,
                temperature=config.temperature,
                generator=self._generator,
            )
            given = [
                reward_of(question.task, one.edits, self._judge, similarity_weight=config.similarity_weight)
                for one in written
            ]
            solved += sum(reward == 1 for reward in given)
            worth = advantages(torch.tensor(given), group_size=config.group_size).tolist()
            responses += [_Response(question.prompt, *pair) for pair in zip(written, worth, strict=True)]
            rewards += given
        self._rng.shuffle(responses)
        parts = [responses[number :: config.minibatches] for number in range(config.minibatches)]
        made = [self._step(part) for part in parts if part]
        count = len(rewards)
        return Reinforced(
            sum(rewards) / count,
            solved / count,
            sum(float(one.loss) for one in made) / len(made),
            sum(int(one.is_clipped.sum()) for one in made) / count,
        )

    def _step(self, part: Sequence[_Response]) -> PolicyLoss:
        device = self.model.embed.weight.device
        width = max(len(one.written.tokens) for one in part)
        mask = torch.zeros(len(part), width, device=device)
        old = torch.zeros(len(part), width, device=device)
        fresh = []
        for row, one in enumerate(part):
            size = len(one.written.tokens)
            mask[row, :size] = 1
            old[row, :size] = torch.tensor(one.written.log_probabilities, device=device)
            new = log_probabilities(self.model, one.prompt, one.written, temperature=self.config.temperature)
            fresh.append(torch.nn.functional.pad(new, (0, width - size)))
        found = policy_loss(
            torch.stack(fresh),
            old,
            mask,
            torch.tensor([one.advantage for one in part], device=device),
            epsilon_low=self.config.epsilon_low,
            epsilon_high=self.config.epsilon_high,
        )
        self._optimizer.zero_grad(set_to_none=True)
        found.loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self._optimizer.step()
        return PolicyLoss(found.loss.detach(), found.is_clipped)


def log_probabilities(model: HrmEdit, prompt: Prompt, written: Written, *, temperature: float) -> Tensor:
    """`[tokens]`: what the model gives each token of a response, among those that were allowed, with a gradient.

    After as many segments as it was written with.
    """
    device = model.embed.weight.device
    size = len(prompt.tokens)
    whole = torch.from_numpy(np.concatenate([prompt.tokens, written.tokens]).astype("int64")).to(device)[None]
    place = torch.arange(whole.shape[1], device=device)[None]
    cells = Cells(whole, torch.zeros_like(whole), place, place < size)
    states: States | None = None
    for segment in range(written.segments):
        states = model(cells, states)
        if segment + 1 < written.segments:
            states = States(*(state.detach() for state in states))
    assert states is not None  # a response has one segment at least
    logits = model.logits(states.low[0, size - 1 : -1]).float() / temperature
    allowed = np.unpackbits(written.allowed, axis=1, count=logits.shape[1]).astype(np.bool_)
    chances = logits.masked_fill(~torch.from_numpy(allowed).to(device), -torch.inf).log_softmax(-1)
    return chances.gather(1, whole[0, size:, None])[:, 0]


def _changed_lines(edits: Sequence[tuple[str, str, str]]) -> list[str]:
    """The lines that edits take out and put in, marked, without those that stay."""
    lines = []
    for path, search, replace in edits:
        old, new = split_lines(search), split_lines(replace)
        for kind, first, last, begin, end in SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
            if kind != "equal":
                lines += [f"{path}-{line}" for line in old[first:last]] + [f"{path}+{line}" for line in new[begin:end]]
    return lines
