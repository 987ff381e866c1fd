"""The dataset card: README.md with the metadata that the hub reads, and figures, from facts that are handed in.

Imports huggingface_hub and matplotlib where they are used.
"""

import re
import shlex
from collections.abc import Mapping, Sequence

from schemas.errors import MissingExtra
from schemas.manifest import GateRules, Ingestion, Release, ShardManifest
from schemas.tasks import SCHEMA_VERSION
from storage.card_facts import CardFacts, Example
from storage.card_metadata import metadata
from storage.durable import write_whole
from storage.layout import DatasetLayout
from storage.markdown import Markdown, fenced, plain, table

_SHOWN = {"complexity": "complexity, from", "strategies": "strategy", "domains": "domain", "stages": "stage"}
_MOST_ROWS = 40
_MOST_LINES = 40
_BINS = 20
_SOME_REPO = 'load_dataset("OWNER/NAME"'
"""Stands in a card until the dataset has an id on the hub."""
_BLOCK_OF_CODE = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!\\)(`+)[^`\n]+\1")
_FIGURE = re.compile(r"""(?:(?<!\\)\](?:\(|:\s*)<?|\ssrc=["']?)(?:\./)?figures/([\w.-]+\.\w+)""")
_USE = """\
Columns have SWE-bench's names where it has them: `problem_statement`, `patch` (the fix), `FAIL_TO_PASS`,
`PASS_TO_PASS`, `base_commit`. `bug_patch` makes the task's tree from that commit."""
_MADE = """\
## How it was made

Every suite ran three times on the clean tree; a test that did not agree with itself is in no task. A bug counts where
the same tests fail in two runs. For each repository, `manifest.json` has the commit, the environment with all versions,
how its suite was run, what was rejected and why, and the hash of every file. The same commit, environment and settings
give the same bytes."""
_LIMITS = """\
## Known limits

Bugs are made by rules and lie in one file; real ones are more varied. Domain labels and complexity are measured, not
judged by people. A suite that tests little finds few bugs, so well tested code is over-represented. Tasks run their
repository's code: run it in a sandbox."""


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
    body = "\n\n".join(part for part in _parts(manifest, facts, figures) if part)
    return f"---\n{metadata(manifest, facts).to_yaml()}\n---\n\n{body}\n"


def with_id(card: str, repo_id: str) -> str:
    """A card that says what the dataset is called on the hub, where it did not know yet."""
    return card.replace(_SOME_REPO, f'load_dataset("{repo_id}"', 1)


def shown_figures(card: str) -> list[str]:
    """Names of the files in `figures/` that a card shows, sorted; what is written as code shows nothing."""
    return sorted(set(_FIGURE.findall(_CODE.sub("", _BLOCK_OF_CODE.sub("", card)))))


def _use(facts: CardFacts) -> str:
    """How it is loaded: its `train`, or the largest split where it has none."""
    split = max(facts.tasks, key=lambda name: (name == "train", facts.tasks[name], name), default="")
    which = f', split="{split}"' if split else ""
    code = f"import datasets\n\ntasks = datasets.{_SOME_REPO}{which})  # the id of this dataset"
    return f"## Use\n\n{fenced(code, 'python')}\n\n{_USE}"


