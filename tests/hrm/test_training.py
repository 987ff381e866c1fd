"""The training loop: what it learns, that it goes on where it was, and what it does when something breaks."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="`make train-env` installs the extra `train`")

import hrm.train.checkpoint
from hrm.data.packing import PADDING
from hrm.data.shards import open_examples, tokenizer_of
from hrm.data.source import BatchPlan, batches
from hrm.extra import require_compiler
from hrm.models.edit import HrmEdit
from hrm.models.presets import build
from hrm.tokenizer.special import Special, special_id
from hrm.train.checkpoint import list_checkpoints, load_model
from hrm.train.config import RunConfig
from hrm.train.loop import Trainer
from hrm.train.objective import loss_of, measure, to_batch, totals_of
from hrm.train.parallel import World
from hrm.train.record import Row
from schemas.errors import DatasetDamaged, InvalidInput, StorageFailed, TrainingFailed

ALONE = World(0, 1, torch.device("cpu"))
ROOT = Path(__file__).parents[2]
Make = Callable[..., RunConfig]

TIMED = ("seconds",)
PROGRAM = """
import sys, torch
from pathlib import Path
from hrm.train.config import RunConfig
from hrm.train.loop import Trainer
from hrm.train.parallel import joined_world

torch.set_num_threads(1)
config = RunConfig.model_validate_json(sys.argv[1])
with joined_world() as world:
    trainer = Trainer(
        config, Path(sys.argv[2]), Path(sys.argv[3]), world=world, report=lambda row: print(row.step, flush=True)
    )
    trainer.resume()
    trainer.train()
