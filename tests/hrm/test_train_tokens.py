"""What the benchmark of a GPU counts, on a processor: tokens and operations, not time."""

import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from benchmarks import train_tokens
from hrm.models.presets import build, layer_passes
from hrm.train.config import preset


def test_tokens_and_operations_are_those_of_whole_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_tokens, "_seconds", lambda *_: 1.0)
    cpu, config = torch.device("cpu"), preset("tiny")
    batch = train_tokens.drawn_batch(config, cpu)
    cells = int((batch.cells.documents >= 0).sum())
    assert batch.cells.tokens.shape == (config.train.rows, config.train.length)
    assert cells > 0.5 * batch.cells.tokens.numel()
    tokens, operations = train_tokens.train_speed(config, cpu, compiled=False, peak=1.0)
    assert tokens == cells
    layers = config.model.high_layers + config.model.low_layers
    model = build(config.model)
    weights = sum(one.numel() for name, one in model.named_parameters() if "layers" in name) / layers
    # Two operations a weight, three times for forward and backward; attention and what is read off come to it.
    products = 6 * weights * layer_passes(config.model) * batch.cells.tokens.numel()
    assert products < operations < 1.5 * products


def test_operations_of_a_product_are_two_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_tokens, "_seconds", lambda *_: 0.5)
    assert train_tokens.product_flops(torch.device("cpu"), size=8) == 2 * 8**3 / 0.5
