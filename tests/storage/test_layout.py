"""Names in a dataset folder."""

import re
from pathlib import Path

import pytest
from datasets.data_files import NON_WORDS_CHARS, SPLIT_KEYWORDS
from hypothesis import given
from hypothesis import strategies as st

from storage.layout import DatasetLayout, ingestion_slug

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LAYOUT = DatasetLayout(Path("d"))


def test_task_shard_is_named_after_repository_and_commit() -> None:
    assert LAYOUT.task_shard("acme/tiny.stats", COMMIT, 3) == Path(
        "d/data/train-acme__tiny.stats.01234567-00003.parquet"
    )


def test_rejected_shard_lies_in_its_own_folder() -> None:
    assert LAYOUT.relative(LAYOUT.rejected_shard("a/b", COMMIT, 0)) == "rejected/rejected-a__b.01234567-00000.parquet"


@pytest.mark.parametrize("repo", ["pytest-dev/pytest", "acme/test", "val/x-eval", "a/dev.test", "x/Train-2"])
def test_no_word_of_a_repository_names_a_split(repo: str) -> None:
    words = re.split(f"[{re.escape(NON_WORDS_CHARS)}]", ingestion_slug(repo, COMMIT).lower())
    assert not {keyword for keywords in SPLIT_KEYWORDS.values() for keyword in keywords} & set(words)


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_any_name_gives_a_portable_file_name(name: str) -> None:
    path = LAYOUT.task_shard(f"local/{name}", COMMIT, 0)
    assert path.parent == LAYOUT.data
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,240}\.parquet", path.name)


def test_names_that_differ_in_unportable_characters_give_different_files() -> None:
    assert ingestion_slug("local/a b", COMMIT) != ingestion_slug("local/a!b", COMMIT)