"""


def trainer_of(config: RunConfig, examples: Path, run: Path, **options: Any) -> Trainer:
    return Trainer(config, examples, run, world=ALONE, **options)


def curve(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "metrics.parquet").drop_columns(list(TIMED)).to_pylist()


def weights(run: Path) -> dict[str, Any]:
    return load_model(run).model.state_dict()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_segments": 1},
        {"ema": 0.9, "accumulation": 2},
        {"curriculum": [{"until": 0.375, "stages": ["a"]}, {"until": 0.5, "stages": ["b"]}, {"until": 1.0}]},
    ],
)
def test_a_run_that_was_stopped_goes_on_to_the_same_curve_and_weights(
    run_config: Make, examples: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = run_config(**changes)
    trainer_of(config, examples, tmp_path / "whole").train()

    def stop(row: Row) -> None:
        if row.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer_of(config, examples, tmp_path / "parts", report=stop).train()
    second = trainer_of(config, examples, tmp_path / "parts")
    assert second.resume()
    assert second.progress.step == 3
    second.train()
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_curve(run_config: Make, examples: Path, tmp_path: Path) -> None:
    config = run_config(steps=12)
    trainer_of(config, examples, tmp_path / "whole").train()
    command = [sys.executable, "-c", PROGRAM, config.model_dump_json(), str(examples), str(tmp_path / "killed")]
    for stop_at in ("5", "10"):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            for line in process.stdout:
                if line.strip() == stop_at:
                    break
            os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_same_batches(
    run_config: Make, examples: Path, tmp_path: Path
) -> None:
    trainer_of(run_config(rows=4), examples, tmp_path / "one").train()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = [run_config(rows=2).model_dump_json(), str(examples), str(tmp_path / "two")]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(program)]
    done = subprocess.run(
        [*launched, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    for one, two in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-3)
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_it_learns_the_examples_by_heart(run_config: Make, examples: Path, tmp_path: Path) -> None:
    rows = trainer_of(run_config(steps=120, rows=6, max_segments=1, lr=1e-2), examples, tmp_path / "run").train()
    assert rows[0].token_loss > 5
    assert rows[-1].token_loss < 1
    assert rows[-1].accuracy > 0.8
    assert rows[-1].line_accuracy > 0.9
    assert rows[-1].bits_per_byte < rows[0].bits_per_byte / 4
    assert rows[-1].plan_loss < rows[0].plan_loss / 4


def test_a_checkpoint_holds_all_that_gives_equal_outputs(run_config: Make, examples: Path, tmp_path: Path) -> None:
    trainer = trainer_of(run_config(), examples, tmp_path / "run")
    trainer.train()
    (checkpoint, *_) = reversed(list_checkpoints(tmp_path / "run"))
    moved = checkpoint.rename(tmp_path / "moved")
    loaded = load_model(moved)
    (batch,) = [
        to_batch(
            next(batches(examples, open_examples(examples), BatchPlan(length=192, rows=2))).packed,
            torch.zeros(600),
            ALONE.device,
        )
    ]
    assert torch.equal(loaded.model(batch.cells).low, trainer.model(batch.cells).low)
    assert loaded.tokenizer.file == tokenizer_of(examples, open_examples(examples)).file
    assert (loaded.config, loaded.step) == (trainer.config, 8)


def test_the_mean_of_the_weights_is_what_is_used(run_config: Make, examples: Path, tmp_path: Path) -> None:
    seen = []
    trainer = trainer_of(
        run_config(ema=0.5, steps=3),
        examples,
        tmp_path,
        report=lambda _: seen.append(trainer.model.embed.weight.clone()),
    )
    first = trainer.model.embed.weight.detach().clone()
    trainer.train()
    mean = first
    for one in seen:
        mean = 0.5 * mean + 0.5 * one
    torch.testing.assert_close(load_model(tmp_path).model.embed.weight, mean)


def poison(at: set[int], factor: float) -> tuple[Callable[[Row], None], list[Trainer]]:
    """A report that spoils the weights after some steps, each once."""
    left, holder = set(at), []

    def spoil(row: Row) -> None:
        if row.step in left:
            left.remove(row.step)
            with torch.no_grad():
                holder[0].model.embed.weight.mul_(factor)

    return spoil, holder


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 300.0], ids=["nan", "inf", "explodes"])
def test_a_loss_that_is_none_goes_back_to_the_last_checkpoint_with_a_lower_rate_and_says_so(
    run_config: Make, examples: Path, tmp_path: Path, factor: float
) -> None:
    spoil, holder = poison({5}, factor)
    said: list[str] = []
    trainer = trainer_of(run_config(), examples, tmp_path, report=spoil, say=said.append)
    holder.append(trainer)
    rows = trainer.train()
    assert [row.step for row in rows] == list(range(1, 9))
    config = trainer.config.train
    assert [row.lr for row in rows] == [config.lr_at(n) * (1 if n < 3 else 0.5) for n in range(8)]
    assert all(row.loss < 20 for row in rows)
    assert len(said) == 1
    assert "at step 6: back to step 3, with 0.5 of the learning rate" in said[0]
    (event,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (event["event"], event["step"], event["to"], event["lr_scale"]) == ("rollback", 6, 3, 0.5)


def test_a_loss_that_stays_none_ends_the_run_and_keeps_the_checkpoint(
    run_config: Make, examples: Path, tmp_path: Path
) -> None:
    def spoil(row: Row) -> None:
        if row.step == 5:
            with torch.no_grad():
                trainer.model.embed.weight.fill_(torch.nan)

    trainer = trainer_of(run_config(rollbacks=2), examples, tmp_path, report=spoil)
    with pytest.raises(TrainingFailed, match="after 2 rollbacks"):
        trainer.train()
    assert load_model(tmp_path).step == 3
    assert all(torch.isfinite(one).all() for one in weights(tmp_path).values())


def test_a_full_disk_is_an_error_that_loses_no_checkpoint(
    run_config: Make, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = hrm.train.checkpoint._write

    def fill(path: Path, content: bytes) -> None:
        if "step-00000006" in str(path) and path.name == "training.safetensors":
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(hrm.train.checkpoint, "_write", fill)
    with pytest.raises(StorageFailed, match="No space left"):
        trainer_of(run_config(keep=9), examples, tmp_path).train()
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-00000000", "step-00000003"}
    monkeypatch.undo()
    second = trainer_of(run_config(keep=9), examples, tmp_path)
    assert second.resume()
    second.train()
    assert load_model(tmp_path).step == 8


def test_a_shard_that_becomes_unreadable_is_an_error_that_loses_no_checkpoint(
    run_config: Make, examples: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "examples"
    shutil.copytree(examples, copy)
    (shard,) = copy.glob("*.parquet")

    def damage(row: Row) -> None:
        if row.step == 4:
            shard.write_bytes(shard.read_bytes()[:-30])

    with pytest.raises(DatasetDamaged, match=shard.name):
        trainer_of(run_config(steps=500), copy, tmp_path / "run", report=damage).train()
    assert load_model(tmp_path / "run").step >= 3


def test_a_checkpoint_that_is_cut_off_is_named(run_config: Make, examples: Path, tmp_path: Path) -> None:
    trainer_of(run_config(steps=3), examples, tmp_path).train()
    newest = list_checkpoints(tmp_path)[-1]
    path = newest / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetDamaged, match=newest.name):
        trainer_of(run_config(steps=3), examples, tmp_path).resume()


def test_so_many_checkpoints_are_kept(run_config: Make, examples: Path, tmp_path: Path) -> None:
    trainer_of(run_config(keep=2), examples, tmp_path).train()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000006", "step-00000008"]


@pytest.mark.parametrize("other", [{"lr": 1e-3}, {"rows": 3}, {"steps": 9}])
def test_another_configuration_does_not_go_on(
    run_config: Make, examples: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    trainer_of(run_config(steps=3), examples, tmp_path).train()
    with pytest.raises(InvalidInput, match=f"train.{next(iter(other))}"):
        trainer_of(run_config(**({"steps": 3} | other)), examples, tmp_path).resume()


def test_another_number_of_processes_does_not_go_on(run_config: Make, examples: Path, tmp_path: Path) -> None:
    trainer_of(run_config(steps=3), examples, tmp_path).train()
    several = Trainer(run_config(steps=3), examples, tmp_path, world=World(0, 2, torch.device("cpu")))
    with pytest.raises(InvalidInput, match=r"begun by 1 processes.* here are 2"):
        several.resume()


def test_a_run_that_an_older_version_began_goes_on(run_config: Make, examples: Path, tmp_path: Path) -> None:
    """It knew fewer settings; what is new is as it is by default."""
    trainer_of(run_config(steps=3), examples, tmp_path).train()
    config = list_checkpoints(tmp_path)[-1] / "config.json"
    known = json.loads(config.read_text())
    del known["layout"]["windows"], known["train"]["explodes_at"]
    config.write_text(json.dumps(known))
    assert trainer_of(run_config(steps=3), examples, tmp_path).resume()


def test_phases_of_a_curriculum_see_their_stages(run_config: Make, examples: Path, tmp_path: Path) -> None:
    phases = [{"until": 0.5, "stages": ["a"]}, {"until": 1.0}]
    rows = trainer_of(run_config(curriculum=phases), examples, tmp_path / "run").train()
    assert [row.phase for row in rows] == [0] * 4 + [1] * 4
    alone = trainer_of(run_config(curriculum=[{"until": 1.0, "stages": ["a"]}]), examples, tmp_path / "alone").train()
    assert [row.token_loss for row in rows[:4]] == [row.token_loss for row in alone[:4]]
    assert rows[4].token_loss != alone[4].token_loss


def test_the_next_phase_is_not_measured_by_the_loss_of_the_one_before(
    run_config: Make, examples: Path, tmp_path: Path
) -> None:
    running: list[float | None] = []

    def look(_: Row) -> None:
        running.append(trainer.progress.running_loss)

    phases = [{"until": 0.5, "stages": ["a"]}, {"until": 1.0}]
    trainer = trainer_of(run_config(curriculum=phases), examples, tmp_path, report=look)
    rows = trainer.train()
    assert [at for at, row in enumerate(rows) if running[at] == row.loss] == [0, 4]


def test_a_run_tells_how_it_goes(run_config: Make, examples: Path, tmp_path: Path) -> None:
    now = [100.0]
    trainer = trainer_of(run_config(), examples, tmp_path, clock=lambda: now[0])
    rows = trainer.train()
    assert pq.read_table(tmp_path / "metrics.parquet").column_names == list(Row._fields)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "heartbeat.json").read_text()) == {"time": 100.0, "step": 8, "loss": rows[-1].loss}
    assert all(0 < row.segments <= 2 and row.tokens > 0 and row.seconds > 0 for row in rows)


def test_lower_precision_and_computing_anew_give_nearly_the_same_curve(
    run_config: Make, examples: Path, tmp_path: Path
) -> None:
    plain = trainer_of(run_config(), examples, tmp_path / "0").train()
    anew = trainer_of(run_config(checkpointing=True), examples, tmp_path / "1").train()
    rough = trainer_of(run_config(precision="bf16"), examples, tmp_path / "2").train()
    assert [row.loss for row in anew] == pytest.approx([row.loss for row in plain], rel=1e-4)
    assert [row.loss for row in rough] == pytest.approx([row.loss for row in plain], rel=0.05)
    assert [row.loss for row in rough] != [row.loss for row in plain]


@pytest.mark.parametrize(("variable", "on_gpu"), [("CXX", False), ("CC", True)])
def test_without_a_compiler_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, *, on_gpu: bool
) -> None:
    monkeypatch.setenv(variable, "no-such-compiler")
    with pytest.raises(InvalidInput, match=r"a compiler \(no-such-compiler\).*train\.compile = false"):
        require_compiler(on_gpu=on_gpu)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.delenv(variable)
    with pytest.raises(InvalidInput, match=r"Python's headers"):
        require_compiler(on_gpu=on_gpu)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch's own, where it imports its compiler
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_it_learns_the_same(
    run_config: Make, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    try:
        require_compiler(on_gpu=False)
    except InvalidInput as error:
        if "train" in os.environ.get("GYMFORGE_REQUIRE", ""):
            raise
        if backend == "inductor":
            pytest.skip(str(error))
    plain = trainer_of(run_config(steps=3), examples, tmp_path / "0").train()
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend=backend))
    found = trainer_of(run_config(steps=3, compile=True), examples, tmp_path / "1").train()
    assert [row.loss for row in found] == pytest.approx([row.loss for row in plain], rel=1e-4)


def test_accumulated_batches_are_one_large_batch(run_config: Make, examples: Path, tmp_path: Path) -> None:
    whole = trainer_of(run_config(rows=4), examples, tmp_path / "0").train()
    parts = trainer_of(run_config(rows=2, accumulation=2), examples, tmp_path / "1").train()
    assert [row.tokens for row in parts] == [row.tokens for row in whole]
    assert [row.loss for row in parts] == pytest.approx([row.loss for row in whole], rel=1e-3)


def test_only_responses_are_asked_for_and_each_token_by_the_cell_before_it(run_config: Make, examples: Path) -> None:
    manifest = open_examples(examples)
    packed = next(batches(examples, manifest, BatchPlan(length=192, rows=3))).packed
    sizes = torch.from_numpy(tokenizer_of(examples, manifest).token_sizes)
    batch = to_batch(packed, sizes, ALONE.device)
    for document, (row, number) in enumerate(zip(batch.rows.tolist(), batch.numbers.tolist(), strict=True)):
        cells = packed.documents[row] == number
        response = packed.tokens[row, cells & ~packed.is_prompt[row]].tolist()
        own = batch.owners == document
        assert batch.labels[own].tolist() == response
        assert batch.asked_cells[own][0] == batch.prompt_ends[document]
        opens = response.index(special_id(Special.SEARCH))
        assert batch.is_edit[own].tolist() == [False] * opens + [True] * (len(response) - opens)
        assert batch.label_bytes[own].sum() == len(
            tokenizer_of(examples, manifest).decode([t for t in response if t > 287])
        )
    assert len(batch.rows) == (packed.examples != PADDING).sum()


def test_every_part_of_the_loss_moves_the_part_of_the_model_that_it_is_for(run_config: Make, examples: Path) -> None:
    config = run_config()
    model = build(config.model)
    assert isinstance(model, HrmEdit)
    packed = next(batches(examples, open_examples(examples), BatchPlan(length=192, rows=2))).packed
    batch = to_batch(packed, torch.ones(600), ALONE.device)
    loss_of(measure(model, batch, model(batch.cells)), totals_of(batch), config.train.weights).backward()
    assert {name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()} == set()
    plan = measure(model, batch, model(batch.cells)).plan_nats
    model.zero_grad()
    plan.backward()
    assert model.high.layers[0].mlp.down.weight.grad.any()
    assert model.pointer_key.weight.grad is None
