"""Tokens a second, and the share of a device's peak, of training `small` and `base`; called by `train_step.py`."""

import gc
import math
import time
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from hrm.data.packing import Examples, lay_out, pack
from hrm.data.plans import PLAN_CODES
from hrm.models.presets import build
from hrm.optim import AdamATan2
from hrm.tokenizer.special import line_id
from hrm.train.config import RunConfig, preset
from hrm.train.objective import Batch, loss_of, measure, to_batch, totals_of

PRESETS = ("small", "base")
_PRODUCT = 8_192
_STEPS, _WARM = 10, 3


def speeds(device: torch.device) -> dict[str, Any]:
    """Both presets in bfloat16, with and without torch.compile; the peak is what a large product reaches here."""
    peak = product_flops(device)
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(device), "TFLOP/s of a product": round(peak / 1e12)}
    for name in PRESETS:
        for compiled in (False, True):
            label = f"{name}{', compiled' if compiled else ''}"
            try:
                tokens, share = train_speed(preset(name), device, compiled=compiled, peak=peak)
            except torch.OutOfMemoryError:
                found[f"tokens/s, {label}"] = "out of memory"
            else:
                found |= {f"tokens/s, {label}": round(tokens), f"share of peak, {label}": round(share, 3)}
            gc.collect()
            torch.cuda.empty_cache()
    return found


def product_flops(device: torch.device, *, size: int = _PRODUCT) -> float:
    """Floating-point operations a second of a square product in bfloat16."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = _seconds(lambda: left @ right, device)
    return 2 * size**3 / seconds


def train_speed(config: RunConfig, device: torch.device, *, compiled: bool, peak: float) -> tuple[float, float]:
    """Tokens a second of forward, backward and optimizer, and the share of `peak` that their operations come to.

    Operations are those of the forward pass and, twice that, of the backward pass, counted by torch; what attention
    computes of pairs that a mask hides is counted too, for it is computed.
    """
    batch = drawn_batch(config, device)
    model = build(config.model).to(device)
    forward = torch.compile(model) if compiled else model
    optimizer, totals = AdamATan2(model.parameters(), lr=1e-4), totals_of(batch)

    def step(call: Any = forward) -> float:
        optimizer.zero_grad(set_to_none=True)
        states = None
        for _ in range(config.model.halt.max_segments):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                states = call(batch.cells, states)
                loss = loss_of(measure(model, batch, states), totals, config.train.weights)
            loss.backward()
            states = type(states)(*(state.detach() for state in states))
        optimizer.step()
        return float(loss.detach())

    with FlopCounterMode(display=False) as counter:
        assert math.isfinite(step(model)), "what is timed is what is trained"
    seconds = _seconds(step, device)
    tokens = int((batch.cells.documents >= 0).sum())
    return tokens / seconds, counter.get_total_flops() / seconds / peak


def drawn_batch(config: RunConfig, device: torch.device) -> Batch:
    """A full batch of made-up examples: half as long as may be and longer, a sixth of each the response."""
    rng, most = np.random.default_rng(0), config.layout.max_tokens
    sizes = rng.integers(most // 2, most + 1, size=3 * config.train.rows * config.train.length // most)
    rows = pack(sizes, length=config.train.length)[: config.train.rows]
    tokens = rng.integers(300, config.model.vocab_size, size=int(sizes.sum())).astype(np.uint16)
    tokens[np.cumsum(sizes) - sizes + sizes // 2] = line_id(0)  # what a pointer may point at
    given = Examples(
        tokens=tokens,
        sizes=sizes.astype(np.int64),
        prompts=(sizes * 5 // 6).astype(np.int64),
        targets=(sizes // 2).astype(np.int64),
        names=np.arange(len(sizes), dtype=np.int64),
        plans=np.full((len(sizes), PLAN_CODES), -1, dtype=np.int32),
    )
    packed = lay_out(rows, given, length=config.train.length)
    return to_batch(packed, torch.full((config.model.vocab_size,), 4, dtype=torch.int64), device)


def _seconds(call: Any, device: torch.device) -> float:
    """Of one call, the mean of several, after some that warm up."""
    for _ in range(_WARM):
        call()
    _wait(device)
    began = time.perf_counter()
    for _ in range(_STEPS):
        call()
    _wait(device)
    return (time.perf_counter() - began) / _STEPS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
