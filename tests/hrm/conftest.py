"""What the tests of the trainer share: one thread, and the numbers of the published model's own code."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if "train" in os.environ.get("GYMFORGE_REQUIRE", "").split(","):
    try:
        import torch  # noqa: F401 - without it every module here would be skipped
    except ImportError as error:
        raise pytest.UsageError(f"GYMFORGE_REQUIRE asks for what this machine lacks: train: {error}") from error


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The machine may be shared, and sums are the same whatever it has."""
    with suppress(ImportError):  # the modules that need it say so
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference() -> dict[str, np.ndarray]:
    """Weights, inputs and results of four segments, computed by the published model's own code."""
    with np.load(Path(__file__).parent / "hrm_reference_tiny.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def reference_config(reference: dict[str, np.ndarray]) -> dict[str, Any]:
    return json.loads(str(reference["config_json"]))


@pytest.fixture(scope="session")
def examples(make_task: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Token shards of 24 small tasks, of two stages, for a vocabulary of 600."""
    from hrm.data.example import ExampleLayout
    from hrm.data.shards import TrainingTask, write_examples
    from hrm.tokenizer.encoding import Tokenizer

    def plan(number: int) -> dict[str, Any]:
        named = {"files": ["s.py"], "symbols": [f"function_{number}"], "tests": []}
        return {"goal": "", "steps": [{"kind": kind, "description": "", **named} for kind in ("localize", "repair")]}

    folder = tmp_path_factory.mktemp("training") / "examples"
    write_examples(
        [TrainingTask(make_task(number, plan=plan(number)), stage="ab"[number % 2]) for number in range(24)],
        folder,
        files=lambda task: {"s.py": "import s\n" + task.edit_targets[0].search},
        tokenizer=Tokenizer.bundled(vocab_size=600),
        layout=ExampleLayout(max_tokens=192, issue_tokens=32),
    )
    return folder


@pytest.fixture(scope="session")
def run_config() -> Callable[..., Any]:
    """The configuration of a run of a very small model on those examples; keywords change how it is trained."""

    def make(*, max_segments: int = 2, **changes: Any) -> Any:
        from hrm.train.config import RunConfig

        train = {"steps": 8, "length": 192, "rows": 2, "lr": 3e-3, "warmup": 2, "save_every": 3} | changes
        model = {
            "kind": "hrm-edit",
            "vocab_size": 600,
            "hidden_size": 32,
            "heads": 2,
            "high_layers": 1,
            "low_layers": 1,
            "pre_norm": True,
            "halt": {"max_segments": max_segments},
        }
        layout = {"max_tokens": 192, "issue_tokens": 32}
        return RunConfig.model_validate({"model": model, "train": train, "layout": layout})

    return make
