"""The manifest of a dataset folder: which shards there are and what is in them."""

from collections.abc import Mapping

from schemas.model import Model
from schemas.tasks import SCHEMA_VERSION


class Shard(Model):
    path: str
    """Relative to the dataset folder."""
    sha256: str
    size_bytes: int
    rows: int


class Ingestion(Model):
    """One repository's part of a dataset."""

    repo: str
    url: str
    commit: str
    license_spdx: str
    sandbox: str
    config_hash: str
    """Hash of every setting that can change the rows."""
    seed: int
    tasks: int
    rejected: Mapping[str, int]
    """Reason to number of candidates."""
    quarantined: Mapping[str, tuple[str, ...]]
    """Tests that did not agree with themselves on the clean tree, with their outcomes."""
    shards: tuple[Shard, ...]
    rejected_shards: tuple[Shard, ...]


class ShardManifest(Model):
    """`manifest.json`, written last: a file that it does not name is not part of the dataset."""

    schema_version: str = SCHEMA_VERSION
    gymforge_version: str
    ingestions: tuple[Ingestion, ...]
    """Sorted by repository and commit."""
