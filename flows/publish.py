"""Publish a release on the hub: what goes there, what must not, and whether it arrived."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from flows.card import card_facts
from flows.progress import listener
from schemas.errors import DatasetError, PublishBlocked
from schemas.manifest import ShardManifest
from schemas.model import Model
from storage.card import card_text, shown_figures, with_id, write_card
from storage.hub import MAIN, HubDataset, HubFile, hub_file, refuse_bad_names
from storage.layout import DatasetLayout
from storage.manifest import open_for_reading, read_manifest
from storage.places import Place
from task_registry import Registry, load_rejected
from task_registry.gates import BLOCKING, Facts, GateSettings, facts_of_text, gate

_SHOWN = 20


class Publication(Model):
    """What was published, or would be."""

    repo_id: str
    revision: str
    dry_run: bool
    """Whether nothing was sent, nor the hub asked."""
    tasks: int
    files: Mapping[str, int]
    """Path in the repository to size in bytes, of everything that belongs there."""
    commit: str = ""
    """The commit that holds it."""
    url: str = ""
    uploaded: tuple[str, ...] = ()
    """Files that were not there, or other; empty where all was there already."""
    removed: tuple[str, ...] = Field(default=())
    """Files of an earlier release."""


def publish_release(
    directory: Path, repo_id: str, *, private: bool = False, revision: str = MAIN, dry_run: bool = False
) -> Publication:
    """Have a release's shards, manifest, card and figures on the hub, in one commit, and read them back.

    The release's folder is only read. A card that is there is taken if it fits the release; where there is none, one is
    made. With `dry_run` everything is looked at and made that needs no hub, and nothing is sent.

    Raises:
        InvalidInput, DatasetError, DatasetDamaged: a name is wrong; the folder is no whole release, or its card does
            not fit it.
        PublishBlocked: it holds secrets or personal data.
        PublishFailed: the hub cannot be reached, refuses, or does not hold what was sent.
        MissingExtra: a library is not installed.
        StorageFailed: the file system refuses.
    """
    refuse_bad_names(repo_id, revision)
    listener().stage("check")
    layout = open_for_reading(directory)
    manifest = _released(layout)
    with tempfile.TemporaryDirectory() as scratch:
        card = _card(layout, manifest, repo_id, DatasetLayout(Path(scratch)))
        files = _files(layout, manifest, card)
        listener().stage("scan")
        _refuse_findings(layout, card)
        publication = Publication(
            repo_id=repo_id,
            revision=revision,
            dry_run=dry_run,
            tasks=sum(one.tasks for one in manifest.ingestions),
            files={file.path: file.size_bytes for file in files},
        )
        if dry_run:
            return publication
        hub = HubDataset(repo_id, revision=revision, private=private)
        listener().stage("send")
        message = f"Release {hub_file('', layout.manifest).sha256[:12]} ({publication.tasks} tasks)"
        sent = hub.publish(files, message=message, notice=listener().fact)
        listener().stage("read back")
        hub.check(files, manifest.shards, local=Place(str(layout.root)), commit=sent.commit)
    return publication.model_copy(update=sent._asdict())


def _released(layout: DatasetLayout) -> ShardManifest:
    """The manifest of a release that may be given away."""
    manifest = read_manifest(layout)
    if manifest.release is None:
        raise DatasetError(
            f"{layout.root} is no release, and only releases are published: their tasks have passed the gates. Make "
            "one: gymforge release DIR --out OUT"
        )
    if not sum(manifest.release.tasks.values()):
        raise DatasetError(f"{layout.root} holds no task: there is nothing to publish.")
    from pyarrow.dataset import field

    from storage.reader import count_rows

    dropped = [layout.root / shard.path for shard in manifest.release.rejected_shards]
    if dropped and count_rows(dropped, matching=field("bug_patch") != ""):
        raise DatasetError(
            f"{layout.root} was made by an older gymforge: its rejected/ holds the patches of tasks that stayed out. "
            "Make the release again."
        )
    return manifest


def _card(layout: DatasetLayout, manifest: ShardManifest, repo_id: str, scratch: DatasetLayout) -> DatasetLayout:
    """Where the card to publish and its figures are: a copy that names the dataset as it is called on the hub."""
    facts = card_facts(layout, name=repo_id.rpartition("/")[2])
    if layout.card.exists():
        text = layout.card.read_bytes().decode(errors="replace")
        expected = card_text(manifest, facts, figures=())
        differing = _differing(text, expected)
        if differing:
            raise DatasetError(
                f"{layout.card} does not fit the release: {differing}. Make it again (gymforge card {layout.root}), "
                "or delete it."
            )
        scratch.figures.mkdir()
        for name in shown_figures(text):
            source = layout.figures / name
            if source.is_symlink() or not source.is_file():
                raise DatasetError(f"{layout.card} shows {source.name}, which is not in {layout.figures}.")
            (scratch.figures / name).write_bytes(source.read_bytes())
    else:
        write_card(scratch, manifest, facts)
        text = scratch.card.read_text(encoding="utf-8")
    scratch.card.write_text(with_id(text, repo_id), encoding="utf-8")
    return scratch


def _differing(text: str, expected: str) -> str:
    """What the metadata of a card says otherwise than that of the card that would be made; empty where nothing."""
    from huggingface_hub import DatasetCard
    from yaml import YAMLError

    try:
        said = DatasetCard(text).data
    except (ValueError, YAMLError) as error:
        return f"its metadata cannot be read ({str(error).splitlines()[0]})"
    right = DatasetCard(expected).data
    return next((f"`{name}` is another" for name in ("configs", "dataset_info") if said.get(name) != right[name]), "")


def _files(layout: DatasetLayout, manifest: ShardManifest, card: DatasetLayout) -> list[HubFile]:
    files = [HubFile(one.path, layout.root / one.path, one.sha256, one.size_bytes) for one in manifest.shards]
    made = [card.card, *sorted(card.figures.iterdir())]
    return [
        *files,
        hub_file(layout.relative(layout.manifest), layout.manifest),
        *(hub_file(card.relative(one), one) for one in made),
    ]


def _refuse_findings(layout: DatasetLayout, card: DatasetLayout) -> None:
    """Ask the gates again whose findings must not be given away: a release may be old, or made elsewhere.

    Of everything that is sent, but that copyright lines, in manifest and card, may hold addresses.

    Raises:
        PublishBlocked: something was found; it is not repeated.
    """
    tasks = [*Registry.open(layout.root).facts(), *_left_out(layout)]
    card_facts, manifest = (facts_of_text(one.name, one.read_text("utf-8")) for one in (card.card, layout.manifest))
    looked_at = {
        "secret": [card_facts, manifest, *tasks],
        "personal_data": [facts_of_text(layout.manifest.name, _without_copyright(layout)), *tasks],
    }
    found = []
    for name in BLOCKING:
        for where, finding in sorted(gate(name)(looked_at[name], GateSettings()).items()):
            found.append(f"{where}: {name} ({finding.detail})")
    if found:
        more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise PublishBlocked(
            "nothing was sent, for this would have been published:\n  "
            + "\n  ".join(found[:_SHOWN])
            + f"{more}\nMake the release again: its gates leave such tasks out."
        )


def _left_out(layout: DatasetLayout) -> Iterator[Facts]:
    for row in load_rejected(layout.root):
        yield facts_of_text(f"rejected {row.candidate_id}", "\n".join(row.model_dump(mode="json").values()))


def _without_copyright(layout: DatasetLayout) -> str:
    manifest = read_manifest(layout)
    ingestions = tuple(one.model_copy(update={"attribution": ()}) for one in manifest.ingestions)
    return manifest.model_copy(update={"ingestions": ingestions}).model_dump_json(indent=1)
