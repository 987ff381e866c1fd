"""What the hub reads of a dataset card: its YAML; imports huggingface_hub and pyarrow where they are used."""

from typing import TYPE_CHECKING, Any

from schemas.errors import MissingExtra
from schemas.manifest import ShardManifest
from storage.card_facts import CardFacts

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

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


def metadata(manifest: ShardManifest, facts: CardFacts) -> "DatasetCardData":
    """Configurations, splits, columns, size, licence and tags.

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
    return DatasetCardData(
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
