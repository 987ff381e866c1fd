"""Where everything lies in a dataset folder; the only place that knows a path inside one."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

SHARD_GLOB = "data/*.parquet"
"""Released shards, relative to the dataset folder, for readers that have nothing of ours."""
HEALTH = "health.jsonl"
"""The history of checks, relative to the dataset folder."""

_MAX_SLUG = 160
_NOT_PORTABLE = re.compile(r"[^A-Za-z0-9._-]")
# `datasets` guesses a split from these words in a file name, so pytest-dev/pytest would land in "validation".
_SPLIT_WORD = re.compile(
    r"(?<![^\-._ 0-9])(train|training|validation|valid|dev|val|test|testing|eval|evaluation)(?![^\-._ 0-9])",
    re.IGNORECASE,
)


class DatasetLayout(NamedTuple):
    """Paths of one dataset folder; makes none of them."""

    root: Path

    @property
    def manifest(self) -> Path:
        """Written last: what it does not name is not part of the dataset."""
        return self.root / "manifest.json"

    @property
    def lock(self) -> Path:
        """Held by the one process that changes the manifest, for as long as that takes."""
        return self.root / ".gymforge.lock"

    @property
    def data(self) -> Path:
        """Released task shards, immutable."""
        return self.root / "data"

    @property
    def rejected(self) -> Path:
        """Shards of what did not become a task, and why."""
        return self.root / "rejected"

    @property
    def ledger(self) -> Path:
        """The working store of runs that are under way; can be deleted when none is."""
        return self.root / "ledger" / "ledger.sqlite"

    @property
    def writers(self) -> Path:
        """A folder for every process that is at work on the dataset; the next one clears what killed ones left."""
        return self.root / "ledger" / "writers"

    def writer(self, name: str) -> Path:
        """The folder of the one process that does what `name` says; its checkout lies in it."""
        return self.writers / hashlib.sha256(name.encode()).hexdigest()[:16]

    def writer_lock(self, name: str) -> Path:
        """Held by that process as long as it lives."""
        return self.writer(name) / ".lock"

    @property
    def runs(self) -> Path:
        """Times and logs of runs, tied to a machine."""
        return self.root / "runs"

    def task_shard(self, repo: str, commit: str, index: int) -> Path:
        """One of a repository's task shards; the name depends on nothing else."""
        return self.data / f"train-{ingestion_slug(repo, commit)}-{index:05d}.parquet"

    def rejected_shard(self, repo: str, commit: str, index: int) -> Path:
        """One of a repository's shards of rejected candidates."""
        return self.rejected / f"rejected-{ingestion_slug(repo, commit)}-{index:05d}.parquet"

    def released_shard(self, split: str, index: int, count: int) -> Path:
        """One of the `count` files of a release's split."""
        return self.data / f"{split}-{index:05d}-of-{count:05d}.parquet"

    @property
    def health(self) -> Path:
        """What tasks gave when they were run again."""
        return self.root / HEALTH

    @property
    def card(self) -> Path:
        """What people and the hub read first."""
        return self.root / "README.md"

    @property
    def figures(self) -> Path:
        """Pictures that the card shows."""
        return self.root / "figures"

    def figure(self, name: str) -> Path:
        """One of them."""
        return self.figures / f"{name}.png"

    @property
    def report(self) -> Path:
        """A static site that shows the dataset."""
        return self.root / "report"

    def dropped_shard(self, index: int) -> Path:
        """One of a release's shards of tasks that were left out."""
        return self.rejected / f"dropped-{index:05d}.parquet"

    def run_record(self, repo: str, commit: str) -> Path:
        """What the run that finished a repository's ingestion took."""
        return self.runs / f"{ingestion_slug(repo, commit)}.json"

    def relative(self, path: Path) -> str:
        """A path as the manifest records it: POSIX, relative to the folder."""
        return path.relative_to(self.root).as_posix()


def ingestion_slug(repo: str, commit: str) -> str:
    """`owner__repo.<commit, 8>` as part of a file name that is portable and that no reader takes for another split.

    A `~` follows a word that names a split; a hash follows a name that had to be changed otherwise.
    """
    name = repo.replace("/", "__")
    slug = _NOT_PORTABLE.sub("~", name)[:_MAX_SLUG]
    if slug != name:
        slug = f"{slug}~{hashlib.sha256(repo.encode()).hexdigest()[:8]}"
    return _SPLIT_WORD.sub(r"\1~", slug) + f".{commit[:8]}"
