"""The manifest of a dataset folder: which shards there are and what is in them."""

from collections.abc import Mapping
from datetime import date, datetime

from pydantic import Field

from schemas.model import Model
from schemas.repo import EnvironmentInfo, RepoProfile
from schemas.tasks import SCHEMA_VERSION


class Shard(Model):
    path: str = Field(pattern=r"^(data|rejected)/[^/]+$")
    """Relative to the dataset folder."""
    sha256: str
    """SHA-256 of the file, in hexadecimal."""
    size_bytes: int
    """Size of the file."""
    rows: int
    """Rows in it."""


class ReleasedShard(Shard):
    """A file of a release: tasks of many repositories, all of one split, sorted by id."""

    split: str
    first_id: str
    """`instance_id` of its first row."""
    last_id: str
    """`instance_id` of its last row."""


class BenchmarkList(Model):
    """A list that tasks were held against."""

    name: str
    """Of its file."""
    sha256: str
    """SHA-256 of the file, in hexadecimal."""


class GateRules(Model):
    """What the gates of a release went by."""

    licences: tuple[str, ...]
    """SPDX ids that were allowed."""
    benchmarks: tuple[BenchmarkList, ...]
    """In the order in which they were asked."""
    since: date | None
    """Tasks of commits from before that day stayed out."""
    overlap_words: int
    """Words in a run that a benchmark may have too."""
    overlap_share: float
    """Of a task's runs, from which it overlaps with the benchmark."""
    near: float
    """Similarity (Jaccard) from which two bugs or texts were nearly the same; above 1 for never."""
    near_words: int
    """Words in a run of which similarity is told."""


class Release(Model):
    """What a release was made of, and by which rules."""

    sources: tuple[str, ...]
    """Versions of the datasets that it was made of: SHA-256 of their manifests, sorted."""
    shares: Mapping[str, float]
    """Split to the share of repositories that it was to have."""
    splits_seed: int
    splits_by_history: bool = False
    """Whether repositories of one history were dealt together; by their names alone before schema 1.2."""
    tasks: Mapping[str, int]
    """Split to number of tasks."""
    dropped: Mapping[str, Mapping[str, int]]
    """Gate to reason to number of tasks that were left out; a gate that was asked and let all pass has none."""
    not_checked: Mapping[str, str]
    """Gate that had nothing to go by, or not all that it could, and what it lacked."""
    checked: int = 0
    """Tasks that were run again at least once since they were made, those among them that did not hold included."""
    last_checked_at: datetime | None = None
    """When the last of them was; `None` where none was."""
    rules: GateRules | None = None
    """`None` where an older gymforge did not record them."""
    shards: tuple[ReleasedShard, ...]
    """Files, by split and by id."""
    rejected_shards: tuple[Shard, ...]
    """Files of the tasks that were left out, with the reason of each."""


class FastPathAudit(Model):
    """What whole-suite runs in fresh sandboxes said to verdicts that were reached by affected tests alone."""

    audited: int
    """Candidates that whole suites judged because they were chosen for it. Those that the fast path left to whole
    suites anyway are among them, with nothing to hold them against; which they are hangs on the machine, so that the
    record of the run alone tells them apart."""
    disagreements: int
    """Of these, how many were judged differently; one is enough for the repository to be judged by whole suites."""
    detail: str = ""
    """The first disagreement: candidate and difference."""


class IngestionSettings(Model):
    """What was asked for, beside the commit, the seed and the sandbox."""

    max_tasks: int | None
    """After how many tasks it was to stop; `None` for all there are."""
    strategies: tuple[str, ...]
    """Bug strategies by name, in the order in which they count."""
    config: str = ""
    """Name of the profile file that the user gave; what it said is in `profile`."""


class Ingestion(Model):
    """One repository's part of a dataset."""

    repo: str
    """`owner/name`."""
    url: str
    """The source as given, without credentials."""
    commit: str
    """Full hash of the commit."""
    license_spdx: str
    """SPDX expression, or `NOASSERTION`."""
    attribution: tuple[str, ...] = ()
    """Copyright lines of the repository's licence files, as they stand there."""
    root_commits: tuple[str, ...] = ()
    """Commits without parents in its history, sorted: forks share them. Empty where the history was not whole."""
    first_commit: str = ""
    """The one of these where its main line (the first parents) begins; empty in ingestions of schema 1.1."""
    sandbox: str
    """Kind of sandbox in which tests ran."""
    config_hash: str
    """Hash of every setting that can change the rows."""
    seed: int
    """The run's seed."""
    settings: IngestionSettings | None = None
    """`None` where an older gymforge did not record them."""
    tasks: int
    """Rows in `shards` together."""
    rejected: Mapping[str, int]
    """Reason to number of candidates."""
    quarantined: Mapping[str, tuple[str, ...]]
    """Tests that did not agree with themselves on the clean tree, with their outcomes."""
    profile: RepoProfile
    """How the repository was built and tested, where each value was found, and which files were left out and why."""
    environment: EnvironmentInfo
    """The environment in which every task was proven."""
    not_passing: tuple[str, ...]
    """Stable tests that do not pass on the clean tree (skipped, failing, expected to fail); they are in no task."""
    fast_path: FastPathAudit | None = None
    """`None` where no candidate was judged by affected tests alone."""
    shards: tuple[Shard, ...]
    """Files of tasks, by name."""
    rejected_shards: tuple[Shard, ...]
    """Files of rejected candidates, by name."""


class ShardManifest(Model):
    """`manifest.json`, written last: a file that it does not name is not part of the dataset."""

    schema_version: str = SCHEMA_VERSION
    """Version of the schema of every shard."""
    gymforge_version: str
    """Version of gymforge that last wrote here."""
    ingestions: tuple[Ingestion, ...]
    """Sorted by repository and commit; in a release their rows are in its shards, and they have none of their own."""
    release: Release | None = None
    """Set where the folder is a release: then nothing is ever added to it."""

    def task_shards(self, repo: str | None = None) -> tuple[Shard, ...]:
        """Files that can hold tasks of a repository, or of any."""
        own = [one for one in self.ingestions if repo in {None, one.repo}]
        released = self.release.shards if self.release and own else ()
        return (*(shard for one in own for shard in one.shards), *released)

    def rejected_shards(self, repo: str | None = None) -> tuple[Shard, ...]:
        """Files that can hold what did not become a task of a repository, or of any."""
        own = [shard for one in self.ingestions if repo in {None, one.repo} for shard in one.rejected_shards]
        return (*own, *(self.release.rejected_shards if self.release else ()))

    @property
    def shards(self) -> tuple[Shard, ...]:
        """All files that the manifest names."""
        return (*self.task_shards(), *self.rejected_shards())
