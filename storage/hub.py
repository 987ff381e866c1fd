"""Bring files to a dataset repository of the hub in one commit and read them back; by huggingface_hub, imported late.

Every attempt looks at what is there and sends what is not, so whatever broke off, or whose answer was lost, is simply
tried again: nothing is sent twice that arrived, and nothing is committed twice.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.errors import DatasetDamaged, DatasetError, InvalidInput, PublishFailed
from schemas.manifest import Shard
from storage.durable import sha256_of
from storage.hub_faults import faults_named, find_token, network_fault, require_client
from storage.places import Place

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

MAIN = "main"
OURS = ("data/", "rejected/", "figures/")
"""Folders in which everything is a release's: what the one that is published does not have there is removed."""
_MANIFEST = "manifest.json"
_WAITS_S = (2.0, 8.0, 30.0)
"""Before each further attempt; the client tries most requests several times by itself."""
_LONGEST_WAIT_S = 300.0


class HubFile(NamedTuple):
    path: str
    """In the repository."""
    source: Path
    sha256: str
    size_bytes: int


class Sent(NamedTuple):
    """What publishing changed, and where."""

    commit: str
    url: str
    uploaded: tuple[str, ...]
    """Paths that were not there, or other; empty where all was as it is."""
    removed: tuple[str, ...]


class _Difference(NamedTuple):
    head: str
    """The commit that was looked at."""
    missing: tuple[HubFile, ...]
    """Files that are not there, or other."""
    extra: tuple[str, ...]
    held: Mapping[str, str]
    """Path to Git's name of what is there now, of everything that would be replaced or removed."""


def hub_file(path: str, source: Path) -> HubFile:
    return HubFile(path, source, sha256_of(source), source.stat().st_size)


def refuse_bad_names(repo_id: str, revision: str) -> None:
    """Judge, without asking the hub, whether names can be those of a dataset and a branch.

    Raises:
        InvalidInput: they cannot.
        MissingExtra: huggingface_hub is not installed.
    """
    require_client()
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
        is_right = repo_id.count("/") == 1
    except HFValidationError:
        is_right = False
    if not is_right:
        raise InvalidInput(f"{repo_id!r} cannot be a dataset on the hub. Name it OWNER/NAME.")
    if not revision or revision != revision.strip() or any(one in revision for one in (" ", "..", "~", "^", ":", "\\")):
        raise InvalidInput(f"{revision!r} cannot be a branch. Leave --revision out for {MAIN}.")


