"""How a run is configured: rates, phases, presets."""

from pathlib import Path

import pytest
from pydantic import ValidationError

pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

from hrm.models.presets import Variant, variant
from hrm.train.config import RunConfig, Schedule, TrainConfig, preset
from schemas.errors import InvalidInput


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        (Schedule.CONSTANT, [1, 1, 1]),
        (Schedule.COSINE, [1, 0.55, 0.1]),
        (Schedule.LINEAR, [1, 0.55, 0.1]),
        (Schedule.STABLE, [1, 1, 0.1]),
    ],
)
def test_the_rate_rises_then_follows_its_schedule(schedule: Schedule, shares: list[float]) -> None:
    config = TrainConfig(steps=110, warmup=10, lr=2.0, schedule=schedule, final_lr_share=0.1)
    assert [config.lr_at(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert [config.lr_at(step) / 2 for step in (10, 60, 110)] == pytest.approx(shares)


def test_phases_begin_where_the_last_one_ends() -> None:
    phases = [{"until": 0.3, "stages": ["syntax"]}, {"until": 1.0}]
    config = TrainConfig.model_validate({"steps": 10, "curriculum": phases})
    assert [config.phase_at(step) for step in range(11)] == [0] * 3 + [1] * 8
    for wrong in ([{"until": 0.5}], [{"until": 0.5}, {"until": 0.4}, {"until": 1.0}]):
        with pytest.raises(ValidationError, match="one after the other"):
            TrainConfig.model_validate({"curriculum": wrong})


def test_a_file_overrides_what_it_names_alone(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[model]\nhalt.max_segments = 3\n[train]\nrows = 2\n[layout]\nwindow_lines = 8\n")
    base, found = preset("tiny"), preset("tiny", file=file)
    assert (found.model.halt.max_segments, found.train.rows, found.layout.window_lines) == (3, 2, 8)
    assert found.model.hidden_size == base.model.hidden_size
    assert found.train.model_copy(update={"rows": base.train.rows}) == base.train


@pytest.mark.parametrize("which", Variant)
def test_what_a_file_says_of_the_model_is_said_of_hrm_edit_and_matched(tmp_path: Path, which: Variant) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[model]\ngradient_window = 3\nhalt.max_segments = 2\nhidden_size = 80\n")
    itself = preset("tiny", file=file).model
    assert (itself.gradient_window, itself.halt.max_segments, itself.hidden_size) == (3, 2, 80)
    found = preset("tiny", which=which, file=file)
    assert found.model == variant(itself, which)
    assert found.model.hidden_size == 80
    assert found.which is which


@pytest.mark.parametrize("text", ['which = "no-high"', '[model]\nkind = "transformer"', "[model]\nhigh_layers = 0"])
def test_a_file_names_no_model(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text + "\n")
    with pytest.raises(InvalidInput, match="--model"):
        preset("tiny", file=file)


@pytest.mark.parametrize("which", Variant)
@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_what_is_compared_is_trained_alike(name: str, which: Variant) -> None:
    one, other = preset(name), preset(name, which=which)
    assert (one.train, one.layout) == (other.train, other.layout)
    assert one.model.vocab_size == other.model.vocab_size


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(InvalidInput, match="huge"):
        preset("huge")


def test_the_published_model_and_examples_that_do_not_fit_are_refused() -> None:
    tiny = preset("tiny").model_dump()
    with pytest.raises(ValidationError, match="hrm-act-v1"):
        RunConfig.model_validate(tiny | {"model": {"vocab_size": 600}})
    with pytest.raises(ValidationError, match="do not fit"):
        RunConfig.model_validate(tiny | {"layout": {"max_tokens": 2_000}})
