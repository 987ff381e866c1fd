"""An evaluation as files: all numbers as JSON, a table for people, a picture."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrm.evaluation.contest import Evaluated
from hrm.evaluation.estimates import Difference, Estimate
from hrm.evaluation.summary import beside_chance, compare, sliced, summarize
from storage.durable import write_whole

JSON, TABLE, PICTURE = "evaluation.json", "evaluation.md", "evaluation.png"
_HIGHER_IS_BETTER = {"line@1": True, "line@3": True, "exact": True, "bits_per_byte": False}
"""What a table compares, tests that pass beside it, and which way."""
_GUESSES = {"any shown line": "any_line", "any shown line that a small bug could be on": "any_site"}
_MIB = 2**20


def write_results(
    folder: Path, evaluated: Sequence[Evaluated], facts: Mapping[str, object], *, seed: int = 0
) -> dict[str, Any]:
    """Write the files of an evaluation, whose models were asked about the same tasks; gives what the JSON holds.

    `facts`: what was done, as it is to be told. The first model is the one that others are compared with.

    Raises:
        ValueError: there are no scores, or not of the same tasks.
        StorageFailed: the file system refused.
    """
    first = evaluated[0]
    found = {
        **facts,
        "tasks": len(first.scores),
        "repositories": sorted({one.repo for one in first.scores}),
        "models": [
            one.model_dump(mode="json", exclude={"scores"})
            | {"metrics": _told(summarize(one.scores, seed=seed))}
            | {"beside_chance": _told(beside_chance(one.scores, seed=seed)), "slices": _slices(one, seed=seed)}
            for one in evaluated
        ],
        "differences": {other.name: _told(compare(first.scores, other.scores, seed=seed)) for other in evaluated[1:]},
    }
    write_whole(folder / JSON, (json.dumps(found, indent=1) + "\n").encode())
    write_whole(folder / TABLE, table_of(found).encode())
    write_whole(folder / PICTURE, _picture(found))
    return found


def table_of(found: Mapping[str, Any]) -> str:
    """The tables of an evaluation, as Markdown."""
    models = found["models"]
    tried = [name for name in models[0]["metrics"] if name.startswith("pass@")]
    rates = [*_HIGHER_IS_BETTER, "applies", *tried]
    lines = [f"{found['tasks']} tasks of {', '.join(found['repositories'])}.", ""]
    lines += _table(
        ["", *rates],
        [
            *([one["name"], *(_interval(one["metrics"][name]) for name in rates)] for one in models),
            *([guess, *guessed] for guess, guessed in _guessed(models[0]["metrics"], rates)),
        ],
    )
    lines += _table(
        ["", "model", "parameters", "steps", "segments", "s an edit", "tokens/s", "MiB"],
        [
            [
                one["name"],
                one["model"] + (", int8" if one["int8"] else ""),
                f"{one['parameters']:,}",
                f"{one['step']:,}",
                *(f"{one['metrics'][name]['mean']:.3g}" for name in ("segments", "seconds", "tokens_per_s")),
                f"{one['peak_memory_bytes'] / _MIB:,.0f}",
            ]
            for one in models
        ],
    )
    others = [(f"against {name}", values) for name, values in found["differences"].items()]
    compared = [*_HIGHER_IS_BETTER, *tried]
    if others:
        lines += [f"How much higher {models[0]['name']} is, task by task, with p:", ""]
        rows = [[name, *(_interval(values.get(one, {})) for one in compared)] for name, values in others]
        lines += _table(["", *compared], rows)
    lines += ["How much more often the line is found than by a guess:", ""]
    chances = list(models[0]["beside_chance"])
    rows = [[one["name"], *(_interval(one["beside_chance"][name]) for name in chances)] for one in models]
    lines += _table(["", *chances], rows)
    for name, groups in models[0]["slices"].items():
        rows = []
        for group, first in groups.items():
            tasks = str(first["line@1"]["tasks"])
            rows += [
                [group, one["name"], tasks, *(_interval(one["slices"][name][group][rate]) for rate in rates)]
                for one in models
            ]
            rows += [[group, guess, tasks, *guessed] for guess, guessed in _guessed(first, rates)]
        lines += _table([f"by {name}", "", "tasks", *rates], rows)
    return "\n".join(lines)


def _guessed(metrics: Mapping[str, Any], rates: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each guess and its cells, of what every model's scores hold alike."""
    return [
        (guess, [_interval(metrics.get(rate.replace("line", key), {}) if "line" in rate else {}) for rate in rates])
        for guess, key in _GUESSES.items()
    ]


def _slices(one: Evaluated, *, seed: int) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    return {
        name: {group: _told(metrics) for group, metrics in groups.items()}
        for name, groups in sliced(one.scores, seed=seed).items()
    }


def _told(values: Mapping[str, Estimate] | Mapping[str, Difference]) -> dict[str, dict[str, float]]:
    return {name: one._asdict() for name, one in values.items()}


def _interval(value: Mapping[str, float]) -> str:
    if not value:
        return ""
    chance = f", p {value['p']:.2g}" if "p" in value else ""
    return f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f}{chance})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [list(head), ["---"] * len(head), *rows]
    return [f"| {' | '.join(one.replace('|', '&#124;') for one in row)} |" for row in cells] + [""]


def _picture(found: Mapping[str, Any]) -> bytes:
    """A bar a model, with its interval, and lines for the guesses."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = found["models"]
    tried = [name for name in models[0]["metrics"] if name.startswith("pass@")][:1]
    panels = [*_HIGHER_IS_BETTER, *tried]
    figure = Figure(figsize=(3.2 * len(panels), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        for number, one in enumerate(models):
            value = one["metrics"][name]
            spread = [[value["mean"] - value["low"]], [value["high"] - value["mean"]]]
            axes.bar(number, value["mean"], yerr=spread, capsize=4, label=one["name"], color=f"C{number}")
        for number, (guess, key) in enumerate(_GUESSES.items()):
            chance = models[0]["metrics"].get(name.replace("line", key)) if name.startswith("line") else None
            if chance:
                axes.axhline(chance["mean"], linestyle=("--", ":")[number], color="0.3", label=guess)
        axes.set_title(name if _HIGHER_IS_BETTER.get(name, True) else f"{name} (lower is better)")
        axes.set_xticks([])
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, metadata={"Software": ""})
    return buffer.getvalue()