def _parts(manifest: ShardManifest, facts: CardFacts, figures: Sequence[str]) -> list[str]:
    total, release = sum(facts.tasks.values()), manifest.release
    return [
        f"# {plain(facts.name)}",
        f"{total:,} software-engineering tasks from {len(facts.repos)} "
        f"{'repository' if len(facts.repos) == 1 else 'repositories'}, made by "
        f"gymforge {plain(manifest.gymforge_version)}. Each is a bug in a real "
        "repository, an issue text, the fix as patch, plan and edits, and the tests that fail with the bug and pass "
        "without it, proven by running them. Schema version " + SCHEMA_VERSION + ".",
        _table("Split", ("split", "tasks"), sorted(facts.tasks.items())) if release else "",
        _use(facts),
        _example(facts.example),
        "## Figures\n\n" + "\n".join(f"![{name.replace('_', ' ')}](figures/{name}.png)" for name in figures),
        _table("Languages", ("language", "tasks"), _by_count(facts.languages)),
        _table("Bugs", ("strategy", "tasks"), _by_count(facts.strategies)),
        _table("Domains", ("label", "tasks that have it"), _by_count(facts.domains)),
        _table("Stages of a curriculum", ("stage", "tasks"), _by_count(facts.stages)),
        _table("Styles of issue texts", ("style", "tasks"), _by_count(facts.issue_styles)),
        _yields(manifest),
        _gates(manifest),
        f"## Health\n\n{facts.health.told[0].upper()}{facts.health.told[1:]}. What is in quarantine is in no release.",
        _sources(manifest),
        _made(manifest),
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
    return f"## {title}\n\n{table(head, rows)}"


def _example(example: Example | None) -> str:
    if example is None:
        return ""
    text, patch = ("\n".join(one.splitlines()[:_MOST_LINES]) for one in (example.problem_statement, example.patch))
    return (
        f"## Example\n\n**Id**: {plain(example.instance_id)}\n\n{fenced(text, 'text')}\n\n**Plan**: "
        f"{plain(example.goal)}\n\n{fenced(patch, 'diff')}"
    )


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
    rows += [(gate, Markdown(f"**not checked**: {plain(why)}")) for gate, why in release.not_checked.items()]
    return f"{_table('Gates', ('gate', 'tasks that stay out'), rows)}{_rules(release.rules)}"


def _rules(rules: GateRules | None) -> str:
    if rules is None:
        return ""
    since = f" Commits from before {rules.since} are left out." if rules.since else ""
    lists = ", ".join(f"{plain(one.name)} (SHA-256 `{one.sha256}`)" for one in rules.benchmarks) or "none"
    near = (
        "nothing is left out for being nearly the same"
        if rules.near > 1
        else (
            f"two bugs or texts are nearly the same from a similarity of {rules.near} on (Jaccard, runs of "
            f"{rules.near_words} words)"
        )
    )
    licences = plain(", ".join(rules.licences))
    return (
        f"\n\nAllowed licences: {licences}. Benchmarks' lists: {lists}; a task overlaps with one "
        f"where {rules.overlap_share:.0%} of its runs of {rules.overlap_words} words are in it.{since} Of duplicates, "
        f"{near}."
    )


def _made(manifest: ShardManifest) -> str:
    """How it was made, with the commands that make it again."""
    own = [one for one in manifest.ingestions if one.tasks]
    commands = [_ingested(one) for one in own[:_MOST_ROWS]]
    if len(own) > _MOST_ROWS:
        commands.append(f"# and {len(own) - _MOST_ROWS} more; manifest.json has their settings")
    if manifest.release:
        commands.append(_released(manifest.release))
    return f"{_MADE}\n\n{fenced(chr(10).join(commands), 'console')}" if commands else _MADE


def _ingested(one: Ingestion) -> str:
    source = one.url if "://" in one.url or "@" in one.url else f"WHERE-{one.repo.rpartition('/')[2]}-LIES"
    words = ["gymforge", "ingest", source, "--ref", one.commit, "--sandbox", one.sandbox, "--seed", str(one.seed)]
    asked = one.settings
    if asked is None:
        return f"{shlex.join(words)}  # and what else was asked for was not recorded"
    words += ["--strategies", ",".join(asked.strategies)]
    if asked.max_tasks is not None:
        words += ["--max-tasks", str(asked.max_tasks)]
    if asked.config:
        words += ["--config", asked.config]
    return shlex.join(words)


def _released(release: Release) -> str:
    words = ["gymforge", "release", "DATASET...", "--out", "RELEASE", "--seed", str(release.splits_seed)]
    words += [word for split, share in sorted(release.shares.items()) for word in ("--split", f"{split}={share!r}")]
    words += [] if release.splits_by_history else ["--by-name"]
    rules = release.rules
    if rules is None:
        return f"{shlex.join(words)}  # and the rules of its gates were not recorded"
    words += ["--near", repr(rules.near)]
    words += ["--since", rules.since.isoformat()] if rules.since else []
    words += [word for one in rules.benchmarks for word in ("--benchmark", one.name)]
    words += [word for one in rules.licences for word in ("--licence", one)]
    return shlex.join(words)


def _sources(manifest: ShardManifest) -> str:
    rows = [
        (one.repo, one.url, one.license_spdx, "; ".join(one.attribution) or "none recorded")
        for one in manifest.ingestions
        if one.tasks
    ]
    head = ("repository", "source", "licence (SPDX)", "copyright, as its licence files state it")
    return _table("Licences and attribution", head, rows)
