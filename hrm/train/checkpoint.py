"""Checkpoints: folders that are whole or absent, with weights, configuration and tokenizer inside."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from hrm.data.source import Place
from hrm.models.edit import HrmEdit
from hrm.models.presets import build
from hrm.optim import AdamATan2
from hrm.tokenizer.encoding import Tokenizer
from hrm.train.config import RunConfig
from schemas.errors import DatasetDamaged, InvalidInput
from schemas.model import Model
from storage.durable import refusals_named

_FOLDER, _PREFIX = "checkpoints", "step-"
_MODEL, _TRAINING, _CONFIG, _TOKENIZER, _PROGRESS = (
    "model.safetensors",
    "training.safetensors",
    "config.json",
    "tokenizer.json",
    "progress.json",
)
_STATE = ("step", "mean", "square")
"""What AdamATan2 keeps of each parameter."""


class Progress(Model):
    """Where a run is."""

    step: int = 0
    """Steps that were made."""
    phase: int = 0
    place: Place = Place()
    """Where the phase's next batch begins."""
    lr_scale: float = 1.0
    """What the learning rate is multiplied by, after rollbacks."""
    rollbacks: int = 0
    running_loss: float | None = None
    """The running mean that says which loss is too high."""
    examples_sha256: str = ""
    """Of the manifest of the examples that it learns from."""
    processes: int | None = None
    """How many shared each batch; not known of runs of earlier versions."""
    repos: tuple[str, ...] = ()
    """Repositories of these, sorted: none that it may be evaluated on."""


class Loaded(NamedTuple):
    """A model to use."""

    model: HrmEdit
    tokenizer: Tokenizer
    config: RunConfig
    step: int


def list_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in (run / _FOLDER).glob(f"{_PREFIX}*") if path.is_dir())


def save_checkpoint(
    run: Path,
    *,
    model: HrmEdit,
    optimizer: AdamATan2,
    mean_weights: Mapping[str, Tensor] | None,
    config: RunConfig,
    tokenizer: Tokenizer,
    progress: Progress,
) -> Path:
    """Write a checkpoint; only when it is whole are those dropped that are too old.

    Raises:
        StorageFailed: the file system refused; all earlier checkpoints are as they were.
    """
    folder = run / _FOLDER / f"{_PREFIX}{progress.step:08d}"
    temporary = folder.with_name(f".{folder.name}.tmp")
    weights = {name: one.detach() for name, one in model.named_parameters()}
    training = {f"weights.{name}": one for name, one in weights.items()}
    for name, parameter in model.named_parameters():
        training |= {f"{key}.{name}": value for key, value in optimizer.state[parameter].items()}
    files = {
        _MODEL: to_bytes(_on_cpu(mean_weights or weights)),
        _TRAINING: to_bytes(_on_cpu(training)),
        _CONFIG: config.model_dump_json(indent=1).encode(),
        _TOKENIZER: tokenizer.file.encode(),
        _PROGRESS: progress.model_dump_json(indent=1).encode(),
    }
    with refusals_named(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            for name, content in files.items():
                _write(temporary / name, content)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        for old in list_checkpoints(run)[: -config.train.keep]:
            shutil.rmtree(old)
    return folder


def read_progress(checkpoint: Path) -> Progress:
    """Where the run was.

    Raises:
        DatasetDamaged: the file cannot be read.
    """
    try:
        return Progress.model_validate_json((checkpoint / _PROGRESS).read_bytes())
    except (OSError, ValidationError) as error:
        raise _damaged(checkpoint, error) from error


def restore(
    checkpoint: Path, *, model: HrmEdit, optimizer: AdamATan2, mean_weights: dict[str, Tensor] | None
) -> Progress:
    """Put weights and optimizer back to where they were, in place.

    Raises:
        DatasetDamaged: a file is missing or not what was written.
    """
    try:
        training = from_bytes((checkpoint / _TRAINING).read_bytes())
        used = from_bytes((checkpoint / _MODEL).read_bytes())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(training[f"weights.{name}"])
                kept = {key: training[f"{key}.{name}"] for key in _STATE if f"{key}.{name}" in training}
                optimizer.state[parameter] = {
                    key: value if key == "step" else value.to(parameter.device) for key, value in kept.items()
                }
                if mean_weights is not None:
                    mean_weights[name].copy_(used[name])
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise _damaged(checkpoint, error) from error
    return read_progress(checkpoint)


def checkpoint_of(path: Path) -> Path:
    """A run's newest checkpoint, or the checkpoint itself.

    Raises:
        InvalidInput: there is none.
    """
    checkpoints = list_checkpoints(path)
    checkpoint = checkpoints[-1] if checkpoints else path
    if not (checkpoint / _CONFIG).is_file():
        raise InvalidInput(f"{path} holds no model. Name the folder of a run, or one of its checkpoints")
    return checkpoint


def load_model(path: Path) -> Loaded:
    """The model of a checkpoint, or of a run's newest, ready to be used.

    Raises:
        InvalidInput: there is none.
        DatasetDamaged: a file is missing or not what was written.
    """
    checkpoint = checkpoint_of(path)
    try:
        config = RunConfig.model_validate_json((checkpoint / _CONFIG).read_bytes())
        tokenizer = Tokenizer.load(checkpoint / _TOKENIZER)
        model = build(config.model)
        assert isinstance(model, HrmEdit)  # a run has no other, see RunConfig
        model.load_state_dict(load_file(checkpoint / _MODEL))
    except (OSError, SafetensorError, RuntimeError, ValidationError) as error:
        raise _damaged(checkpoint, error) from error
    return Loaded(model.eval(), tokenizer, config, read_progress(checkpoint).step)


def differing(ours: RunConfig, checkpoint: Path, *, passing: frozenset[str]) -> list[str]:
    """Names of what a checkpoint's configuration has otherwise, but for those that change no curve."""
    text = (checkpoint / _CONFIG).read_text()
    with suppress(ValidationError):  # what an older version did not have, it had as it is by default
        text = RunConfig.model_validate_json(text).model_dump_json()
    theirs, mine = json.loads(text), json.loads(ours.model_dump_json())
    return [
        f"{table}.{name}"
        for table, values in mine.items()
        if isinstance(values, dict)  # `which` tells nothing that `model` does not
        for name, value in values.items()
        if name not in passing and theirs.get(table, {}).get(name) != value
    ]


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.detach().cpu().contiguous() for name, one in tensors.items()}


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _damaged(checkpoint: Path, error: Exception) -> DatasetDamaged:
    return DatasetDamaged(f"{checkpoint} cannot be read: {error}. Delete it: the run goes on from the one before")
