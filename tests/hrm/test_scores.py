"""Scores of a model, held against the trainer's own measure, a response that is known, and a judge."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.data.example import ExampleLayout, make_example
from hrm.decoding.generate import Written
from hrm.decoding.grammar import Vocabulary
from hrm.evaluation import scores
from hrm.evaluation.scores import Asked, Case, apply_edits, score
from hrm.models.config import HaltConfig, ModelConfig, ModelKind
from hrm.models.edit import HrmEdit
from hrm.models.presets import build
from hrm.tokenizer.encoding import Tokenizer
from schemas.judge import ProposedEdit
from schemas.reports import Outcome, TestReport
from schemas.tasks import TaskInstance

TOKENIZER = Tokenizer.bundled(vocab_size=600)
VOCABULARY = Vocabulary(TOKENIZER)
LAYOUT = ExampleLayout(max_tokens=192, issue_tokens=32)
FILE = "import s\n\n\ndef f(a):\n    b = a + 1\n    return b\n"


def edit(search: str, replace: str, path: str = "s.py") -> ProposedEdit:
    return ProposedEdit(path=path, search=search, replace=replace)


@pytest.fixture
def case(make_task: Callable[..., Any]) -> Case:
    target = {"path": "s.py", "language": "python", "search": "    b = a + 1\n", "replace": "    b = a - 1\n"}
    whole = make_task(1)
    fix = whole.edit_targets[0].model_copy(update=target)
    task = whole.model_copy(update={"edit_targets": (fix,)})
    files = {"s.py": FILE}
    example = make_example(task, files, tokenizer=TOKENIZER, layout=LAYOUT, rng=random.Random(0))
    return Case(task, example, files)


def model_of(segments: int = 1, seed: int = 1) -> HrmEdit:
    config = ModelConfig(
        kind=ModelKind.EDIT,
        vocab_size=600,
        hidden_size=32,
        heads=2,
        high_layers=1,
        low_layers=1,
        pre_norm=True,
        halt=HaltConfig(max_segments=segments),
    )
    return build(config, seed=seed).eval()


class Fix:
    """Passes what makes the file as it was."""

    def __init__(self) -> None:
        self.seen: list[Sequence[ProposedEdit]] = []

    def judge(self, task: TaskInstance, edits: Sequence[ProposedEdit]) -> TestReport:
        self.seen.append(edits)
        is_right = apply_edits({"s.py": FILE}, edits) == {"s.py": FILE.replace("a + 1", "a - 1")}
        outcomes = dict.fromkeys((*task.FAIL_TO_PASS, *task.PASS_TO_PASS), Outcome.PASSED)
        if not is_right:
            outcomes |= dict.fromkeys(task.FAIL_TO_PASS, Outcome.FAILED)
        return TestReport(outcomes=outcomes, failures={}, exit_code=int(not is_right), timed_out=False, duration_s=0.0)


@pytest.mark.parametrize("segments", [1, 3])
def test_bits_are_those_of_the_response_alone(case: Case, segments: int) -> None:
    """By hand: the surprise at each token, after the same segments, as the model's own logits have it."""
    model, size = model_of(segments), case.example.prompt_tokens
    found = score(model, VOCABULARY, case, Asked(max_tokens=64))
    assert found.segments == segments, "an untrained model does not halt"
    tokens = torch.from_numpy(case.example.tokens.astype("int64"))[None]
    place = torch.arange(tokens.shape[1])[None]
    states = None
    with torch.no_grad():
        for _ in range(segments):
            states = model(scores.Cells(tokens, torch.zeros_like(tokens), place, place < size), states)
        chances = model.logits(states.low[0]).log_softmax(-1)
    bits = -sum(float(chances[at - 1, tokens[0, at]]) for at in range(size, tokens.shape[1])) / np.log(2)
    assert found.bits == pytest.approx(bits, rel=1e-4)
    assert found.bytes == len(TOKENIZER.decode(case.example.tokens[size:])) - len("<|search|><|replace|><|end|>")


