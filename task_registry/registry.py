"""One catalog over many datasets, local or remote: nothing is read before it is asked for; imports polars and pyarrow.

A dataset is a folder, or a URL that fsspec knows (`s3://bucket/tasks`). What it holds is what its manifest names, and
a manifest's hash is its version, for it names every shard by hash. Repositories are found by URL and commit, as in
SWE-smith's registry of profiles, with how they were built and tested.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import polars as pl

from schemas.errors import DatasetDamaged, DatasetError, InvalidInput
from schemas.health import HealthCheck
from schemas.manifest import Ingestion, ReleasedShard, Shard, ShardManifest
from schemas.repo import RepoProfile
from schemas.tasks import TaskInstance
from storage.arrow_schema import TASK_SCHEMA
from storage.health import parse_health
from storage.integrity import NEXT_STEP
from storage.layout import HEALTH
from storage.manifest import parse_manifest
from storage.places import Place
from task_registry.catalog import TaskSummary, read_task
from task_registry.curriculum import stage_expression
from task_registry.gates.gate import Facts
from task_registry.splits import Splits

_ID_COMMIT = 8
"""Characters of the commit in an `instance_id`."""


class Held(NamedTuple):
    """One repository's part of one dataset."""

    place: Place
    ingestion: Ingestion
    shards: tuple[Shard, ...]
    """Where its tasks are; those of a release hold tasks of others as well."""


