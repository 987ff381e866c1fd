"""The dataset card: README.md with the metadata that the hub reads, and figures, from facts that are handed in.

Imports huggingface_hub and matplotlib where they are used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import MissingExtra
from schemas.health import HealthSummary
from schemas.manifest import ShardManifest
from schemas.model import Model
from schemas.tasks import SCHEMA_VERSION
from storage.durable import write_whole
from storage.layout import DatasetLayout

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_LARGEST = "10M<n<100M"
_OPEN_LICENCES = frozenset({"mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "cc0-1.0", "unlicense", "zlib"})
"""Ids of the hub's that are SPDX ids in lower case."""
_SHOWN = {"complexity": "complexity, from", "strategies": "strategy", "domains": "domain", "stages": "stage"}
_MOST_ROWS = 40
_BINS = 20


SOME_REPO = "OWNER/NAME"
"""Stands for the id of the dataset on the hub until it has one."""
_USE = """\
## Use

```python
import datasets

tasks = datasets.load_dataset("OWNER/NAME", split="train")  # the id of this dataset
```

Columns have SWE-bench's names where it has them: `problem_statement`, `patch` (the fix), `FAIL_TO_PASS`,
`PASS_TO_PASS`, `base_commit`. `bug_patch` makes the task's tree from that commit."""
_MADE = """\
## How it was made

Every suite ran three times on the clean tree; a test that did not agree with itself is in no task. A bug counts where
the same tests fail in two runs. For each repository, `manifest.json` has the commit, the environment with all versions,
how its suite was run, what was rejected and why, and the hash of every file. The same commit, settings and seed give
the same bytes: `gymforge ingest URL --ref COMMIT --seed SEED`."""
_LIMITS = """\
## Known limits

Bugs are made by rules and lie in one file; real ones are more varied. Domain labels and complexity are measured, not
judged by people. A suite that tests little finds few bugs, so well tested code is over-represented. Tasks run their
repository's code: run it in a sandbox."""


class Example(Model):
    """A task to show."""

    instance_id: str
    problem_statement: str
    goal: str
    patch: str


class CardFacts(Model):
    """What a card tells of a dataset beyond its manifest."""

    name: str
    """Of the dataset, for people."""
    tasks: Mapping[str, int]
    """Split to number of tasks."""
    repos: Mapping[str, int]
    """Repository to number of tasks."""
    languages: Mapping[str, int]
    strategies: Mapping[str, int]
    domains: Mapping[str, int]
    stages: Mapping[str, int]
    issue_styles: Mapping[str, int]
    complexity: tuple[float, ...]
    """`complexity.score` of every task, sorted."""
    tests_failing: tuple[int, ...]
    """Number of failing tests of every task, sorted."""
    health: HealthSummary
    example: Example | None


def write_card(layout: DatasetLayout, manifest: ShardManifest, facts: CardFacts) -> None:
    """Write README.md and the figures that it shows; the same facts give the same text.

    Raises:
        MissingExtra: huggingface_hub or matplotlib is not installed.
        StorageFailed: the file system refuses.
    """
    figures = {name: draw(name, counts) for name, counts in _figures(facts).items()}
    text = card_text(manifest, facts, figures=list(figures))
    layout.figures.mkdir(exist_ok=True)
    for name, image in figures.items():
        write_whole(layout.figure(name), image)
    write_whole(layout.card, text.encode())


