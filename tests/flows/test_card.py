"""The card says what is in the dataset, and the hub's own libraries read it."""

import hashlib
import shlex
import sys
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from markdown_it.token import Token

from flows.card import card_facts, make_card
from flows.cli import main
from flows.release import ReleaseSettings, make_release
from schemas.errors import MissingExtra
from schemas.manifest import BenchmarkList, IngestionSettings
from schemas.tasks import TaskInstance
from storage.card import card_text, shown_figures, with_id
from storage.card_facts import Example
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest, write_manifest
from storage.markdown import fenced, plain
from task_registry.gates import GateSettings
from task_registry.splits import Splits

MakeTask = Callable[..., TaskInstance]
WriteDataset = Callable[[Path, TaskInstance], None]
ODD_TEXT = "It says ```python\nprint('|')\n``` and <script>alert(1)</script> | twice"


@pytest.fixture
def release(tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset) -> Path:
    """A release of one task a split."""
    splits = Splits(shares={"train": 0.5, "test": 0.5})
    names = [f"acme/r{number}" for number in range(20)]
    chosen = [next(name for name in names if splits.split_of(name) == split) for split in ("train", "test")]
    for number, repo in enumerate(chosen):
        commit = f"{number:08x}" * 5
        name = f"{repo.replace('/', '__')}.{commit[:8]}.op_change__{number:010x}"
        fields = {"repo": repo, "base_commit": commit, "instance_id": name}
        texts = {"problem_statement": ODD_TEXT if repo == min(chosen) else "Another one."}
        write_dataset(tmp_path / f"d{number}", make_task(number, **fields, **texts))
    datasets = (str(tmp_path / "d0"), str(tmp_path / "d1"))
    make_release(ReleaseSettings(datasets=datasets, out=tmp_path / "release", splits=splits))
    return tmp_path / "release"


def test_the_hub_reads_what_the_card_says(release: Path) -> None:
    from datasets import Features
    from huggingface_hub import DatasetCard

    from storage.arrow_schema import TASK_SCHEMA

    card = DatasetCard(make_card(release, name="Small tasks").read_text())
    said = card.data.to_dict()
    assert said["pretty_name"] == "Small tasks"
    assert said["license"] == "mit"
    assert said["size_categories"] == ["n<1K"]
    assert {one["split"] for one in said["configs"][0]["data_files"]} == {"train", "test"}
    assert [(one["name"], one["num_examples"]) for one in said["dataset_info"]["splits"]] == [("test", 1), ("train", 1)]
    features = Features._from_yaml_list(said["dataset_info"]["features"])
    assert features.arrow_schema.remove_metadata().names == TASK_SCHEMA.names


def test_the_card_loads_a_split_that_is_there(tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset) -> None:
    write_dataset(tmp_path / "plain", make_task(1))
    assert 'load_dataset("OWNER/NAME", split="train")' in make_card(tmp_path / "plain").read_text()
    splits = Splits(shares={"easy": 1.0})
    make_release(ReleaseSettings(datasets=(str(tmp_path / "plain"),), out=tmp_path / "easy", splits=splits))
    assert 'load_dataset("OWNER/NAME", split="easy")' in make_card(tmp_path / "easy").read_text()
    make_release(
        ReleaseSettings(
            datasets=(str(tmp_path / "plain"),), out=tmp_path / "none", gates=GateSettings(licences=("ISC",))
        )
    )
    assert 'load_dataset("OWNER/NAME")' in make_card(tmp_path / "none").read_text()


def test_a_card_shows_the_figures_that_it_shows_and_no_others() -> None:
    card = (
        "![a](figures/a.png) [b](./figures/b.pdf) <img alt='' src='figures/c.svg'>\n\n[d]: figures/d.png\n\n"
        "Said: figures/e.png and `![f](figures/f.png)`\n\n````text\n```\n![g](figures/g.png)\n```\n````\n"
        "~~~\n![h](figures/h.png)\n~~~\n![i](figures/i.png)\n"
    )
    assert shown_figures(card) == ["a.png", "b.pdf", "c.svg", "d.png", "i.png"]
    escaped = f"{plain('![j](figures/j.png) <img src=figures/l.png>')}\n\n{fenced('![k](figures/k.png)', 'text')}"
    assert shown_figures(escaped) == []


