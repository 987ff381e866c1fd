"""The cached copy of one source: a bare repository that is made once, brought up to date, and read from."""

import fcntl
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from extractors import git_limits
from extractors.git_command import GitAnswer, read_git, run_git
from extractors.git_failures import explain, is_final, is_gone, is_transient, scrub
from extractors.git_limits import TreeRoom
from extractors.git_watch import Bound, Bounds, size_of
from extractors.source import Source, SourceKind, is_git_directory
from schemas.errors import CloneFailed
from schemas.repo import RepoRef

# A commit hash is written with this many digits in `RepoRef.version`: git's own choice depends on how many objects
# a copy holds, and so on the machine.
_ABBREVIATION = 12
_HEAD = "refs/gymforge/head"
_FULL_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT_HASH = re.compile(r"[0-9a-f]{4,63}", re.IGNORECASE)
_GIT_LINK = "commit"
_FOLDER = "tree"

# Highest in precedence: no filter, no line-end or encoding change, no keyword, whatever `.gitattributes` says.
_ATTRIBUTES = "* !filter -text -ident !eol -crlf !working-tree-encoding\n"


class SubmoduleLink(NamedTuple):
    """A submodule as its parent's commit records it."""

    path: str
    commit: str
    name: str
    url: str
    """As written in `.gitmodules`; empty where it is not listed there."""


