"""The manifest of a dataset folder, and who may write to the folder."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.errors import DatasetError
from schemas.manifest import Ingestion, ShardManifest
from schemas.tasks import SCHEMA_VERSION
from storage.durable import refusals_named, remove_temporaries, temporary_name, write_whole
from storage.layout import DatasetLayout


def gymforge_version() -> str:
    """Version of the installed distribution; `0+unknown` where none is installed."""
    try:
        return version("gymforge")
    except PackageNotFoundError:
        return "0+unknown"


@contextmanager
def open_for_writing(root: Path) -> Iterator[DatasetLayout]:
    """Hold a dataset folder for writing; makes it, with an empty manifest, where there is none.

    Raises:
        DatasetError: the folder is foreign, of another schema, held by another writer, or cannot be written to.
    """
    layout = DatasetLayout(root.resolve())
    _refuse_foreign(layout)
    with refusals_named(layout.root):
        layout.root.mkdir(parents=True, exist_ok=True)
    with _locked(layout):
        if layout.manifest.exists():
            read_manifest(layout)
        else:
            _refuse_foreign(layout)
            write_manifest(layout, ShardManifest(gymforge_version=gymforge_version(), ingestions=()))
        with refusals_named(layout.root):
            for folder in (layout.data, layout.rejected, layout.ledger.parent, layout.runs):
                folder.mkdir(exist_ok=True)
                remove_temporaries(folder)
        yield layout


def read_manifest(layout: DatasetLayout) -> ShardManifest:
    """The manifest of a dataset folder.

    Raises:
        DatasetError: there is none, it is not ours, of another schema version, or damaged.
    """
    try:
        content: Any = json.loads(layout.manifest.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{layout.root} is not a gymforge dataset: it has no manifest.json. Name the folder that was given to "
            "`gymforge ingest --out`."
        ) from None
    except OSError as error:
        raise DatasetError(f"cannot read {layout.manifest}: {error.strerror}. Check its permissions.") from error
    except ValueError as error:
        raise DatasetError(
            f"{layout.manifest} is damaged ({error}). Restore it, or ingest again into another folder."
        ) from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(found, str):
        raise DatasetError(f"{layout.manifest} is not a gymforge manifest. Choose another folder.")
    if found != SCHEMA_VERSION:
        raise DatasetError(
            f"{layout.root} has schema version {found}, this gymforge reads and writes {SCHEMA_VERSION}. "
            f"Use the gymforge that wrote it ({content.get('gymforge_version', 'unknown')}), or ingest again into "
            "another folder."
        )
    try:
        return ShardManifest.model_validate(content)
    except ValidationError as error:
        raise DatasetError(
            f"{layout.manifest} is damaged: {error}. Restore it, or ingest again into another folder."
        ) from error


def write_manifest(layout: DatasetLayout, manifest: ShardManifest) -> None:
    """Replace the manifest atomically; the same manifest gives the same bytes."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False)
    write_whole(layout.manifest, text.encode() + b"\n")


def find_ingestion(manifest: ShardManifest, *, repo: str, commit: str) -> Ingestion | None:
    """What a dataset already holds of a repository's commit."""
    return next((one for one in manifest.ingestions if (one.repo, one.commit) == (repo, commit)), None)


def finished_ingestion(
    layout: DatasetLayout, *, repo: str, commit: str, config_hash: str, seed: int, sandbox: str
) -> Ingestion | None:
    """The finished ingestion with these inputs, or `None` where this repository's commit is not there yet.

    Raises:
        DatasetError: the folder holds the same commit, ingested with other inputs.
    """
    found = find_ingestion(read_manifest(layout), repo=repo, commit=commit)
    if found is None:
        return None
    wanted = {"config_hash": config_hash, "seed": seed, "sandbox": sandbox}
    changed = [
        f"{name} was {getattr(found, name)}, now {value}"
        for name, value in wanted.items()
        if getattr(found, name) != value
    ]
    if changed:
        raise _conflict(layout, found, "; ".join(changed))
    return found


def add_ingestion(layout: DatasetLayout, ingestion: Ingestion) -> ShardManifest:
    """Enter a finished ingestion into the manifest; an equal one that is there already changes nothing.

    Raises:
        DatasetError: the same repository and commit is there with other content.
    """
    manifest = read_manifest(layout)
    found = find_ingestion(manifest, repo=ingestion.repo, commit=ingestion.commit)
    if found == ingestion:
        return manifest
    if found is not None:
        changed = sorted(name for name in Ingestion.model_fields if getattr(found, name) != getattr(ingestion, name))
        raise _conflict(layout, found, f"these differ: {', '.join(changed)}")
    ingestions = tuple(sorted((*manifest.ingestions, ingestion), key=lambda one: (one.repo, one.commit)))
    merged = manifest.model_copy(update={"ingestions": ingestions, "gymforge_version": gymforge_version()})
    write_manifest(layout, merged)
    return merged


def _conflict(layout: DatasetLayout, found: Ingestion, detail: str) -> DatasetError:
    return DatasetError(
        f"{layout.root} already holds {found.repo} at {found.commit[:8]}, made from other inputs ({detail}). Released "
        "shards are never replaced: choose another folder with --out, or delete this one."
    )


def _refuse_foreign(layout: DatasetLayout) -> None:
    if layout.root.exists() and not layout.root.is_dir():
        raise DatasetError(f"{layout.root} is a file, not a folder. Choose another folder with --out.")
    if not layout.root.exists() or layout.manifest.exists():
        return
    # A first run that was killed before its manifest leaves these two behind.
    ours = {layout.lock.name, temporary_name(layout.manifest).name}
    strangers = sorted(entry.name for entry in layout.root.iterdir() if entry.name not in ours)
    if strangers:
        raise DatasetError(
            f"{layout.root} is not empty and not a gymforge dataset (it holds {', '.join(strangers[:3])}"
            f"{', ...' if len(strangers) > 3 else ''}, and no manifest.json). Choose an empty or new folder with --out."
        )


@contextmanager
def _locked(layout: DatasetLayout) -> Iterator[None]:
    with refusals_named(layout.lock):
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            # The kernel releases it when the process dies, however it dies: no stale lock to clean up.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise DatasetError(
                f"{layout.root} is being written to by {owner}. Wait until it has finished, or choose another folder "
                "with --out."
            ) from None
        with refusals_named(layout.lock):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