def test_only_the_snippet_is_told_the_id_on_the_hub() -> None:
    card = 'datasets.load_dataset("OWNER/NAME", split="train")\n\nSome text says OWNER/NAME: load_dataset("OWNER/NAME"'
    assert with_id(card, "acme/tasks") == card.replace("OWNER/NAME", "acme/tasks", 1)


def test_the_card_has_the_commands_that_make_the_release_again(
    tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset
) -> None:
    write_dataset(tmp_path / "plain", make_task(1))
    layout = DatasetLayout(tmp_path / "plain")
    manifest = read_manifest(layout)
    (one,) = manifest.ingestions
    asked = IngestionSettings(max_tasks=7, strategies=("op_change", "remove_cond"), config="my profile.toml")
    told = one.model_copy(update={"settings": asked, "url": "https://example.org/acme/tinystats"})
    write_manifest(layout, manifest.model_copy(update={"ingestions": (told,)}))
    (tmp_path / "bench.csv").write_text("repo\nother/one\n")
    gates = GateSettings(
        licences=("MIT", "ISC"), benchmarks=(str(tmp_path / "bench.csv"),), since=date(2020, 2, 3), near=0.9
    )
    out = tmp_path / "release"
    splits = Splits(shares={"train": 0.75, "test": 0.25}, seed=4, by_history=False)
    made = make_release(ReleaseSettings(datasets=(str(layout.root),), out=out, gates=gates, splits=splits)).release
    assert made is not None
    assert made.rules is not None
    digest = hashlib.sha256((tmp_path / "bench.csv").read_bytes()).hexdigest()
    assert made.rules.benchmarks == (BenchmarkList(name="bench.csv", sha256=digest),)
    assert made.rules.licences == ("MIT", "ISC")
    assert (made.rules.since, made.rules.near, made.rules.overlap_share) == (date(2020, 2, 3), 0.9, 0.2)
    text = make_card(out).read_text()
    commands = [line for line in text.splitlines() if line.startswith("gymforge ")]
    ingested = (
        f"gymforge ingest https://example.org/acme/tinystats --ref {one.commit} --sandbox local --seed 0 "
        "--strategies op_change,remove_cond --max-tasks 7 --config 'my profile.toml'"
    )
    released = (
        "gymforge release DATASET... --out RELEASE --seed 4 --split test=0.25 --split train=0.75 --by-name --near 0.9 "
        "--since 2020-02-03 --benchmark bench.csv --licence MIT --licence ISC"
    )
    assert commands == [ingested, released]
    for command in commands:
        words = shlex.split(command)[1:]
        main.commands[words[0]].make_context(words[0], words[1:], resilient_parsing=False)
    assert f"bench.csv (SHA-256 `{digest}`); a task overlaps with one where 20%" in text
    assert "similarity of 0.9 on" in text


