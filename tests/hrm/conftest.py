"""What the tests of the trainer share: one thread, and the numbers of the published model's own code."""

import json
import os
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
