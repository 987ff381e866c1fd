"""Bring a repository here: a plain tree of one pinned commit, and where it came from."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from extractors.git_copy import GitCopy, SubmoduleLink
from extractors.git_limits import TreeRoom
from extractors.license import license_of
from extractors.source import Source, SourceKind, is_git_directory, parse_source, resolve_relative
from schemas.errors import CloneFailed, InvalidInput
from schemas.repo import RepoRef

_MAX_SUBMODULE_DEPTH = 8


class Checkout(NamedTuple):
    ref: RepoRef
    path: Path
    """A plain tree at the pinned commit, submodules included, without any `.git`."""


def acquire(source: str, *, ref: str | None, cache_dir: Path, destination: Path) -> Checkout:
    """Copy `source` into the cache, or bring the copy up to date, and write the tree of `ref` to `destination`.

    `ref` is a branch, a tag, or a full or short commit hash; `None` is the source's HEAD. `destination` must not
    exist, or be empty; it appears whole or not at all. The source itself is only read.

    Raises:
        InvalidInput: `source` is no address, or `destination` is taken.
        CloneFailed: the source or a submodule cannot be had, is empty, or does not hold `ref`.
    """
    parsed = parse_source(source)
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        msg = f"{destination} is not an empty folder; give another destination for the tree of {parsed.url}"
        raise InvalidInput(msg)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}-") as scratch:
        tree = Path(scratch) / "tree"
        room = TreeRoom(parsed.address)
        copy = GitCopy(parsed, cache_dir)
        with copy.locked():
            commit = copy.update(ref)
            repo_ref = copy.describe(commit)
            links = copy.export(commit, tree, room=room)
        _add_submodules(parsed, links, room, tree=tree, cache_dir=cache_dir)
        if destination.exists():
            destination.rmdir()
        tree.rename(destination)
    return Checkout(repo_ref.model_copy(update={"license_spdx": license_of(destination)}), destination)


def _add_submodules(
    parent: Source,
    links: Sequence[SubmoduleLink],
    room: TreeRoom,
    *,
    tree: Path,
    cache_dir: Path,
    below: str = "",
    depth: int = 1,
) -> None:
    for link in links:
        what = f"submodule {link.path!r} of {parent.address}"
        if depth > _MAX_SUBMODULE_DEPTH:
            msg = f"{what} is nested more than {_MAX_SUBMODULE_DEPTH} deep; this looks like a loop"
            raise CloneFailed(msg)
        if not link.url:
            msg = f"{what} has no address in .gitmodules; commit one, or remove the entry: git rm --cached {link.path}"
            raise CloneFailed(msg)
        place = _place(tree, link.path)
        failure: CloneFailed | InvalidInput | None = None
        for source in _submodule_sources(parent, link, what):
            copy = GitCopy(source, cache_dir)
            try:
                with copy.locked():
                    inner = copy.export(copy.update(link.commit), place, room=room, below=f"{below}{link.path}/")
            except (CloneFailed, InvalidInput) as error:
                failure = error
            else:
                beneath = f"{below}{link.path}/"
                _add_submodules(source, inner, room, tree=place, cache_dir=cache_dir, below=beneath, depth=depth + 1)
                break
        else:
            msg = f"{what} cannot be had: {failure}"
            raise CloneFailed(msg) from None


def _submodule_sources(parent: Source, link: SubmoduleLink, what: str) -> Iterator[Source]:
    """Where to look for a submodule: what a local repository has checked out itself, then its address."""
    if parent.kind is SourceKind.DIRECTORY and ".." not in PurePosixPath(link.name).parts:
        own = Path(parent.address, ".git", "modules", link.name)
        if is_git_directory(own):
            yield parse_source(str(own))
    try:
        source = parse_source(resolve_relative(parent.address, link.url))
    except InvalidInput as error:
        msg = f"{what} cannot be had: {error}"
        raise CloneFailed(msg) from None
    if parent.kind is SourceKind.REMOTE and source.kind is not SourceKind.REMOTE:
        # A stranger's repository must not pull files of this machine into a dataset.
        msg = f"{what} lies on this machine, but the repository does not; clone it by hand and give the local path"
        raise CloneFailed(msg)
    yield source


def _place(tree: Path, path: str) -> Path:
    """The folder that the checkout left empty for a submodule."""
    place = tree / path
    if place.resolve() != tree.resolve() / path or not place.is_dir() or any(place.iterdir()):
        msg = f"submodule {path!r} would be written through a link or over files; the repository is damaged"
        raise CloneFailed(msg)
    return place
