"""The manifest of a dataset folder, and who may write to the folder."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.errors import DatasetDamaged, DatasetError, StorageFailed
from schemas.manifest import Ingestion, ShardManifest
from schemas.tasks import SCHEMA_VERSION, is_readable
from storage.durable import folder_made, refusals_named, remove_temporaries, temporary_name, write_whole
from storage.integrity import check_shards
from storage.layout import DatasetLayout
from storage.lock import locked, refuse_held
from storage.unfinished import (
    clear_writer,
    clear_writers,
    shard_files,
    take_away_unfinished,
    take_away_unreleased,
)

COMMIT_WAIT_S = 600.0
"""How long to wait for others who add to the dataset: each of them takes seconds."""


def gymforge_version() -> str:
    """Version of the installed distribution; `0+unknown` where none is installed."""
    try:
        return version("gymforge")
    except PackageNotFoundError:
        return "0+unknown"


@contextmanager
def open_for_writing(root: Path, *, writer: str = "") -> Iterator[DatasetLayout]:
    """Be at work on a dataset folder; makes it, with an empty manifest, where there is none.

    Others may be at work on it too, each on what its own `writer` says (a repository, say) and each in the folder
    `layout.writer(writer)`, which is gone at the end; whoever adds to the dataset does so inside `committing`.

    What was made is taken away again at the end if nothing was finished in it: a failed first run leaves no dataset.

    Raises:
        DatasetError: the folder is foreign, of another schema, or another process does what `writer` says.
        StorageFailed: it cannot be written to.
    """
    layout = DatasetLayout(root.resolve())
    refuse_unusable(layout)
    with folder_made(layout.root), ExitStack() as own:
        try:
            with _alone(layout):
                refuse_unusable(layout)  # another process may have written here before the lock was ours
                _make_folders(layout)
                own.enter_context(_at_work(layout, writer))
            yield layout
        finally:
            own.close()
            with suppress(DatasetError, StorageFailed), _alone(layout):  # else the next writer does it
                finished = read_manifest(layout).ingestions if layout.manifest.exists() else ()
                if not finished and not clear_writers(layout):
                    take_away_unfinished(layout)


@contextmanager
def committing(layout: DatasetLayout) -> Iterator[None]:
    """Be the only one who adds to the dataset, until the end of the block; others wait, so keep it short.

    Shards that are written inside and that the manifest does not name at the end are taken away.

    Raises:
        DatasetError: others are at it for very long; or the folder is no dataset any more.
    """
    with _alone(layout):
        refuse_unusable(layout)
        earlier = shard_files(layout)
        try:
            yield
        finally:
            with suppress(DatasetError):  # somebody changed the manifest meanwhile: what belongs to it cannot be known
                take_away_unreleased(layout, read_manifest(layout).ingestions, earlier=earlier)


def refuse_same_work(layout: DatasetLayout, writer: str) -> None:
    """See that no process does what `writer` says; takes nothing.

    Raises:
        DatasetError: one does; the message names it.
    """
    refuse_held(layout.writer_lock(writer), held=_same_work(layout, writer))


def _alone(layout: DatasetLayout) -> AbstractContextManager[None]:
    return locked(layout.lock, held=f"{layout.root} is being written to by", wait_s=COMMIT_WAIT_S)


def _same_work(layout: DatasetLayout, writer: str) -> str:
    return f"{writer or 'something'} is being written to {layout.root} by"


@contextmanager
def _at_work(layout: DatasetLayout, writer: str) -> Iterator[None]:
    try:
        with locked(layout.writer_lock(writer), held=_same_work(layout, writer)):
            try:
                yield
            finally:
                clear_writer(layout.writer(writer), but=layout.writer_lock(writer))
    finally:
        with suppress(OSError):  # another one has begun the same
            layout.writer(writer).rmdir()
            layout.writers.rmdir()


def _make_folders(layout: DatasetLayout) -> None:
    clear_writers(layout)
    if not layout.manifest.exists():
        write_manifest(layout, ShardManifest(gymforge_version=gymforge_version(), ingestions=()))
    with refusals_named(layout.root):
        for folder in (layout.data, layout.rejected, layout.ledger.parent, layout.runs):
            folder.mkdir(exist_ok=True)
            remove_temporaries(folder)


def refuse_unusable(layout: DatasetLayout) -> None:
    """See that a folder is a whole dataset of this schema, or free to become one; changes nothing.

    Raises:
        DatasetError: it is neither.
        DatasetDamaged: a shard is missing or has another size.
    """
    _refuse_foreign(layout)
    if layout.manifest.exists():
        manifest = read_manifest(layout)
        if manifest.release is not None:
            raise DatasetError(f"{layout.root} is a release, to which nothing is added. Choose another folder.")
        check_shards(layout, manifest.shards, full=False)


def open_for_reading(root: Path) -> DatasetLayout:
    """A dataset folder whose every file is what was written: all of them are read once, at the disk's speed.

    Raises:
        DatasetError: it is none, or of another schema.
        DatasetDamaged: a file is missing or damaged.
    """
    layout = DatasetLayout(root)
    check_shards(layout, read_manifest(layout).shards, full=True)
    return layout


def read_manifest(layout: DatasetLayout) -> ShardManifest:
    """The manifest of a dataset folder.

    Raises:
        DatasetError: there is none, it is not ours, or of another schema version.
        DatasetDamaged: it cannot be understood.
    """
    try:
        text = layout.manifest.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DatasetError(
            f"{layout.root} is not a gymforge dataset: it has no manifest.json. Name the folder that was given to "
            "`gymforge ingest --out`."
        ) from None
    except IsADirectoryError:
        raise DatasetDamaged(
            f"{layout.manifest} is a folder. Restore it, or ingest again into another folder."
        ) from None
    except OSError as error:
        raise DatasetError(f"cannot read {layout.manifest}: {error.strerror}. Check its permissions.") from error
    return parse_manifest(text, where=str(layout.manifest))


def parse_manifest(text: bytes, *, where: str) -> ShardManifest:
    """A manifest from its text; `where` names it in errors.

    Raises:
        DatasetError: it is not ours, or of another schema version.
        DatasetDamaged: it cannot be understood.
    """
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetDamaged(
            f"{where} is damaged ({error}). Restore it, or ingest again into another folder."
        ) from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(found, str):
        raise DatasetError(f"{where} is not a gymforge manifest. Choose another folder.")
    if not is_readable(found):
        raise DatasetError(
            f"{where.removesuffix('/manifest.json')} has schema version {found}, this gymforge reads and writes "
            f"{SCHEMA_VERSION}. Use the gymforge that wrote it ({content.get('gymforge_version', 'unknown')}), or "
            "ingest again into another folder."
        )
    try:
        return ShardManifest.model_validate_json(text)
    except ValidationError as error:
        raise DatasetDamaged(
            f"{where} is damaged: {_first_problem(error)}. Restore it, or ingest again into another folder."
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
        DatasetDamaged: one of its shards is not what was written.
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
    check_shards(layout, (*found.shards, *found.rejected_shards), full=True)
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
    merged = manifest.model_copy(
        # Shards of earlier versions stay as they are; the manifest has the version of the last writer.
        update={
            "ingestions": ingestions,
            "gymforge_version": gymforge_version(),
            "schema_version": SCHEMA_VERSION,
        }
    )
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
    # A first run that was killed before its manifest leaves these two behind.
    ours = {layout.lock.name, temporary_name(layout.manifest).name}
    strangers = []
    # There is none, or who made it has just taken it away; below a file, who writes says what is in the way.
    with suppress(FileNotFoundError, NotADirectoryError):
        strangers = sorted(entry.name for entry in layout.root.iterdir() if entry.name not in ours)
    # The manifest comes before all else and goes after it: where others are at work, it is there by now.
    if strangers and not layout.manifest.exists():
        raise DatasetError(
            f"{layout.root} is not empty and not a gymforge dataset (it holds {', '.join(strangers[:3])}"
            f"{', ...' if len(strangers) > 3 else ''}, and no manifest.json). Choose an empty or new folder with --out."
        )


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
