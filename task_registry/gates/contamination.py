"""Keep out tasks that overlap with benchmarks a user names: their ids, repositories and commits, or their words.

A list is a file of a benchmark's rows: Parquet, JSON lines, JSON or CSV, with any of the columns `instance_id`, `repo`,
`base_commit`, `patch`, `test_patch`, `problem_statement`, `prompt`, `text`, `canonical_solution` (SWE-bench and those
like it, LiveCodeBench, HumanEval and MBPP have some of them). Or it is a folder of a benchmark's files, as Aider
polyglot's of Exercism's exercises: all texts in it count. Nothing is downloaded. Overlap of words is measured by
n-grams, as for GPT-3 (Brown et al., 2020, appendix C).
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import InvalidInput
from schemas.manifest import BenchmarkList
from storage.durable import sha256_of
from task_registry.gates.gate import Facts, Finding, GateSettings

NGRAM = 13
"""Words that are taken together."""
SHARE = 0.2
"""Of the n-grams of a task's text or of its patch, from which they are a benchmark's."""
TEXTS = ("problem_statement", "prompt", "text", "question_content", "patch", "test_patch", "canonical_solution", "code")
_WORD = re.compile(r"\w+")


class Benchmark(NamedTuple):
    """What a list holds."""

    name: str
    ids: frozenset[str]
    repos: frozenset[str]
    commits: frozenset[str]
    ngrams: frozenset[int]
    """Hashes of its n-grams, of this process."""


def check(tasks: Sequence[Facts], settings: GateSettings) -> Mapping[str, Finding]:
    """See `Gate`. Reasons: `date`, `instance`, `commit`, `repository`, `overlap`.

    Raises:
        InvalidInput: a list cannot be read, or has none of the columns.
    """
    benchmarks = [read_benchmark(Path(path)) for path in settings.benchmarks]
    found = {}
    for task in tasks:
        finding = _too_early(task, settings.since) or next(
            (finding for one in benchmarks if (finding := _finding(task, one)) is not None), None
        )
        if finding is not None:
            found[task.instance_id] = finding
    return found


def read_benchmark(path: Path) -> Benchmark:
    """A list from its file, or all texts of a folder.

    Raises:
        InvalidInput: it cannot be read, or has none of the columns; or the folder holds no text.
    """
    if path.is_dir():
        texts = _texts_in(path)
        none: frozenset[str] = frozenset()
        return Benchmark(path.name, none, none, none, frozenset(one for text in texts for one in ngrams(text)))
    rows = _rows(path)
    known = {*TEXTS, "instance_id", "task_id", "repo", "base_commit"}
    if not any(known & row.keys() for row in rows):
        raise InvalidInput(f"{path} is no list of a benchmark: it has none of the columns {', '.join(sorted(known))}")
    texts = [row[name] for row in rows for name in TEXTS if isinstance(row.get(name), str)]
    return Benchmark(
        name=path.stem,
        ids=frozenset(str(row[name]) for row in rows for name in ("instance_id", "task_id") if row.get(name)),
        repos=frozenset(str(row["repo"]).lower() for row in rows if row.get("repo")),
        commits=frozenset(str(row["base_commit"]) for row in rows if row.get("base_commit")),
        ngrams=frozenset(one for text in texts for one in ngrams(text)),
    )


def list_of(path: Path) -> BenchmarkList:
    """What a release records of a list.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        if path.is_dir():
            content = hashlib.sha256()
            for file in _files_in(path):
                content.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
            return BenchmarkList(name=path.name, sha256=content.hexdigest())
        return BenchmarkList(name=path.name, sha256=sha256_of(path))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read as a benchmark's list: {error.strerror}") from error


def ngrams(text: str) -> Iterator[int]:
    """Hashes of all runs of `NGRAM` words in lower case; none of a text with fewer."""
    words = _WORD.findall(text.lower())
    for start in range(len(words) - NGRAM + 1):
        yield hash(tuple(words[start : start + NGRAM]))


def _too_early(task: Facts, since: date | None) -> Finding | None:
    day = task.created_at.astimezone(UTC).date()
    return Finding("date", f"its commit is of {day}, before {since}") if since is not None and day < since else None


def _finding(task: Facts, benchmark: Benchmark) -> Finding | None:
    if task.instance_id in benchmark.ids:
        return Finding("instance", f"is in {benchmark.name}")
    if task.base_commit in benchmark.commits:
        return Finding("commit", f"{benchmark.name} has a task of {task.base_commit[:12]}")
    if task.repo.lower() in benchmark.repos:
        return Finding("repository", f"{benchmark.name} has tasks of {task.repo}")
    # Each by itself: a text that is a benchmark's to the word is, whatever patch it comes with.
    share = max(_share(text, benchmark) for text in (task.problem_statement, task.bug_patch))
    if share >= SHARE:
        return Finding("overlap", f"{share:.0%} of its runs of {NGRAM} words are in {benchmark.name}")
    return None


def _texts_in(folder: Path) -> list[str]:
    """What its files hold, but for those that are no text."""
    texts = []
    try:
        for file in _files_in(folder):
            with suppress(UnicodeDecodeError):
                texts.append(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read as a benchmark's files: {error.strerror}") from error
    if not texts:
        raise InvalidInput(f"{folder} is no benchmark: it holds no file with text")
    return texts


def _files_in(folder: Path) -> list[Path]:
    """Every file, but git's own."""
    inside = (path.relative_to(folder) for path in folder.rglob("*"))
    return sorted(folder / path for path in inside if ".git" not in path.parts and (folder / path).is_file())


def _share(text: str, benchmark: Benchmark) -> float:
    own = frozenset(ngrams(text))
    return len(own & benchmark.ngrams) / len(own) if own else 0.0


def _rows(path: Path) -> list[dict[str, Any]]:
    import polars as pl

    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".parquet": pl.read_parquet,
        ".jsonl": pl.read_ndjson,
        ".ndjson": pl.read_ndjson,
        ".json": pl.read_json,
        ".csv": pl.read_csv,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"{path} is no list that can be read: its name must end with {', '.join(readers)}")
    try:
        return reader(path).to_dicts()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(f"{path} cannot be read as a benchmark's list: {str(error).splitlines()[0]}") from error