class GitCopy:
    """The cached bare copy of one source. Use inside `locked()`."""

    def __init__(self, source: Source, cache_dir: Path) -> None:
        self.source = source
        key = hashlib.sha256(source.address.encode()).hexdigest()[:16]
        self._folder = cache_dir / "git"
        self.path = self._folder / f"{source.name.replace('/', '__')}-{key}.git"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the only right to this copy; a second ingest of the same source waits here."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def update(self, ref: str | None) -> str:
        """Fetch what is new and return the commit that `ref` means."""
        if self.path.exists() and not is_git_directory(self.path):
            shutil.rmtree(self.path)
        pinned = ref.lower() if ref and _FULL_HASH.fullmatch(ref.lower()) else None
        if pinned and self.path.exists() and self._commit(pinned):
            return pinned  # a commit never changes: no need to ask
        listing = self._remote_refs()
        if self.path.exists():
            # We hold the lock, so a lock file of git's is what a killed run left behind.
            unfinished = ("*.lock", "refs/**/*.lock", "objects/pack/*.lock", "objects/pack/tmp_*")
            for stale in (path for pattern in unfinished for path in self.path.glob(pattern)):
                stale.unlink(missing_ok=True)
            self._fetch(self.path, listing)
        else:
            self._create(listing)
        return self._resolve(ref, listing)

    def describe(self, commit: str) -> RepoRef:
        """Name, address, time and version of a commit."""
        seconds = self._run(self.path, "log", "-1", "--no-show-signature", "--format=%ct", commit).stdout.strip()
        roots = self._roots(commit)
        tags = run_git(self.path, "describe", "--tags", f"--abbrev={_ABBREVIATION}", commit)
        return RepoRef(
            name=self.source.name,
            url=self.source.url,
            commit=commit,
            committed_at=datetime.fromtimestamp(int(seconds), UTC),
            version=tags.stdout.strip() if tags.status == 0 else "",
            root_commits=roots,
            first_commit=self._roots(commit, "--first-parent")[0] if roots else "",
        )

    def export(self, commit: str, tree: Path, *, room: TreeRoom, below: str = "") -> tuple[SubmoduleLink, ...]:
        """Write the tree of a commit to a new folder; submodules are left as empty folders and returned.

        `below` is where the folder lies in the whole tree, for which there is `room`.

        Raises:
            CloneFailed: there is not enough room, and nothing was written; or git cannot write the files.
        """
        links = self._measure(commit, room, below)
        tree.mkdir(exist_ok=True)
        (self.path / "info").mkdir(exist_ok=True)
        (self.path / "info" / "attributes").write_text(_ATTRIBUTES)
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), "GIT_WORK_TREE": str(tree)}
            arguments = ("read-tree", "-m", "-u", commit)
            bounds = self._bounds(self.path)
            if self._is_partial(self.path):
                bounds = bounds._replace(folders={**bounds.folders, tree: room.left_bytes})
            self._run(self.path, *arguments, environment=environment, doing="write the files of", bounds=bounds)
        if self._is_partial(self.path):
            room.take_bytes(below, size_of(tree))
        return self._named(commit, links)

    def _roots(self, commit: str, *how: str) -> tuple[str, ...]:
        if self._run(self.path, "rev-parse", "--is-shallow-repository").stdout.strip() == "true":
            return ()
        return tuple(sorted(self._run(self.path, "rev-list", *how, "--max-parents=0", commit).stdout.split()))

    def _measure(self, commit: str, room: TreeRoom, below: str) -> dict[str, str]:
        """Take room for everything in a commit; returns the submodules' commits by path."""
        links: dict[str, str] = {}

        def take(record: str) -> None:
            head, _, path = record.partition("\t")
            _, kind, name, *size = head.split()
            if kind == _GIT_LINK:
                links[path] = name
            size_bytes = int(size[0]) if size and size[0].isdecimal() else 0
            room.take(below + path, is_folder=kind == _FOLDER, size_bytes=size_bytes)

        # A partial copy would ask the server for the size of every file, one by one.
        sizes = () if self._is_partial(self.path) else ("-l",)
        answer = read_git(self.path, "ls-tree", "-r", "-t", *sizes, "-z", "--full-tree", commit, each=take)
        if answer.status != 0:
            raise self._failure("list the files of", answer)
        return links

    def fetch_commit(self, commit: str) -> bool:
        """Try to have a commit that no branch or tag reaches; whether it is here now."""
        if not self._commit(commit):
            refspec = f"+{commit}:refs/gymforge/pinned/{commit}"
            arguments = ("fetch", "--no-tags", "--quiet", "origin", refspec)
            answer = run_git(self.path, *arguments, transport=True, bounds=self._bounds(self.path))
            if answer.stopped or (is_transient(answer.stderr) and not is_gone(answer.stderr)):
                raise self._failure("fetch from", answer)
        return self._commit(commit) is not None

    def _remote_refs(self) -> dict[str, str]:
        bounds = Bounds(git_limits.LISTING_S)
        answer = self._run(None, "ls-remote", "--", self.source.address, doing="reach", bounds=bounds)
        lines = (line.split("\t", 1) for line in answer.stdout.splitlines() if "\t" in line)
        listing = {name: commit for commit, name in lines}
        if not listing:
            other = (
                ", or what answers there is none: check the address" if self.source.kind is SourceKind.REMOTE else ""
            )
            msg = f"{self.source.address} is an empty repository{other}; commit something to it first"
            raise CloneFailed(msg)
        return listing

    def _create(self, listing: dict[str, str]) -> None:
        for abandoned in self._folder.glob(f"{self.path.name}.*.partial"):
            shutil.rmtree(abandoned, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"{self.path.name}.", suffix=".partial"))
        try:
            kind = "sha256" if len(next(iter(listing.values()))) == 64 else "sha1"
            self._run(None, "init", "--quiet", "--bare", "--template=", f"--object-format={kind}", str(scratch))
            self._run(scratch, "config", "remote.origin.url", self.source.address)
            self._fetch(scratch, listing)
            scratch.rename(self.path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _fetch(self, path: Path, listing: dict[str, str]) -> None:
        refspecs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        if "HEAD" in listing:
            refspecs.append(f"+HEAD:{_HEAD}")
        fetch = ["fetch", "--quiet", "--force", "--prune", "--no-tags", "--update-shallow", "--no-write-fetch-head"]
        whole = (*fetch, "origin", *refspecs)
        if self.source.kind is SourceKind.REMOTE:
            # Files' contents come with the checkout; a server that cannot filter sends everything.
            partial = (*fetch, "--filter=blob:none", "origin", *refspecs)
            was_partial = self._is_partial(path)
            answer = run_git(path, *partial, transport=True, bounds=self._bounds(path))
            if answer.status == 0 and not answer.stopped:
                return
            # A copy that lacks contents would never get them as one that is said to be whole.
            stopped = answer.stopped is not None and answer.stopped.bound is not Bound.PROCESSES
            if was_partial or stopped or is_final(answer.stderr):
                raise self._failure("fetch from", answer)
            for setting in ("remote.origin.promisor", "remote.origin.partialclonefilter", "extensions.partialclone"):
                run_git(path, "config", "--unset", setting)
        self._run(path, *whole, doing="fetch from", bounds=self._bounds(path))

    @staticmethod
    def _bounds(path: Path) -> Bounds:
        return Bounds(git_limits.FETCH_S, {path: git_limits.MAX_COPY_BYTES})

    @staticmethod
    def _is_partial(path: Path) -> bool:
        """Whether contents are left on the server until they are needed."""
        return run_git(path, "config", "--get", "remote.origin.promisor").status == 0

    def _resolve(self, ref: str | None, listing: dict[str, str]) -> str:
        if ref is None or ref == "HEAD":
            return self._head(listing)
        names = [name for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref) if name in listing]
        commits = [self._commit(listing[name]) for name in names if name.startswith("refs/")]
        if len(set(commits)) > 1:
            msg = (
                f"{ref!r} is both a branch and a tag of {self.source.address}; give refs/heads/{ref} or refs/tags/{ref}"
            )
            raise CloneFailed(msg)
        commit = commits[0] if commits else None
        if names and commit is None:
            raise self._not_there(ref, listing[names[0]])
        if commit is None and not commits and _SHORT_HASH.fullmatch(ref):
            commit = self._commit(ref.lower())
        if commit is None and _FULL_HASH.fullmatch(ref.lower()) and self.fetch_commit(ref.lower()):
            commit = ref.lower()
        if commit is None:
            raise CloneFailed(self._unknown_ref(ref, listing))
        return commit

    def _head(self, listing: dict[str, str]) -> str:
        branches = [name for name in listing if name.startswith("refs/heads/")]
        if "HEAD" in listing:
            commit = self._commit(listing["HEAD"])
            if commit is None:
                raise self._not_there("HEAD", listing["HEAD"])
        else:
            commit = self._commit(listing[branches[0]]) if len(branches) == 1 else None
        if commit is None:
            msg = f"{self.source.address} has no HEAD; say which of its branches or tags to take with --ref" + _some(
                listing
            )
            raise CloneFailed(msg)
        return commit

    def _not_there(self, ref: str, name: str) -> CloneFailed:
        """What `ref` named when we asked is not in what was sent a moment later, or it is something else."""
        kind = run_git(self.path, "cat-file", "-t", name).stdout.strip()
        if kind:
            return CloneFailed(f"{ref!r} of {self.source.address} names a {kind}, not a commit; give another --ref")
        msg = f"{ref!r} of {self.source.address} moved while it was fetched. Run this again"
        return CloneFailed(msg, transient=True)

    def _unknown_ref(self, ref: str, listing: dict[str, str]) -> str:
        ambiguous = run_git(self.path, "rev-parse", f"--disambiguate={ref}") if _SHORT_HASH.fullmatch(ref) else None
        if ambiguous and len(ambiguous.stdout.split()) > 1:
            return f"{ref!r} is the beginning of several hashes in {self.source.address}; give more digits"
        return (
            f"{self.source.address} has no branch, tag or commit {ref!r}; check the spelling of --ref{_some(listing)}"
        )

    def _commit(self, name: str) -> str | None:
        """The commit that a hash (of a commit or an annotated tag) means; never a name of a ref."""
        if not re.fullmatch(r"[0-9a-f]{4,64}", name):
            return None
        answer = run_git(self.path, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        found = answer.stdout.strip()
        # A branch may be called `beef`: git would take it before the hash.
        return found if answer.status == 0 and (found.startswith(name) or len(name) >= 40) else None

    def _named(self, commit: str, links: dict[str, str]) -> tuple[SubmoduleLink, ...]:
        """The submodules of a commit, with what its `.gitmodules` says about them."""
        if not links:
            return ()
        blob = f"--blob={commit}:.gitmodules"
        answer = run_git(self.path, "config", "--no-includes", blob, "--list", "-z", transport=True)
        settings = dict(line.partition("\n")[::2] for line in answer.stdout.split("\0") if line)
        names = {
            value: key.removeprefix("submodule.").removesuffix(".path")
            for key, value in settings.items()
            if key.startswith("submodule.") and key.endswith(".path")
        }
        return tuple(
            SubmoduleLink(path, pinned, names.get(path, ""), settings.get(f"submodule.{names.get(path)}.url", ""))
            for path, pinned in links.items()
        )

    def _run(
        self,
        path: Path | None,
        *arguments: str,
        environment: dict[str, str] | None = None,
        doing: str = "read",
        bounds: Bounds | None = None,
    ) -> GitAnswer:
        # A partial copy may ask the server for contents at any time.
        answer = run_git(path, *arguments, transport=True, environment=environment, bounds=bounds)
        if answer.status != 0 or answer.stopped:
            raise self._failure(doing, answer)
        return answer

    def _failure(self, doing: str, answer: GitAnswer) -> CloneFailed:
        address = self.source.address
        if answer.stopped:
            return CloneFailed(f"cannot {doing} {address}: {answer.stopped.advice}")
        message = f"cannot {doing} {address}: {explain(answer.stderr, address=address)}"
        return CloneFailed(message, transient=is_transient(answer.stderr))


def _some(listing: dict[str, str]) -> str:
    """A few of the names that would have worked."""
    names = [name.removeprefix("refs/heads/") for name in listing if name.startswith("refs/heads/")]
    tags = [name.removeprefix("refs/tags/") for name in listing if name.startswith("refs/tags/") and "^{}" not in name]
    shown = ", ".join([*names[:5], *tags[-5:]])
    return scrub(f" (it has {len(names)} branches and {len(tags)} tags, such as {shown})")
