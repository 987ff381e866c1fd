"""CPU-seconds of a training step of `hrm-act-v1`, beside the published code on the same weights and inputs.

    python -m benchmarks.train_step --original CLONE --json

CLONE is a clone of https://github.com/sapientinc/HRM (measured at 42410da), whose FlashAttention is replaced by torch's
own attention. Hidden size 256, 2 + 2 layers, 81 cells, batches of 32, float32, one thread; forward, loss, backward and
our AdamATan2 for both. They take turns; the median of several rounds, and how far the losses of the first step are
apart.

Where there is a GPU, also tokens a second and share of its peak of `small` and `base` in bfloat16, with and without
torch.compile (`benchmarks/train_tokens.py`).
"""

import argparse
import importlib
import json
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks.anchors.results import machine
from benchmarks.train_tokens import speeds
from hrm.models.act_loss import segment_loss
from hrm.models.act_v1 import Grid, HrmActV1
from hrm.models.config import ModelConfig
from hrm.optim import AdamATan2

ROWS, CELLS, VOCABULARY = 32, 81, 11
CONFIG = ModelConfig(vocab_size=VOCABULARY, hidden_size=256, heads=4, high_layers=2, low_layers=2)
THEIR_NAMES = {
    "embed.weight": "embed_tokens.embedding_weight",
    "high.": "H_level.",
    "low.": "L_level.",
    "high_init": "H_init",
    "low_init": "L_init",
    "attention.qkv": "self_attn.qkv_proj",
    "attention.out": "self_attn.o_proj",
    "gate_up": "gate_up_proj",
    "mlp.down": "mlp.down_proj",
}
Step = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=Path, metavar="CLONE")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.original, options.rounds)
    found |= speeds(torch.device("cuda")) if torch.cuda.is_available() else {"GPU": "none here"}
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<36}{value}")


def measure(original: Path | None, rounds: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    model = HrmActV1(CONFIG, generator=generator)
    cells = torch.randint(1, VOCABULARY, (2, ROWS, CELLS), generator=generator)
    grid = Grid(cells[0], cells[1])
    steps = {"ours": our_step(model, grid)}
    if original:
        steps["original"] = original_step(original, model, grid)
    first = {name: step() for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    found: dict[str, Any] = {"machine": machine()}
    found |= {f"CPU-seconds a step, {name}": round(median, 3) for name, median in medians.items()}
    if original:
        found["times as fast"] = round(medians["original"] / medians["ours"], 2)
        found["losses of the first step apart"] = abs(first["ours"] - first["original"])
    return found


def our_step(model: HrmActV1, grid: Grid) -> Step:
    carry, optimizer = model.first_carry(grid), AdamATan2(model.parameters())

    def step() -> float:
        nonlocal carry
        segment = model(carry, grid)
        loss = segment_loss(segment).loss
        optimizer.zero_grad()
        (loss / ROWS).backward()
        optimizer.step()
        carry = segment.carry
        return float(loss.detach())

    return step


def original_step(clone: Path, ours: HrmActV1, grid: Grid) -> Step:
    """The published code's step, from our weights."""
    flash = types.ModuleType("flash_attn")
    flash.flash_attn_func = attend  # type: ignore[attr-defined]
    sys.modules["flash_attn"] = flash
    sys.path.insert(0, str(clone))
    published = importlib.import_module("models.hrm.hrm_act_v1").HierarchicalReasoningModel_ACTV1
    head = importlib.import_module("models.losses").ACTLossHead
    config = {
        "batch_size": ROWS,
        "seq_len": CELLS,
        "num_puzzle_identifiers": 1,
        "vocab_size": VOCABULARY,
        "H_cycles": CONFIG.high_cycles,
        "L_cycles": CONFIG.low_cycles,
        "H_layers": CONFIG.high_layers,
        "L_layers": CONFIG.low_layers,
        "hidden_size": CONFIG.hidden_size,
        "expansion": CONFIG.expansion,
        "num_heads": CONFIG.heads,
        "pos_encodings": "rope",
        "halt_max_steps": CONFIG.halt.max_segments,
        "halt_exploration_prob": 0.0,
        "forward_dtype": "float32",
    }
    model = published(config)
    model.inner.load_state_dict({their_name(name): value.clone() for name, value in ours.state_dict().items()})
    model = head(model, "stablemax_cross_entropy")
    batch = {
        "inputs": grid.inputs.int(),
        "labels": grid.labels.int(),
        "puzzle_identifiers": torch.zeros(ROWS, dtype=torch.int32),
    }
    carry, optimizer = model.initial_carry(batch), AdamATan2(model.parameters())

    def step() -> float:
        nonlocal carry
        carry, loss, *_ = model(return_keys=[], carry=carry, batch=batch)
        optimizer.zero_grad()
        (loss / ROWS).backward()
        optimizer.step()
        return float(loss.detach())

    return step


def their_name(name: str) -> str:
    for ours, theirs in THEIR_NAMES.items():
        name = name.replace(ours, theirs)
    return name


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    """What FlashAttention computes, `[B, S, heads, head_size]`."""
    heads = (part.transpose(1, 2) for part in (q, k, v))
    return functional.scaled_dot_product_attention(*heads, is_causal=causal).transpose(1, 2).contiguous()


if __name__ == "__main__":
    main()