def card_text(manifest: ShardManifest, facts: CardFacts, *, figures: Sequence[str]) -> str:
    """The card, YAML and all.

    Raises:
        MissingExtra: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import DatasetCardData
    except ImportError as error:
        raise MissingExtra(
            "huggingface_hub is not installed. Cards are made with it: pip install 'gymforge[release]'."
        ) from error
    licences = sorted({one.license_spdx for one in manifest.ingestions if one.tasks})
    total = sum(facts.tasks.values())
    data = DatasetCardData(
        pretty_name=facts.name,
        language=["en"],
        license=licences[0].lower() if len(licences) == 1 and licences[0].lower() in _OPEN_LICENCES else "other",
        license_name="per-repository" if len(licences) != 1 else None,
        size_categories=[next((name for limit, name in _SIZES if total < limit), _LARGEST)],
        task_categories=["text-generation"],
        tags=["code", "software-engineering", "swe-gym", "swe-bench", *sorted(facts.languages)],
        configs=[{"config_name": "default", "data_files": _data_files(manifest, facts)}],
        dataset_info={"features": _features(), "splits": _splits(manifest, facts)},
    )
    body = "\n\n".join(part for part in _parts(manifest, facts, figures) if part)
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n"


def _parts(manifest: ShardManifest, facts: CardFacts, figures: Sequence[str]) -> list[str]:
    total, release = sum(facts.tasks.values()), manifest.release
    return [
        f"# {facts.name}",
        f"{total:,} software-engineering tasks from {len(facts.repos)} "
        f"{'repository' if len(facts.repos) == 1 else 'repositories'}, made by "
        f"gymforge {manifest.gymforge_version}. Each is a bug in a real "
        "repository, an issue text, the fix as patch, plan and edits, and the tests that fail with the bug and pass "
        "without it, proven by running them. Schema version " + SCHEMA_VERSION + ".",
        _table("Split", ("split", "tasks"), sorted(facts.tasks.items())) if release else "",
        _USE,
        _example(facts.example),
        "## Figures\n\n" + "\n".join(f"![{name.replace('_', ' ')}](figures/{name}.png)" for name in figures),
        _table("Languages", ("language", "tasks"), _by_count(facts.languages)),
        _table("Bugs", ("strategy", "tasks"), _by_count(facts.strategies)),
        _table("Domains", ("label", "tasks that have it"), _by_count(facts.domains)),
        _table("Stages of a curriculum", ("stage", "tasks"), _by_count(facts.stages)),
        _table("Styles of issue texts", ("style", "tasks"), _by_count(facts.issue_styles)),
        _yields(manifest),
        _gates(manifest),
        f"## Health\n\n{facts.health.told[0].upper()}{facts.health.told[1:]}. What did not hold is in no release.",
        _sources(manifest),
        _MADE,
        _LIMITS,
    ]


def draw(name: str, counts: Mapping[str, float]) -> bytes:
    """A bar chart of numbers of tasks as PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            "matplotlib is not installed. Figures are drawn with it: pip install 'gymforge[release]'."
        ) from error
    import io

    figure = Figure(figsize=(7, 0.6 + 0.28 * max(1, len(counts))), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    names = list(counts)[::-1]
    bars = axes.barh(names, [counts[name] for name in names], color="#2f6f9f")
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.set_title(f"Tasks by {_SHOWN.get(name, name)}", loc="left", fontsize=10)
    axes.tick_params(labelsize=8, length=0)
    axes.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.margins(x=0.12)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


def _figures(facts: CardFacts) -> dict[str, Mapping[str, float]]:
    scores = {f"{number / _BINS:.2f}": 0 for number in range(_BINS)}
    for score in facts.complexity:
        scores[f"{min(_BINS - 1, int(score * _BINS)) / _BINS:.2f}"] += 1
    return {
        "complexity": scores,
        "strategies": dict(_by_count(facts.strategies)),
        "domains": dict(_by_count(facts.domains)),
        "stages": dict(_by_count(facts.stages)),
    }


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_MOST_ROWS]


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(one) for one in row)} |" for row in rows]
    return f"## {title}\n\n" + "\n".join(lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _example(example: Example | None) -> str:
    if example is None:
        return ""
    patch = "\n".join(example.patch.splitlines()[:40])
    return (
        f"## Example\n\n`{example.instance_id}`\n\n{_quoted(example.problem_statement)}\n\n**Plan**: "
        f"{_cell(example.goal)}\n\n{_fenced(patch, 'diff')}"
    )


def _quoted(text: str) -> str:
    """Text of a repository's, shown as text."""
    return _fenced("\n".join(text.splitlines()[:40]), "text")


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _yields(manifest: ShardManifest) -> str:
    rows = [
        (one.repo, one.commit[:12], one.tasks, sum(one.rejected.values()), len(one.quarantined))
        for one in manifest.ingestions
    ]
    head = ("repository", "commit", "tasks", "rejected candidates", "tests in quarantine")
    return _table("Repositories", head, rows)


def _gates(manifest: ShardManifest) -> str:
    release = manifest.release
    if release is None:
        return ""
    rows: list[tuple[str, str]] = []
    for gate, reasons in release.dropped.items():
        rows.append((gate, ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none stays out"))
    rows += [(gate, f"**not checked**: {why}") for gate, why in release.not_checked.items()]
    return _table("Gates", ("gate", "tasks that stay out"), rows)


def _sources(manifest: ShardManifest) -> str:
    rows = [
        (one.repo, one.url, one.license_spdx, "; ".join(one.attribution) or "none recorded")
        for one in manifest.ingestions
        if one.tasks
    ]
    head = ("repository", "source", "licence (SPDX)", "copyright, as its licence files state it")
    return _table("Licences and attribution", head, rows)


def _data_files(manifest: ShardManifest, facts: CardFacts) -> list[dict[str, str]]:
    if manifest.release is None:
        return [{"split": "train", "path": "data/*.parquet"}]
    return [{"split": split, "path": f"data/{split}-*.parquet"} for split, tasks in facts.tasks.items() if tasks]


def _splits(manifest: ShardManifest, facts: CardFacts) -> list[dict[str, Any]]:
    release = manifest.release
    if release is None:
        shards = manifest.task_shards()
        return [
            {
                "name": "train",
                "num_bytes": sum(one.size_bytes for one in shards),
                "num_examples": sum(facts.tasks.values()),
            }
        ]
    return [
        {
            "name": split,
            "num_bytes": sum(one.size_bytes for one in release.shards if one.split == split),
            "num_examples": tasks,
        }
        for split, tasks in facts.tasks.items()
        if tasks
    ]


def _features() -> list[dict[str, Any]]:
    """The columns in the hub's own terms."""
    from storage.arrow_schema import TASK_SCHEMA

    return [{"name": field.name} | _feature(field.type) for field in TASK_SCHEMA]


def _feature(kind: Any) -> dict[str, Any]:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return {"struct": [{"name": field.name} | _feature(field.type) for field in kind]}
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return {"list": inner.get("dtype") or inner["struct"]}
    names = {pa.float64(): "float64", pa.timestamp("us", tz="UTC"): "timestamp[us, tz=UTC]"}
    return {"dtype": names.get(kind, str(kind))}