def test_lines_are_found_by_the_pointer_or_by_chance(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, example = model_of(), case.example
    shown = [line for window in example.windows for line in window.lines]
    numbered = [at for at, token in enumerate(example.tokens) if scores._LINES[0] <= token <= scores._LINES[1]]

    def pointing(at: list[int]) -> scores.Score:
        logits = torch.zeros(1, len(example.tokens))
        for number, cell in enumerate(at):
            logits[0, cell] = 9.0 - number
        monkeypatch.setattr(model, "pointer_logits", lambda _high, _low: logits)
        return score(model, VOCABULARY, case, Asked(max_tokens=64))

    others = [cell for cell in numbered if cell != example.target_token]
    first, third = pointing([example.target_token]), pointing([*others[:2], example.target_token])
    assert (first.line_at_1, first.line_at_3) == (True, True)
    assert (third.line_at_1, third.line_at_3) == (False, True)
    last = pointing([*others[:3], example.target_token])
    assert not last.line_at_3
    assert pointing([0, 1, 2, example.target_token]).line_at_1, "only lines are pointed at"
    assert first.any_line_at_1 == 1 / len(shown)
    assert first.any_site_at_1 == 1 / 2, "the sum and the return"
    assert first.any_site_at_3 == 1.0


def test_what_the_model_writes_applies_and_is_exact_only_where_it_is_the_fix(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = score(model_of(), VOCABULARY, case, Asked(max_tokens=64))
    assert (found.applies, found.is_exact, found.attempts) == (True, False, 0)
    assert 0 < found.tokens <= 64

    def writing(*edits: ProposedEdit) -> scores.Score:
        written = Written((1,), edits, (0.0,), np.zeros((1, 75), np.uint8), 1)
        monkeypatch.setattr(scores, "write", lambda *_args, **_more: [written])
        return score(model_of(), VOCABULARY, case, Asked(max_tokens=64))

    assert writing(edit("    b = a + 1\n", "    b = a - 1\n")).is_exact
    assert writing(edit("    b = a + 1\n    return b\n", "    b = a - 1\n    return b\n")).is_exact, "put otherwise"
    assert not writing(edit("    b = a + 1\n", "    b = a - 2\n")).is_exact
    assert not writing(edit("not there\n", "x\n")).applies
    assert not writing().applies


def test_attempts_are_judged_by_the_tests_and_drawn_from_the_task_and_the_seed(case: Case) -> None:
    judge, asked = Fix(), Asked(max_tokens=64, attempts=5, seed=3)
    model = model_of()
    found = score(model, VOCABULARY, case, asked, judge=judge)
    assert (found.attempts, len(judge.seen)) == (5, 5)
    again = Fix()
    torch.manual_seed(99)
    score(model, VOCABULARY, case, asked, judge=again)
    assert again.seen == judge.seen
    other = Fix()
    score(model, VOCABULARY, case, asked.model_copy(update={"seed": 4}), judge=other)
    assert other.seen != judge.seen
    assert len({str(edits) for edits in judge.seen}) > 1


def test_solved_are_those_with_which_all_tests_pass(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = edit("    b = a + 1\n", "    b = a - 1\n"), edit("    return b\n", "    return a\n")

    def write(*_args: object, count: int = 1, **_more: object) -> list[Written]:
        return [
            Written((1,), (right if number % 2 else wrong,), (0.0,), np.zeros((1, 75), np.uint8), 1)
            for number in range(count)
        ]

    monkeypatch.setattr(scores, "write", write)
    found = score(model_of(), VOCABULARY, case, Asked(attempts=5), judge=Fix())
    assert (found.solved, found.attempts, found.is_exact) == (2, 5, False)


def test_a_prompt_to_which_nothing_can_be_written_scores_nothing(case: Case) -> None:
    found = score(model_of(), VOCABULARY, case, Asked(max_tokens=8, attempts=2), judge=Fix())
    assert (found.applies, found.tokens, found.solved, found.attempts) == (False, 0, 0, 2)


def test_attempts_that_nobody_judges_are_refused(case: Case) -> None:
    with pytest.raises(ValueError, match="hand in a judge"):
        score(model_of(), VOCABULARY, case, Asked(attempts=1))


@pytest.mark.parametrize(
    ("edits", "result"),
    [
        ([("a\n", "b\n")], "b\nx\nx\n"),
        ([("a\n", "c\n"), ("c\n", "")], "x\nx\n"),
        ([("x\n", "y\n")], None),
        ([("x\nx\n", "")], "a\n"),
        ([("", "y\n")], None),
        ([("a", "b")], None),
    ],
)
def test_edits_find_whole_lines_that_are_there_once(edits: list[tuple[str, str]], result: str | None) -> None:
    found = apply_edits({"s.py": "a\nx\nx\n"}, [edit(*one) for one in edits])
    assert found == (None if result is None else {"s.py": result})
