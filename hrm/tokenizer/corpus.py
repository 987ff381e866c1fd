"""The corpus of the bundled tokenizer: pinned, permissively licensed repositories, read through git."""

import hashlib
import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from pydantic import Field

from schemas.errors import CloneFailed
from schemas.model import Model

_MAX_FILE_BYTES = 200_000
_MAX_MEAN_LINE = 120
_NOT_WRITTEN_BY_HAND = re.compile(
    rb"(?i)@generated|generated (code|by|from|file)|auto[- ]?generated|code generated|do not (edit|modify)"
)
_NOT_THEIRS = re.compile(
    r"(^|/)(_?vendor|node_modules|third_party|third-party|external|bundled|dist|fixtures?|testdata|benchmark_data)/"
    r"|\.min\.|\.d\.ts$|\.pb\.|_pb2"
)
SUFFIXES = {
    "python": (".py",),
    "javascript": (".js", ".mjs", ".jsx", ".ts", ".tsx"),
    "go": (".go",),
    "rust": (".rs",),
    "java": (".java",),
    "cpp": (".c", ".cc", ".cpp", ".h", ".hpp"),
}
"""File name endings by family of languages."""
TEXT_SUFFIXES = (".md", ".rst")


class CorpusSource(Model):
    """One repository of the corpus."""

    repo: str
    """`owner/name` on GitHub."""
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    license_spdx: str
    """From the repository's own licence file."""
    family: str
    """Family of languages that its files are taken for."""
    held_out: bool = False
    """Kept from training, and measured on."""


class Text(NamedTuple):
    """A file of the corpus."""

    path: str
    content: str
    size_bytes: int


def sources() -> tuple[CorpusSource, ...]:
    """The repositories of the bundled tokenizer's corpus."""
    listed = tomllib.loads((resources.files("hrm.tokenizer") / "sources.toml").read_text(encoding="utf-8"))
    return tuple(CorpusSource.model_validate(source) for source in listed["source"])


def fetch(source: CorpusSource, folder: Path) -> Path:
    """The bare repository of a source at its commit, in `folder`; kept there for the next time.

    Raises:
        CloneFailed: the repository cannot be had.
    """
    place = folder / source.repo.replace("/", "+")
    if _git(place, "cat-file", "-e", f"{source.commit}^{{commit}}").returncode == 0:
        return place
    subprocess.run(["git", "init", "--quiet", "--bare", str(place)], check=True)
    url = f"https://github.com/{source.repo}"
    done = _git(place, "fetch", "--quiet", "--depth", "1", url, source.commit)
    if done.returncode:
        raise CloneFailed(f"cannot fetch {url} at {source.commit}: {done.stderr.decode(errors='replace').strip()}")
    return place


def read(repository: Path, commit: str, *, suffixes: tuple[str, ...], limit_bytes: int) -> Iterator[Text]:
    """Files that people wrote, up to a number of bytes, in an order by the hash of their path: a fair sample.

    What is generated, minified, another project's, very large or not UTF-8 is passed over.
    """
    listed = _git(repository, "ls-tree", "-r", "-z", "--name-only", commit).stdout.decode(errors="replace").split("\0")
    paths = [
        path
        for path in listed
        if PurePosixPath(path).suffix in suffixes and not _NOT_THEIRS.search(path) and "\n" not in path
    ]
    taken = 0
    paths.sort(key=lambda path: hashlib.sha256(path.encode()).digest())
    for path, raw in zip(paths, _contents(repository, commit, paths), strict=True):
        if taken + len(raw) > limit_bytes or not _is_written_by_hand(raw):
            continue
        try:
            yield Text(path, raw.decode(), len(raw))
        except UnicodeDecodeError:
            continue
        taken += len(raw)


def _contents(repository: Path, commit: str, paths: Sequence[str]) -> Iterator[bytes]:
    """Contents of files, in order; nothing for one that the repository lacks."""
    command = ["git", "--git-dir", str(repository), "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as git:
        questions, answers = cast("IO[bytes]", git.stdin), cast("IO[bytes]", git.stdout)
        for path in paths:
            questions.write(f"{commit}:{path}\n".encode())
            questions.flush()
            header = answers.readline().split()
            if header[-1] == b"missing":
                yield b""
                continue
            yield answers.read(int(header[2]))
            answers.read(1)


def _is_written_by_hand(raw: bytes) -> bool:
    lines = raw.count(b"\n") + 1
    return (
        0 < len(raw) <= _MAX_FILE_BYTES
        and len(raw) / lines <= _MAX_MEAN_LINE
        and not _NOT_WRITTEN_BY_HAND.search(raw[:2_000])
    )


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "--git-dir", str(repository), *arguments], capture_output=True, check=False)
