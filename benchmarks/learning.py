"""What models of every kind learn from the same tasks with the same compute, on repositories that they have not seen.

    python -m benchmarks.learning DATASET --folder build/learning --json

DATASET is one that `gymforge refresh examples/repositories.toml` has made (`benchmarks/scheduled.py` does it through
the scheduled deployment); it is ingested with the local sandbox where the folder is not there. Repositories are dealt
to training and test before anything is trained, by the hashes of their names. A tokenizer is trained on the tasks of
the training repositories, their examples are written once, and each kind of model is trained on them with each seed:
`--preset tiny`, as many steps as make the same number of layers passed, forward and back. Then every model is asked
about the same tasks of the test repositories (`gymforge evaluate-model`). Attempts that are judged by the tasks' tests
cost most by far: the models of the first seed make one at each of `--tried` tasks.

What is done stays done: the same command goes on. `--json`'s last line has all figures; `learning.md` and
`learning.png` in the folder are for the docs.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks.anchors.results import machine
from flows.settings import default_cache_dir
from flows.task_trees import TaskTrees
from hrm.data.shards import TrainingTask, open_examples, write_examples
from hrm.evaluation.estimates import Difference, Estimate, difference, estimate
from hrm.evaluation.scores import Score
from hrm.evaluation.summary import METRICS
from hrm.models.presets import PRESETS, Variant, layer_passes, variant
from hrm.tokenizer.build import texts_of
from hrm.tokenizer.encoding import Tokenizer
from hrm.tokenizer.merges import learn
from hrm.train.config import preset
from task_registry import Registry
from task_registry.curriculum import stage_of
from task_registry.splits import Splits

ROOT = Path(__file__).parents[1]
GYMFORGE = (sys.executable, "-c", "from flows.entry import main; main()")
# By their names: none of the list is another's fork, and whoever reads the names can deal them again.
SPLITS = Splits(shares={"train": 0.75, "test": 0.25}, by_history=False)
SHOWN = ("bits_per_byte", "line@1", "line@3", "exact", "pass@1")
_TO_CLOSE = 9
"""Of the tokens of a response, the last ones, in which the grammar brings it to its end."""
GUESSES = {"any shown line": "any_line", "any shown line that a small bug could be on": "any_site"}


class Run(NamedTuple):
    """One model to train."""

    kind: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind.value}-{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="runs and results; a second call goes on")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, help="of hrm-edit; others make as many as cost the same (default: preset)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sample", type=int, help="tasks that every model is asked about (default: all)")
    parser.add_argument("--tried", type=int, default=100, help="tasks at which the first seed's models make an attempt")
    parser.add_argument("--max-tokens", type=int, default=192, help="of a response; nine of ten have no more")
    parser.add_argument("--jobs", type=int, default=1, help="models at a time, each on its share of the cores")
    parser.add_argument("--source", action="append", default=[], help="as `gymforge train` takes it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.dataset.exists():
        refresh = ["refresh", str(ROOT / "examples" / "repositories.toml"), "--out", str(options.dataset)]
        subprocess.run([*GYMFORGE, *refresh, "--sandbox", "local"], check=True)
    registry = Registry.open(options.dataset, splits=SPLITS)
    examples = prepare(options, registry)
    runs = [Run(kind, seed) for seed in range(options.seeds) for kind in Variant]
    with ThreadPoolExecutor(options.jobs) as pool:
        seconds = dict(pool.map(lambda run: (run.name, train(options, examples, run)), runs))
    scores = evaluate(options, registry, runs, "evaluation", sample=options.sample, attempts=0)
    first = [run for run in runs if not run.seed]
    tried = evaluate(options, registry, first, "attempts", sample=options.tried, attempts=1) if options.tried else {}
    found = figures(options, registry, runs, scores, tried, seconds)
    (options.folder / "learning.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.folder / "learning.md").write_text(table_of(found))
    draw(found, options.folder / "learning.png")
    print(json.dumps(found) if options.json else table_of(found))


def prepare(options: argparse.Namespace, registry: Registry) -> Path:
    """The examples of the training repositories, by a tokenizer that has seen no others."""
    folder: Path = options.folder / "examples"
    config = preset(options.preset)
    asked = {"tasks": ", ".join(sorted(registry.versions.values()))}
    if (folder / "examples.json").is_file():
        found = open_examples(folder)
        if found.layout != config.layout or found.asked.get("tasks", asked["tasks"]) != asked["tasks"]:
            raise SystemExit(f"{folder} holds examples of another preset or dataset: name another --folder")
        return folder
    tokenizer = Tokenizer(learn(list(texts_of(registry.tasks("split = 'train'"))), vocab_size=config.model.vocab_size))
    with TaskTrees(sources=options.source, cache_dir=default_cache_dir()) as trees:
        tasks = (TrainingTask(task, stage=stage_of(task.complexity)) for task in registry.tasks("split = 'train'"))
        write_examples(tasks, folder, files=trees.files, tokenizer=tokenizer, layout=config.layout, asked=asked)
    return folder


def train(options: argparse.Namespace, examples: Path, run: Run) -> float:
    """Seconds that the steps of a run took, those before a resume included."""
    out: Path = options.folder / "runs" / run.name
    out.mkdir(parents=True, exist_ok=True)
    config = out / "seed.toml"
    config.write_text(f"[train]\nseed = {run.seed}\n")
    given = ["train", str(examples), "--preset", options.preset, "--model", run.kind.value, "--config", str(config)]
    given += ["--out", str(out), "--max-steps", str(steps_of(options, run.kind)), "--resume", "--json"]
    done = out / "outcome.json"
    if not done.is_file():
        print(f"training {run.name}", file=sys.stderr)
        done.write_text(gymforge(options, given))
    import pyarrow.parquet as pq

    return float(sum(pq.read_table(out / "metrics.parquet", columns=["seconds"])["seconds"].to_pylist()))


def gymforge(options: argparse.Namespace, given: Sequence[str]) -> str:
    """What a command prints, on one job's share of the cores."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // options.jobs))
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    return subprocess.run([*GYMFORGE, *given], check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def steps_of(options: argparse.Namespace, kind: Variant) -> int:
    """So many that as many layers are passed as by the steps of `hrm-edit`."""
    config = preset(options.preset)
    steps = options.steps or config.train.steps
    own = variant(PRESETS[options.preset], kind)
    ratio = layer_passes(PRESETS[options.preset]) * PRESETS[options.preset].halt.max_segments
    return round(steps * ratio / (layer_passes(own) * own.halt.max_segments))


def evaluate(
    options: argparse.Namespace,
    registry: Registry,
    runs: Sequence[Run],
    folder: str,
    *,
    sample: int | None,
    attempts: int,
) -> dict[str, list[Score]]:
    """The runs' scores on the same tasks."""
    repos = sorted({one.repo for one in registry.summaries("split = 'test'")})
    where = f"repo IN ({', '.join(repr(repo) for repo in repos)})"

    def of(run: Run) -> tuple[str, list[Score]]:
        out = options.folder / f"{folder}-{sample or 'all'}" / run.name
        given = ["evaluate-model", str(options.folder / "runs" / run.name), str(options.dataset), "--where", where]
        given += ["--max-tokens", str(options.max_tokens), "--attempts", str(attempts)]
        given += [] if sample is None else ["--sample", str(sample)]
        given += [word for source in options.source for word in ("--source", source)]
        print(f"asking {run.name}", file=sys.stderr)
        gymforge(options, [*given, "--out", str(out), "--json"])
        asked = json.loads((out / "evaluation.json").read_text())["tasks"]
        found = list(_scores(out / "scores" / f"{run.name}.jsonl"))
        assert len(found) == asked, "scores of other tasks lie in the folder"
        return run.name, found

    with ThreadPoolExecutor(options.jobs) as pool:
        scores = dict(pool.map(of, runs))
    asked = [sorted(score.instance_id for score in one) for one in scores.values()]
    assert all(one == asked[0] for one in asked)
    return scores


def _scores(path: Path) -> Iterator[Score]:
    for line in path.read_text().splitlines()[1:]:
        yield Score.model_validate_json(line)


def figures(
    options: argparse.Namespace,
    registry: Registry,
    runs: Sequence[Run],
    scores: Mapping[str, Sequence[Score]],
    tried: Mapping[str, Sequence[Score]],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """Each kind's mean over seeds by task, with an interval over tasks; what the first kind has over the others."""
    of = {metric: tried if metric == "pass@1" else scores for metric in _metrics(options)}
    kinds = {
        kind.value: {
            metric: _by_task([found[run.name] for run in runs if run.kind is kind and run.name in found], metric)
            for metric, found in of.items()
        }
        for kind in Variant
    }
    manifest = open_examples(options.folder / "examples")
    first = kinds[Variant.ITSELF.value]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "dataset": ", ".join(sorted(version[:16] for version in registry.versions.values())),
        "preset": options.preset,
        "seeds": options.seeds,
        "jobs": options.jobs,
        "examples": manifest.examples,
        "train_repositories": sorted({one.repo for one in registry.summaries("split = 'train'")}),
        "test_repositories": sorted({one.repo for one in next(iter(scores.values()))}),
        "test_tasks": len(next(iter(scores.values()))),
        "tasks_where_no_small_bug_could_be": sum(not one.any_site_at_1 for one in next(iter(scores.values()))),
        "tried_tasks": len(next(iter(tried.values()), [])),
        "max_tokens": options.max_tokens,
        "kinds": {
            kind: {
                "steps": steps_of(options, Variant(kind)),
                "responses_that_used_up_their_tokens": [
                    round(fmean(one.tokens >= options.max_tokens - _TO_CLOSE for one in scores[run.name]), 2)
                    for run in runs
                    if run.kind.value == kind
                ],
                "minutes": [round(seconds[run.name] / 60, 1) for run in runs if run.kind.value == kind],
                "metrics": {metric: _told(estimate(list(by_task.values()))) for metric, by_task in values.items()},
                "by_seed": {
                    metric: [
                        round(sum(one.values()) / len(one), 4)
                        for one in (
                            _by_task([of[metric][run.name]], metric)
                            for run in runs
                            if run.kind.value == kind and run.name in of[metric]
                        )
                    ]
                    for metric in values
                },
                "over_any_site@1": _told(difference(values["line@1"], values["any_site@1"])),
                "hrm_edit_over_it": {
                    metric: _told(difference(first[metric], values[metric])) for metric in values if kind != "hrm-edit"
                },
            }
            for kind, values in kinds.items()
        },
    }


def _metrics(options: argparse.Namespace) -> list[str]:
    tried = ["pass@1"] if options.tried else []
    return [*(one for one in SHOWN if one != "pass@1"), *tried, "seconds", *_guesses()]


def _guesses() -> list[str]:
    return [f"{guess}@{k}" for guess in GUESSES.values() for k in (1, 3)]


def _by_task(of_seeds: Sequence[Sequence[Score]], metric: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for scores in of_seeds:
        for one in scores:
            value = one.solved / one.attempts if metric == "pass@1" else float(METRICS[metric](one))
            values.setdefault(one.instance_id, []).append(value)
    return {name: sum(several) / len(several) for name, several in values.items()}


def _told(value: Estimate | Difference) -> dict[str, float]:
    return {name: round(number, 4) for name, number in value._asdict().items()}


def table_of(found: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    shown = [one for one in SHOWN if one in found["kinds"]["hrm-edit"]["metrics"]]
    lines = [f"| | steps | minutes | {' | '.join(shown)} | s an edit |", f"|{' --- |' * (len(shown) + 4)}"]
    for kind, values in found["kinds"].items():
        cells = [
            f"{values['metrics'][one]['mean']:.3f} ({values['metrics'][one]['low']:.3f} to "
            f"{values['metrics'][one]['high']:.3f})"
            for one in shown
        ]
        minutes = f"{min(values['minutes'])} to {max(values['minutes'])}"
        seconds = f"{values['metrics']['seconds']['mean']:.2f}"
        lines.append(f"| `{kind}` | {values['steps']:,} | {minutes} | {' | '.join(cells)} | {seconds} |")
    guessed = found["kinds"]["hrm-edit"]["metrics"]
    for text, guess in GUESSES.items():
        cells = [f"{guessed[one.replace('line', guess)]['mean']:.3f}" if "line" in one else "" for one in shown]
        lines.append(f"| {text} | | | {' | '.join(cells)} | |")
    lines += ["", f"| `hrm-edit` over | {' | '.join(shown)} |", f"|{' --- |' * (len(shown) + 1)}"]
    for kind, values in found["kinds"].items():
        if kind != "hrm-edit":
            cells = [_difference(values["hrm_edit_over_it"][one]) for one in shown]
            lines.append(f"| `{kind}` | {' | '.join(cells)} |")
    lines += ["", "| over any line that a small bug could be on | line@1 |", "| --- | --- |"]
    lines += [f"| `{kind}` | {_difference(values['over_any_site@1'])} |" for kind, values in found["kinds"].items()]
    return "\n".join(lines) + "\n"


def _difference(value: Mapping[str, float]) -> str:
    return f"{value['mean']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f}, p {value['p']:.2g})"


def draw(found: Mapping[str, Any], path: Path) -> None:
    """A bar a kind with its interval, a dot a seed, and lines for the guesses."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [one for one in SHOWN if one in found["kinds"]["hrm-edit"]["metrics"]]
    figure = Figure(figsize=(3 * len(shown), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, metric in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
        for number, (kind, values) in enumerate(found["kinds"].items()):
            value = values["metrics"][metric]
            spread = [[value["mean"] - value["low"]], [value["high"] - value["mean"]]]
            axes.bar(number, value["mean"], yerr=spread, capsize=4, label=kind, color=f"C{number}", alpha=0.8)
            seeds = values["by_seed"][metric]
            axes.plot([number] * len(seeds), seeds, ".", color="black", markersize=4)
        for number, (text, guess) in enumerate(GUESSES.items()):
            if metric.startswith("line"):
                height = found["kinds"]["hrm-edit"]["metrics"][metric.replace("line", guess)]["mean"]
                axes.axhline(height, linestyle=("--", ":")[number], color="0.3", label=text)
        axes.set_title(f"{metric} (lower is better)" if metric == "bits_per_byte" else metric)
        axes.set_xticks([])
        axes.set_ylim(0, max(axes.get_ylim()[1], 0.1))
    handles = {label: one for axes in figure.axes for one, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=80, metadata={"Software": ""})


if __name__ == "__main__":
    main()