def test_datasets_loads_a_release_by_its_card(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make_card(release)
    import datasets

    loaded = datasets.load_dataset(str(release), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 1, "test": 1}
    assert loaded["train"][0]["FAIL_TO_PASS"]


def test_text_of_a_repository_is_shown_as_text(release: Path) -> None:
    text = make_card(release).read_text()
    before, found, _ = text.partition("<script>")
    assert found
    assert before.count("````") % 2 == 1, "it stands inside a fence"
    assert "| train | 1 |" in text
    assert "contamination | **not checked**: no benchmark's list was named" in text


def test_the_card_says_whose_the_code_is(release: Path) -> None:
    layout = DatasetLayout(release)
    manifest = read_manifest(layout)
    one, *others = manifest.ingestions
    lines = ("Copyright (c) 2013, Jane | Doe <jane@doe.example>", "Portions (c) 2020 Others")
    stated = one.model_copy(update={"attribution": lines})
    write_manifest(layout, manifest.model_copy(update={"ingestions": (stated, *others)}))
    text = make_card(release).read_text()
    said = r"Copyright (c) 2013, Jane \| Doe \<jane\@doe.example\>; Portions (c) 2020 Others"
    assert f"| {one.repo} | {one.url} | MIT | {said} |" in text
    assert f"| {others[0].repo} | {others[0].url} | MIT | none recorded |" in text


HOSTILE = (
    "![i](https://x.example/p.png) [l](https://x.example) <img src=x onerror=alert(1)> <!-- c --> **b** `c` ~~s~~ "
    "<https://x.example> https://x.example/a www.x.example | p || \\| q \\\\| $x^2$ &lt; \u202e\n# Heading\n\n---\n\n- item\n[r]: https://x.example"
)


def test_what_repositories_say_is_never_markdown(release: Path) -> None:
    layout = DatasetLayout(release)
    manifest = read_manifest(layout)
    assert manifest.release is not None
    assert manifest.release.rules is not None
    rules = manifest.release.rules.model_copy(update={"benchmarks": (BenchmarkList(name=HOSTILE, sha256="0" * 64),)})
    made = manifest.release.model_copy(update={"rules": rules, "not_checked": {HOSTILE: HOSTILE}})
    said = {"attribution": (HOSTILE,), "url": HOSTILE, "license_spdx": HOSTILE, "repo": HOSTILE}
    parts = tuple(one.model_copy(update=said) for one in manifest.ingestions)
    manifest = manifest.model_copy(update={"ingestions": parts, "release": made})
    example = Example(instance_id=HOSTILE, problem_statement=HOSTILE, goal=HOSTILE, patch=f"{HOSTILE}\n```\n{HOSTILE}")
    facts = card_facts(layout, name=HOSTILE).model_copy(update={"example": example})
    tokens = rendered(card_text(manifest, facts, figures=()))
    inline = [token for one in tokens for token in one.children or ()]
    kinds = {token.type for token in (*tokens, *inline)}
    assert not kinds & {
        "link_open",
        "image",
        "html_inline",
        "html_block",
        "s_open",
        "em_open",
        "hr",
        "bullet_list_open",
    }
    bold = [after.content for token, after in pairwise(inline) if token.type == "strong_open"]
    assert set(bold) <= {"Id", "Plan", "not checked"}
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    assert [one for one in headings if "Heading" in one] == headings[:1], "the name of the dataset alone"
    shown = " ".join(HOSTILE.replace("\u202e", "U+202E").split())
    texts = ["".join(token.content for token in one.children or ()) for one in tokens if one.type == "inline"]
    assert texts.count(shown) == 2 + 5 * len(parts), "name, gate; repository twice, address, licence, attribution"
    assert {f"Id: {shown}", f"Plan: {shown}", f"not checked: {shown}"} <= set(texts)
    assert kinds >= {"table_open", "fence"}


def rendered(card: str) -> list[Token]:
    """A card's body as CommonMark with tables and strikethrough reads it."""
    body = card.partition("\n---\n\n")[2]
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body)


def test_the_same_release_gives_the_same_card_and_stays_one(release: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {str(path.relative_to(release)): path.read_bytes() for path in release.rglob("*") if path.is_file()}

    make_card(release)
    first = contents()
    assert {"README.md", "figures/complexity.png", "figures/strategies.png"} <= first.keys()
    assert all(content.startswith(b"\x89PNG") for name, content in first.items() if name.endswith(".png"))
    make_card(release)
    assert contents() == first
    assert open_for_reading(release)


def test_a_dataset_that_is_no_release_has_a_card_too(
    tmp_path: Path, make_task: MakeTask, write_dataset: WriteDataset
) -> None:
    write_dataset(tmp_path / "plain", make_task(1))
    written = CliRunner().invoke(main, ["card", str(tmp_path / "plain")])
    assert written.output.strip() == str(tmp_path / "plain" / "README.md")
    assert "# plain\n" in (tmp_path / "plain" / "README.md").read_text()


@pytest.mark.parametrize("module", ["huggingface_hub", "matplotlib.figure"])
def test_what_is_not_installed_is_named(release: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'gymforge\[release\]'"):
        make_card(release)
    assert not (release / "README.md").exists()
