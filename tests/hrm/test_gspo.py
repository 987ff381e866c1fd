"""GSPO: TRL's numbers, and a toy task whose reward rises."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.data.example import Window
from hrm.decoding.generate import Prompt, write
from hrm.decoding.grammar import Vocabulary
from hrm.models.config import HaltConfig, ModelConfig, ModelKind
from hrm.models.presets import build
from hrm.optim import AdamATan2
from hrm.tokenizer.encoding import Tokenizer
from hrm.train.gspo import (
    GspoConfig,
    Question,
    Reinforcer,
    advantages,
    likeness,
    log_probabilities,
    policy_loss,
    reward_of,
)
from schemas.judge import ProposedEdit
from schemas.reports import Outcome, TestReport
from schemas.tasks import TaskInstance

VOCABULARY = Vocabulary(Tokenizer.bundled(vocab_size=600))
LINES = ("a = 1\n", "b = 2\n", "c = 3\n")
PROMPT = Prompt(np.arange(300, 312, dtype=np.uint32), (Window("s.py", 1, LINES),), {"s.py": "".join(LINES)})
CONFIG = ModelConfig(
    kind=ModelKind.EDIT,
    vocab_size=600,
    hidden_size=32,
    heads=2,
    high_layers=1,
    low_layers=1,
    pre_norm=True,
    halt=HaltConfig(max_segments=1),
)


@pytest.fixture(scope="module")
def trl() -> dict[str, torch.Tensor]:
    """What TRL computes from log-probabilities with ragged masks, some ratios out of bounds."""
    with np.load(Path(__file__).parent / "gspo_trl.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


def test_parity_of_advantages_with_trl(trl: dict[str, torch.Tensor]) -> None:
    found = advantages(trl["rewards"], group_size=int(trl["group_size"]))
    torch.testing.assert_close(found, trl["advantages"], rtol=0, atol=1e-6)


def test_parity_of_loss_and_gradient_with_trl(trl: dict[str, torch.Tensor]) -> None:
    new = trl["logp"].clone().requires_grad_()
    found = policy_loss(
        new,
        trl["old_logp"],
        trl["mask"],
        trl["advantages"],
        epsilon_low=float(trl["epsilon_low"]),
        epsilon_high=float(trl["epsilon_high"]),
    )
    found.loss.backward()
    assert abs(found.loss.item() - float(trl["loss"])) < 1e-6
    torch.testing.assert_close(new.grad, trl["grad_logp"], rtol=0, atol=1e-6)
    assert trl["grad_logp"].abs().max() > 1e-3
    assert found.is_clipped.any()
    assert not found.is_clipped.all()
    assert abs(found.loss.item() - float(trl["token_level_loss"])) > 1e-4


class LineJudge:
    """Passes edits that search for one line."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted

    def judge(self, task: TaskInstance, edits: Sequence[ProposedEdit]) -> TestReport:
        outcome = Outcome.PASSED if edits[0].search.startswith(self.wanted) else Outcome.FAILED
        return TestReport(outcomes=dict.fromkeys((*task.FAIL_TO_PASS, *task.PASS_TO_PASS), outcome))


def test_only_tests_that_pass_give_the_whole_reward(make_task: Callable[..., TaskInstance]) -> None:
    task = make_task()
    own = [ProposedEdit(path=one.path, search=one.search, replace=one.replace) for one in task.edit_targets]
    other = [ProposedEdit(path="z.py", search="z\n", replace="y\n")]
    judge = LineJudge("z")
    assert reward_of(task, other, judge, similarity_weight=0.1) == 1
    assert reward_of(task, own, judge, similarity_weight=0.1) == pytest.approx(0.1)
    assert likeness(task, other) == 0
    unchanged = [edit.model_copy(update={"replace": edit.search}) for edit in own]
    assert likeness(task, unchanged) == 0


@pytest.mark.parametrize("segments", [1, 2])
def test_before_a_step_the_ratio_of_each_response_is_one(segments: int) -> None:
    config = ModelConfig.model_validate(CONFIG.model_dump() | {"halt": {"max_segments": segments}})
    model = build(config, seed=2)
    for one in write(model, VOCABULARY, PROMPT, max_tokens=20, count=3, temperature=0.7, generator=torch.Generator()):
        assert one.segments == segments
        again = log_probabilities(model, PROMPT, one, temperature=0.7)
        torch.testing.assert_close(again, torch.tensor(one.log_probabilities), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_reward_of_a_toy_task_rises(make_task: Callable[..., TaskInstance]) -> None:
    model, judge, task = build(CONFIG, seed=0), LineJudge("c = 3"), make_task()
    optimizer = AdamATan2(model.parameters(), lr=3e-3, weight_decay=0.0)

    def reward() -> float:
        drawn = torch.Generator().manual_seed(9)
        written = write(model, VOCABULARY, PROMPT, max_tokens=14, count=24, temperature=1.0, generator=drawn)
        return sum(reward_of(task, one.edits, judge, similarity_weight=0.0) for one in written) / 24

    before = reward()
    # Wider bounds than the published ones, which are for small steps of large models.
    config = GspoConfig(group_size=8, max_tokens=14, minibatches=2, epsilon_low=0.2, epsilon_high=0.2)
    reinforcer = Reinforcer(model, VOCABULARY, optimizer, judge, config)
    rounds = [reinforcer.round([Question(task, PROMPT)]) for _ in range(8)]
    assert before < 0.7
    assert reward() > 0.9
    assert all(0 <= one.clipped <= 1 for one in rounds)
