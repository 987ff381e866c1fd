"""The card says what is in the dataset, and the hub's own libraries read it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.card import make_card
from flows.cli import main
from flows.release import ReleaseSettings, make_release
from schemas.errors import MissingExtra
from schemas.tasks import TaskInstance
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest, write_manifest
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
    said = r"Copyright (c) 2013, Jane \| Doe &lt;jane@doe.example>; Portions (c) 2020 Others"
    assert f"| {one.repo} | {one.url} | MIT | {said} |" in text
    assert f"| {others[0].repo} | {others[0].url} | MIT | none recorded |" in text


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
