"""Bring a repository here: a plain tree of one pinned commit, and where it came from."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from extractors.git_copy import GitCopy, SubmoduleLink
from extractors.git_limits import TreeRoom
from extractors.license import attribution_of, license_of
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
        _Submodules(cache_dir, tree, room).add(_holder(parsed), links)
        if destination.exists():
            destination.rmdir()
        tree.rename(destination)
    rights = {"license_spdx": license_of(destination), "attribution": attribution_of(destination)}
    return Checkout(repo_ref.model_copy(update=rights), destination)


class _Holder(NamedTuple):
    """A repository that holds submodules."""

    source: Source
    base: str
    """What relative addresses of its submodules count from."""
    neighbours: Path | None
    """Submodules may lie on this machine below this folder; where it is `None`, nowhere."""


@dataclass(frozen=True)
class _Submodules:
    """The submodules of one tree."""

    cache_dir: Path
    tree: Path
    room: TreeRoom

    def add(self, holder: _Holder, links: Sequence[SubmoduleLink], *, below: str = "", depth: int = 1) -> None:
        """Write submodules, and theirs in turn, into the folders that are empty for them; `below` ends with `/`."""
        for link in links:
            what = f"submodule {link.path!r} of {holder.source.address}"
            if depth > _MAX_SUBMODULE_DEPTH:
                msg = f"{what} is nested more than {_MAX_SUBMODULE_DEPTH} deep; this looks like a loop"
                raise CloneFailed(msg)
            if not link.url:
                msg = f"{what} has no address in .gitmodules; commit one, or: git rm --cached {link.path}"
                raise CloneFailed(msg)
            inner = f"{below}{link.path}/"
            place = _place(self.tree / below, link.path)
            failure: CloneFailed | InvalidInput | None = None
            for found in _candidates(holder, link, what):
                copy = GitCopy(found.source, self.cache_dir)
                try:
                    with copy.locked():
                        links_inside = copy.export(copy.update(link.commit), place, room=self.room, below=inner)
                except (CloneFailed, InvalidInput) as error:
                    failure = error
                else:
                    self.add(found, links_inside, below=inner, depth=depth + 1)
                    break
            else:
                msg = f"{what} cannot be had: {failure}"
                raise CloneFailed(msg, transient=failure is not None and failure.transient) from None


def _holder(source: Source) -> _Holder:
    """A repository that is read from its own address: what lies beside it may be its submodule, as for git."""
    if source.kind is not SourceKind.DIRECTORY:
        return _Holder(source, source.address, None)
    root = Path(source.address)
    root = root.parent if root.name == ".git" else root
    # Beside a repository in the root folder lies the whole machine.
    return _Holder(source, str(root), root.parent if root.parent.name else None)


def _candidates(holder: _Holder, link: SubmoduleLink, what: str) -> Iterator[_Holder]:
    """Where to look for a submodule: what a local repository has checked out itself, then its address."""
    address = resolve_relative(holder.base, link.url)
    if own := _checked_out(holder.source, link.name):
        yield _Holder(parse_source(str(own)), address, holder.neighbours)
    try:
        source = parse_source(address)
    except InvalidInput as error:
        msg = f"{what} cannot be had: {error}"
        raise CloneFailed(msg) from None
    if source.kind is not SourceKind.REMOTE and not (
        holder.neighbours in Path(source.address).parents and link.url.startswith(("./", "../"))
    ):
        # A stranger's .gitmodules must not pull files of this machine into a dataset.
        msg = (
            f"{what} lies on this machine, and not beside the repository that names it ({link.url[:200]!r}). "
            "If that is meant: run `git submodule update --init --recursive` in a clone of yours, and give the clone"
        )
        raise CloneFailed(msg)
    yield _holder(source)


def _checked_out(source: Source, name: str) -> Path | None:
    """The repository of a submodule inside the local repository that has it checked out."""
    if source.kind is not SourceKind.DIRECTORY:
        return None
    root = Path(source.address)
    modules = (root if is_git_directory(root) else root / ".git") / "modules"
    own = (modules / name).resolve()
    # The name comes from .gitmodules: it may be absolute, climb, or lead through a link.
    return own if modules.resolve() in own.parents and is_git_directory(own) else None


def _place(tree: Path, path: str) -> Path:
    """The folder that the checkout left empty for a submodule."""
    place = tree / path
    if place.resolve() != tree.resolve() / path or not place.is_dir() or any(place.iterdir()):
        msg = f"submodule {path!r} would be written through a link or over files; the repository is damaged"
        raise CloneFailed(msg)
    return place