class Registry:
    """Datasets as one; immutable, and safe to share between threads."""

    def __init__(self, held: Sequence[Held], versions: Mapping[str, str], dealt: Mapping[str, str]) -> None:
        self.held = tuple(held)
        """Every repository's part, by repository and commit."""
        self.dealt = dict(dealt)
        """Repository to its split."""
        self.versions = dict(versions)
        """Dataset, as it was named, to its version."""

    @classmethod
    def open(
        cls, *datasets: Path | str, versions: Mapping[str, str] | None = None, splits: Splits | None = None
    ) -> Self:
        """Read the manifests of datasets, and no shard.

        `versions`: dataset to the version that it must have, or the beginning of one, as an earlier `versions` said.
        `splits`: how repositories are dealt; by default those of a release as they are in it, and others as releases
        beside them are dealt, where these agree.

        Raises:
            DatasetError: one is no dataset, has another version, or two hold the same commit with other tasks. Or two
                releases have a repository in different splits, and `splits` says nothing.
            MissingExtra: what fsspec needs for a URL is not installed.
        """
        wanted = dict(versions or {})
        unknown = sorted(set(wanted) - set(map(str, datasets)))
        if unknown:
            raise InvalidInput(f"a version is pinned for {unknown[0]}, which is not among the datasets")
        found: dict[tuple[str, str], Held] = {}
        seen: dict[str, str] = {}
        manifests: dict[str, ShardManifest] = {}
        for dataset in map(str, datasets):
            place = Place(dataset)
            text = place.read("manifest.json")
            seen[dataset] = version = hashlib.sha256(text).hexdigest()
            if not version.startswith(wanted.get(dataset, "")):
                raise DatasetError(
                    f"{dataset} has version {version[:12]}, not {wanted[dataset][:12]}, which was asked for. Name the "
                    "release that has it, or ask for the version that is there."
                )
            manifests[dataset] = manifest = parse_manifest(text, where=f"{dataset}/manifest.json")
            for ingestion in manifest.ingestions:
                shards = manifest.release.shards if manifest.release else ingestion.shards
                _add(found, Held(place, ingestion, shards))
        held = [found[key] for key in sorted(found)]
        dealt = splits.deal(one.ingestion for one in held) if splits else _dealt(manifests)
        return cls(held, seen, dealt)

    def scan(self, where: str = "") -> pl.LazyFrame:
        """All tasks as a lazy frame; `where` is a condition in polars' SQL.

        Beside the columns of the shards there are `domains` (the labels in `domain`, for conditions such as
        `'parsing' = ANY(domains)`), `stage` (see `task_registry.curriculum`) and `split` (see `task_registry.splits`).

        Raises:
            InvalidInput: the condition cannot be understood.
        """
        frames = [_frame(place, shards) for place, shards in self._shards_by_place().items()]
        frame = pl.concat(frames or [_empty()])
        labels = pl.col("domain").list.eval(pl.element().struct.field("label"))
        frame = frame.with_columns(
            labels.alias("domains"),
            stage_expression().alias("stage"),
            pl.col("repo").replace_strict(self.dealt, default=None, return_dtype=pl.String).alias("split"),
        )
        if not where.strip():
            return frame
        with _naming(f"the condition {where!r}"):
            chosen = frame.sql(f"SELECT * FROM self WHERE {where}")  # noqa: S608 - it reads what the user may read
            chosen.collect_schema()
        return chosen

    def ids(self, where: str = "") -> list[str]:
        """Ids of the tasks for which a condition holds, sorted."""
        chosen = self._collected(self.scan(where).select("instance_id"), f"the condition {where!r}")
        return sorted(chosen["instance_id"].to_list())

    def summaries(self, where: str = "") -> list[TaskSummary]:
        """What a list shows of the tasks for which a condition holds, by id; the long columns are not read."""
        shown = self.scan(where).select(
            "instance_id",
            "repo",
            "language",
            "strategy",
            "issue_style",
            pl.col("domains").alias("domain"),
            pl.col("complexity").struct.field("score").alias("complexity"),
            pl.col("FAIL_TO_PASS").list.len().alias("fail_to_pass"),
            "stage",
            "split",
        )
        rows = self._collected(shown, f"the condition {where!r}").sort("instance_id").iter_rows(named=True)
        return [TaskSummary.model_validate(row) for row in rows]

    def facts(self) -> list[Facts]:
        """What gates look at in every task, by id."""
        other = {"entity", "path", "roots", "checks", "other_text", "tests"}
        shown = self.scan().select(
            *(pl.col(name) for name in Facts._fields if name not in other),
            pl.col("edit_targets").list.first().struct.field("path").fill_null(""),
            pl.col("provenance").struct.field("entity"),
            _other_text().alias("other_text"),
        )
        checks, suites = self.checks(), self._suites()
        roots = {(one.repo, one.commit): one.root_commits for one in (held.ingestion for held in self.held)}
        rows = self._collected(shown, "the dataset").sort("instance_id").iter_rows(named=True)
        return [
            Facts(
                **row,
                checks=tuple(checks.get(row["instance_id"], ())),
                tests=suites.get(key, ()),
                roots=roots.get(key, ()),
            )
            for row in rows
            for key in [(row["repo"], row["base_commit"])]
        ]

    def checks(self) -> Mapping[str, Sequence[HealthCheck]]:
        """Instance id to what the task gave when it was run again, oldest first."""
        found: dict[str, list[HealthCheck]] = {}
        for place in dict.fromkeys(held.place for held in self.held):
            text = place.read_if_there(HEALTH)
            for check in parse_health(text or b"", where=f"{place.name}/{HEALTH}"):
                found.setdefault(check.instance_id, []).append(check)
        return {name: sorted(several, key=lambda one: one.checked_at) for name, several in found.items()}

    def sample(self, size: int, *, seed: int, where: str = "", weight: str = "") -> list[str]:
        """Ids of `size` tasks, or of all where there are fewer, drawn without putting back; sorted.

        `weight` is an expression in polars' SQL: a task of weight 2 is drawn as if it were there twice, one of weight
        0 never. Without one all weigh the same. Whether a task is drawn depends on the seed, its id and the weights of
        all, and not on the order of datasets (Efraimidis and Spirakis, 2006).

        Raises:
            InvalidInput: a condition or weight cannot be understood; a weight is negative or no number.
        """
        weights = self.weights(weight, where=where)
        keys = [(-math.log(_uniform(seed, name)) / value, name) for name, value in weights.items() if value]
        return sorted(name for _, name in sorted(keys)[:size])

    def weights(self, weight: str, *, where: str = "") -> dict[str, float]:
        """Id to the value of an expression in polars' SQL, of the tasks for which a condition holds; 1 without one.

        Raises:
            InvalidInput: a condition or weight cannot be understood; a weight is negative or no number.
        """
        frame, what = self.scan(where), f"the weight {weight!r}"
        with _naming(what):
            chosen = frame.sql(f"SELECT instance_id, CAST({weight or 1} AS DOUBLE) AS weight FROM self")  # noqa: S608 - as above
        found: dict[str, float] = {}
        for name, value in self._collected(chosen, what).rows():
            if value is None or not math.isfinite(value) or value < 0:
                raise InvalidInput(f"{what} is {value} for {name}; it must be a number from 0 on")
            found[name] = value
        return found

    def tasks(self, where: str = "") -> Iterator[TaskInstance]:
        """The tasks for which a condition holds, dataset by dataset, each by repository and id."""
        wanted = set(self.ids(where)) if where.strip() else None
        commits = {_commit_in(name) for name in wanted or ()}
        chosen = [held for held in self.held if wanted is None or held.ingestion.commit[:_ID_COMMIT] in commits]
        for place, shard in dict.fromkeys((held.place, shard) for held in chosen for shard in held.shards):
            for row in place.rows(shard):
                if wanted is None or row["instance_id"] in wanted:
                    yield read_task(row, place.name)

    def get(self, instance_id: str) -> TaskInstance:
        """The task with an id, found by what the id says of its repository and by the statistics in the shards.

        Raises:
            DatasetError: there is none.
        """
        holding = self._by_commit.get(_commit_in(instance_id), [])
        for place, shard in dict.fromkeys((held.place, shard) for held in holding for shard in held.shards):
            if isinstance(shard, ReleasedShard) and not shard.first_id <= instance_id <= shard.last_id:
                continue
            row = place.row(shard, instance_id)
            if row is not None:
                return read_task(row, place.name)
        raise DatasetError(f"None of {len(self.versions)} datasets has a task {instance_id}.")

    def profile(self, url: str, commit: str = "") -> RepoProfile:
        """How a repository was built and tested: by its URL or `owner/name`, and the commit or its beginning.

        A `.git` or `/` at the end and upper case make no difference.

        Raises:
            DatasetError: it is not there, or several of its commits are and none is named.
        """
        found = [
            one
            for one in (held.ingestion for held in self.held)
            if _plain(url) in {_plain(one.url), _plain(one.repo)} and one.commit.startswith(commit)
        ]
        if len(found) == 1:
            return found[0].profile
        if not found:
            raise DatasetError(f"None of {len(self.versions)} datasets holds {url}{f' at {commit}' if commit else ''}.")
        commits = ", ".join(one.commit[:12] for one in found)
        raise DatasetError(f"{url} is there at several commits: {commits}. Name one.")

    def _suites(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Repository and commit to the ids of all tests that rows and manifests name, sorted; a row group at a time."""
        found = {
            (one.repo, one.commit): {*one.not_passing, *one.quarantined}
            for one in (held.ingestion for held in self.held)
        }
        lists = ("FAIL_TO_PASS", "PASS_TO_PASS")
        for place, shards in self._shards_by_place().items():
            for shard in shards:
                for table in place.tables(shard, columns=("repo", "base_commit", *lists)):
                    frame = pl.from_arrow(table)
                    assert isinstance(frame, pl.DataFrame)
                    for key, rows in frame.group_by("repo", "base_commit"):
                        own = found.setdefault((str(key[0]), str(key[1])), set())
                        own.update(*(rows[name].explode().drop_nulls().unique().to_list() for name in lists))
        return {key: tuple(sorted(tests)) for key, tests in found.items()}

    def _shards_by_place(self) -> dict[Place, list[Shard]]:
        found: dict[Place, list[Shard]] = {}
        for place, shard in dict.fromkeys((held.place, shard) for held in self.held for shard in held.shards):
            found.setdefault(place, []).append(shard)
        return found

    @cached_property
    def _by_commit(self) -> Mapping[str, list[Held]]:
        found: dict[str, list[Held]] = {}
        for held in self.held:
            found.setdefault(held.ingestion.commit[:_ID_COMMIT], []).append(held)
        return found

    def _collected(self, frame: pl.LazyFrame, what: str) -> pl.DataFrame:
        """The frame's rows; where that fails without what the user asked for as well, a shard is damaged."""
        with _naming(what):
            try:
                return frame.collect()
            except pl.exceptions.PolarsError:
                try:
                    self.scan().collect()
                except pl.exceptions.PolarsError as error:
                    raise DatasetDamaged(f"a shard cannot be read: {_first_line(error)}. {NEXT_STEP}") from error
                raise


def _add(found: dict[tuple[str, str], Held], new: Held) -> None:
    """Have it among the parts; the same part of two datasets is there once."""
    key = (new.ingestion.repo, new.ingestion.commit)
    known = found.setdefault(key, new)
    if known is not new and _hashes(known) != _hashes(new):
        raise DatasetError(
            f"{known.place.name} and {new.place.name} both hold {key[0]} at {key[1][:12]}, with other tasks. Leave one "
            "of the datasets out."
        )


def _plain(url: str) -> str:
    return url.lower().rstrip("/").removesuffix(".git")


def _hashes(held: Held) -> list[str]:
    return [shard.sha256 for shard in held.shards]


def _dealt(manifests: Mapping[str, ShardManifest]) -> dict[str, str]:
    """Repository to its split: of a release the one that it is in, so that no other dataset moves its tasks."""
    released = {name: one for name, one in manifests.items() if one.release is not None}
    ways = [Splits.of_release(one.release) for one in released.values()]
    agreed = ways[0] if ways and all(way == ways[0] for way in ways) else Splits()
    found = agreed.deal(ingestion for one in manifests.values() for ingestion in one.ingestions)
    settled: dict[str, str] = {}
    for (name, one), way in zip(released.items(), ways, strict=True):
        for repo, split in way.deal(one.ingestions).items():
            if settled.setdefault(repo, split) != split:
                raise DatasetError(
                    f"{repo} is in the split {split} of {name}, and in {settled[repo]} of a release beside it. Open "
                    "them apart, or release the datasets that they were made of as one."
                )
    return found | settled


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Whatever polars says is about `what`."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"{what} cannot be used: {_first_line(error)}") from error


def _frame(place: Place, shards: Sequence[Shard]) -> pl.LazyFrame:
    """Shards as polars reads them best: by itself from a disk, by way of pyarrow and fsspec from elsewhere."""
    dataset = place.dataset(shards)
    return (
        pl.scan_parquet(dataset.files, glob=False, schema=_empty().collect_schema(), missing_columns="insert")
        if place.is_local
        else pl.scan_pyarrow_dataset(dataset)
    )


def _empty() -> pl.LazyFrame:
    frame = pl.from_arrow(TASK_SCHEMA.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame.lazy()


def _other_text() -> pl.Expr:
    """What `Facts` says of it."""
    plan, edits, provenance = pl.col("plan").struct, pl.col("edit_targets").list, pl.col("provenance").struct
    return pl.concat_list(
        plan.field("goal"),
        plan.field("steps").list.eval(pl.element().struct.field("description")),
        edits.eval(pl.element().struct.field("search")),
        edits.eval(pl.element().struct.field("replace")),
        provenance.field("environment"),
    ).list.join("\n")


def _commit_in(instance_id: str) -> str:
    """The beginning of the commit, which stands in an id between two dots."""
    return instance_id.partition(".")[2].partition(".")[0]


def _uniform(seed: int, name: str) -> float:
    """A number above 0 and up to 1 that seed and id decide."""
    digest = hashlib.sha256(f"sample\0{seed}\0{name}".encode()).digest()
    return (int.from_bytes(digest[:7], "big") + 1) / 2**56


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