class HubDataset:
    """A dataset repository at one branch, as the user's token may see and change it."""

    def __init__(self, repo_id: str, *, revision: str = MAIN, private: bool = False) -> None:
        """`private`: make the repository so, and refuse one that is not.

        Raises:
            InvalidInput, MissingExtra: as `refuse_bad_names`.
            PublishFailed: there is no token, or it is none.
        """
        refuse_bad_names(repo_id, revision)
        from huggingface_hub import HfApi

        self.repo_id, self.revision, self._private = repo_id, revision, private
        self._token = find_token()
        self._api: HfApi = HfApi(token=self._token, library_name="gymforge")

    def publish(
        self,
        files: Sequence[HubFile],
        *,
        message: str,
        notice: Callable[[str], object] = str,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Sent:
        """Have exactly these files there, and in `OURS` no others; files elsewhere stay.

        The repository and the branch are made where they are not there. `notice` is told of every further attempt.

        Raises:
            PublishFailed: the hub cannot be reached or refuses; transient where it may do so later. Or somebody else
                changed the same files meanwhile.
            DatasetError: the repository holds somebody's other data.
        """
        uploaded: dict[str, None] = {}
        removed: dict[str, None] = {}
        waits_s = iter(_WAITS_S)
        committed = False
        first: _Difference | None = None
        while True:
            try:
                with faults_named(self.repo_id, token=self._token):
                    found = self._difference(files)
                    if not found.missing and not found.extra:
                        url = f"{self._api.endpoint}/datasets/{self.repo_id}/tree/{found.head}"
                        return Sent(found.head, url, tuple(uploaded), tuple(removed))
                    if committed:  # the hub took it and does not show it: its .gitignore names a file, say
                        raise self._damaged((*(file.path for file in found.missing), *found.extra)[0], found.head)
                    first = first or found
                    self._refuse_newer(found, than=first)
                    # Said before it is done: the answer may be lost, and the next look finds nothing to do.
                    uploaded |= dict.fromkeys(file.path for file in found.missing)
                    removed |= dict.fromkeys(found.extra)
                    self._commit(found, message)
                    committed = True
            except PublishFailed as error:
                wait_s = next(waits_s, None) if error.transient else None
                if wait_s is None or error.retry_after_s > _LONGEST_WAIT_S:
                    raise
                wait_s = max(wait_s, error.retry_after_s)
                notice(f"The hub failed. Trying again in {wait_s:.0f} s.")
                sleep(wait_s)

    def check(self, files: Sequence[HubFile], shards: Sequence[Shard], *, local: Place, commit: str) -> None:
        """See that a commit holds these files and gives the shards' rows as `local` does.

        Large files are compared by the SHA-256 that the hub has of them, all others byte by byte; the shards' rows are
        read from the hub through the reader that every user of `hf://` has.

        Raises:
            PublishFailed: something is other than it was sent, or the hub cannot be reached (then transient).
        """
        place = Place(f"hf://datasets/{self.repo_id}@{commit}")
        with faults_named(self.repo_id, token=self._token):
            there = self._tree(commit)
            for file in files:
                found = there.get(file.path)
                if found is None or not _is_same(found, file):
                    raise self._damaged(file.path, commit)
                if found.lfs is None and place.read(file.path) != file.source.read_bytes():
                    raise self._damaged(file.path, commit)
            for shard in shards:
                if not _same_rows(local, place, shard):
                    raise self._damaged(shard.path, commit)

    def _difference(self, files: Sequence[HubFile]) -> _Difference:
        head = self._head()
        there = self._tree(head)
        self._refuse_foreign(there, head)
        wanted = {file.path: file for file in files}
        missing = tuple(file for path, file in wanted.items() if path not in there or not _is_same(there[path], file))
        extra = tuple(sorted(path for path in there if path.startswith(OURS) and path not in wanted))
        held = {path: file.blob_id for path, file in there.items() if path in wanted or path in extra}
        return _Difference(head, missing, extra, held)

    def _head(self) -> str:
        """The branch's commit, after making repository and branch where they are not there."""
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        where: dict[str, Any] = {"repo_id": self.repo_id, "repo_type": "dataset"}
        try:
            info = self._api.repo_info(**where, revision=self.revision)
        except RevisionNotFoundError:
            self._api.create_branch(**where, branch=self.revision, exist_ok=True)
            info = self._api.repo_info(**where, revision=self.revision)
        except RepositoryNotFoundError as error:
            if error.response.status_code != 404:  # a token that is refused looks like this as well
                raise
            self._api.create_repo(**where, private=self._private, exist_ok=True)
            if self.revision != MAIN:
                self._api.create_branch(**where, branch=self.revision, exist_ok=True)
            info = self._api.repo_info(**where, revision=self.revision)
        if self._private and not info.private:
            raise PublishFailed(
                f"{self.repo_id} is there already, and not private. Make it private in its settings on the hub, leave "
                "out --private, or name another."
            )
        assert info.sha is not None
        return info.sha

    def _tree(self, commit: str) -> dict[str, "RepoFile"]:
        from huggingface_hub.hf_api import RepoFile

        entries = self._api.list_repo_tree(self.repo_id, repo_type="dataset", revision=commit, recursive=True)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def _refuse_foreign(self, there: dict[str, "RepoFile"], head: str) -> None:
        """A name that was mistyped must not cost somebody a dataset."""
        theirs = [path for path in sorted(there) if path.startswith(OURS) or path == _MANIFEST]
        if not theirs:
            return
        if _MANIFEST in there:
            with suppress(ValueError):
                text = Place(f"hf://datasets/{self.repo_id}@{head}").read(_MANIFEST)
                if "gymforge_version" in json.loads(text):
                    return
        raise DatasetError(
            f"{self.repo_id} holds {theirs[0]}, which no release of gymforge put there. Name another dataset, or "
            "delete what is in this one first."
        )

    def _refuse_newer(self, found: _Difference, *, than: _Difference) -> None:
        """What somebody else brought while this was being sent is not replaced unseen."""
        if found.held != than.held:
            raise PublishFailed(
                f"{self.repo_id} was changed by somebody else while this release was sent: commit {found.head[:12]} "
                "has other files in its places, and they were left alone. Look at it; the same command again puts "
                "this release in its place."
            )

    def _commit(self, found: _Difference, message: str) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [
            CommitOperationAdd(path_in_repo=file.path, path_or_fileobj=file.source) for file in found.missing
        ]
        operations += [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in found.extra]
        self._api.create_commit(
            self.repo_id,
            operations,
            commit_message=message,
            repo_type="dataset",
            revision=self.revision,
            parent_commit=found.head,  # two commits do not mix, and nothing is committed twice
        )

    def _damaged(self, path: str, commit: str) -> PublishFailed:
        return PublishFailed(
            f"{self.repo_id} at {commit[:12]} does not hold {path} as it was sent. Delete the file there and run the "
            "same command again; if that does not help, the hub's storage is at fault."
        )


def _is_same(there: "RepoFile", file: HubFile) -> bool:
    if there.size != file.size_bytes:
        return False
    if there.lfs is not None:
        return bool(there.lfs.sha256 == file.sha256)
    from huggingface_hub.utils.sha import git_hash

    return bool(there.blob_id == git_hash(file.source.read_bytes()))


def _same_rows(local: Place, there: Place, shard: Shard) -> bool:
    try:
        pairs = zip_longest(local.tables(shard), there.tables(shard))
        return all(mine is not None and theirs is not None and mine.equals(theirs) for mine, theirs in pairs)
    except DatasetDamaged as error:
        if network_fault(error) is not None:
            raise
        return False
