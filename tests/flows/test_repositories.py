"""Lists of repositories: what they may look like, and what is said of those that look otherwise."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.repositories import Repository, read_repositories
from flows.settings import IngestSettings
from schemas.errors import InvalidInput
from schemas.tasks import TaskInstance


def test_toml_list_has_defaults_and_paths_beside_it(tmp_path: Path) -> None:
    (tmp_path / "lists" / "own").mkdir(parents=True)
    (tmp_path / "lists" / "all.toml").write_text(
        '[defaults]\nmax_tasks = 5\n[[repository]]\nsource = "https://example.org/a/b"\n'
        '[[repository]]\nsource = "own"\nmax_tasks = 7\nref = "v1"\nstrategies = ["op_change"]\nconfig = "own.toml"\n'
    )
    assert read_repositories(str(tmp_path / "lists" / "all.toml")) == (
        Repository(source="https://example.org/a/b", max_tasks=5),
        Repository(
            source=str(tmp_path / "lists" / "own"),
            max_tasks=7,
            ref="v1",
            strategies=("op_change",),
            config=tmp_path / "lists" / "own.toml",
        ),
    )


def test_csv_list_leaves_open_what_is_empty(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(
        "source,ref,strategies,max_tasks\nhttps://example.org/a/b,,,\nhttps://example.org/c/d,main,op_change op_swap,3\n"
    )
    assert read_repositories(str(tmp_path / "all.csv")) == (
        Repository(source="https://example.org/a/b"),
        Repository(source="https://example.org/c/d", ref="main", strategies=("op_change", "op_swap"), max_tasks=3),
    )


def test_a_password_in_an_address_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("source\nhttps://me:s3cr3t@example.org/a/b\n")
    (one,) = read_repositories(str(tmp_path / "all.csv"))
    assert one.source == "https://example.org/a/b"
    assert IngestSettings(source="https://me:s3cr3t@example.org/a/b").source == "https://example.org/a/b"


def test_a_repository_that_is_named_twice_is_ingested_once(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("source\nhttps://example.org/a/b\nhttps://example.org/a/b\n")
    assert len(read_repositories(str(tmp_path / "all.csv"))) == 1


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("l.toml", "[[repository]]\nsource = 3\n", r"l\.toml, repository 1, source: "),
        (
            "l.toml",
            "[[repository]]\nsource = 'a'\n[[repository]]\nsource = 'b'\nsorce = 'a'\n",
            r"repository 2 \(b\), sorce: ",
        ),
        ("l.toml", "[[repository]]\nsource = 'a'\nmax_tasks = 0\n", r"repository 1 \(a\), max_tasks: "),
        ("l.toml", "repository = ['a', 3]", r"repository 2, source: "),
        ("l.toml", "repositories = []", r"tables \[\[repository\]\]; it has 'repositories'"),
        ("l.toml", "", "names no repository"),
        ("l.toml", "[[", "cannot read"),
        ("l.toml", "\udcff", "cannot read"),
        ("l.csv", "name\na\n", "no column `source`"),
        ("l.csv", "source\n", "names no repository"),
        ("l.csv", "source,extra\na,b\n", r"l\.csv, line 2 \(a\), extra: "),
        ("l.csv", "source\na,b\n", r"line 2 \(a\), None: "),
        ("l.csv", 'source\nb\n"a', r"cannot read .*l\.csv, line 3: "),
        ("l.csv", "source,max_tasks\n\nb,1\na,many\n", r"line 4 \(a\), max_tasks: "),
        ("l.csv", "source,strategies\na,b,c\n", r"line 2 \(a\), None: "),
    ],
)
def test_a_list_that_is_wrong_is_one_clear_error(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidInput, match=rf"(?s){told}.*docs/schedules\.md"):
        read_repositories(str(tmp_path / name))


def test_missing_list_says_what_could_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*none\.toml"):
        read_repositories(str(tmp_path / "none.toml"))


@pytest.fixture
def dataset(tmp_path: Path, make_task: Callable[..., TaskInstance], write_dataset) -> Path:
    write_dataset(tmp_path / "tasks", make_task())
    return tmp_path / "tasks"


def test_a_dataset_names_the_repositories_of_its_tasks(dataset: Path) -> None:
    assert read_repositories(str(dataset)) == (Repository(source="local/x"),)
    assert read_repositories(str(dataset), where="complexity.score > 0.3") == (Repository(source="local/x"),)


def test_a_dataset_tells_what_each_repository_was_ingested_with(dataset: Path) -> None:
    manifest = json.loads((dataset / "manifest.json").read_text())
    (part,) = manifest["ingestions"]
    part["settings"] = {"max_tasks": 50, "strategies": ["op_change", "op_swap"], "config": ""}
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    (found,) = read_repositories(str(dataset))
    assert found == Repository(source="local/x", max_tasks=50, strategies=("op_change", "op_swap"))
    more = part | {"commit": "f" * 40, "settings": part["settings"] | {"max_tasks": None}}
    (dataset / "manifest.json").write_text(json.dumps(manifest | {"ingestions": [part, more]}))
    (found,) = read_repositories(str(dataset))
    assert found.max_tasks is None
    part["settings"]["config"] = "boltons.toml"
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match=r"ingested with a file boltons\.toml"):
        read_repositories(str(dataset))


def test_a_query_that_nothing_meets_names_no_repository(dataset: Path) -> None:
    with pytest.raises(InvalidInput, match="names no repository"):
        read_repositories(str(dataset), where="complexity.score > 0.9")


def test_a_condition_needs_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("source\na\n")
    with pytest.raises(InvalidInput, match="--where chooses among the repositories of a dataset"):
        read_repositories(str(tmp_path / "l.csv"), where="1 = 1")
