"""Keep out tasks that are there already: the same bug or text, or nearly, in this repository or in a copy of it."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from schemas.errors import MissingExtra
from task_registry.gates.gate import Facts, Finding, GateSettings

SHINGLE = 3
"""Words that are taken together."""
PERMUTATIONS = 128
"""Of MinHash: similarities are right to some hundredths."""
WITHOUT_SUBJECT = frozenset({"nothing", "bug_kind"})
"""Styles of texts that are to say nothing of where the bug is or what it does: that two are equal is no sign."""
_WORD = re.compile(r"\w+|[^\w\s]")
_HEADER = re.compile(r"^(diff |index |--- |\+\+\+ |@@ |old mode|new mode|similarity |rename )", re.MULTILINE)


def check(tasks: Sequence[Facts], settings: GateSettings) -> Mapping[str, Finding]:
    """See `Gate`. Reasons: `fork`, `copied_file`, `same_bug`, `same_text`, `near_bug`, `near_text`, `copied_bug`.

    Of tasks that are alike, the one with the first id is kept. A bug is its patch without paths, line numbers and
    indentation, so a file that was copied from another repository, or a fork's, has the same bugs: `copied_bug`. Texts
    whose style is to say little are not compared.
    """
    found: dict[str, Finding] = dict(_copies(sorted(tasks)))
    for kind, text_of in (("bug", bug_of), ("text", statement_of)):
        kept = [task for task in sorted(tasks) if task.instance_id not in found]
        if kind == "text":
            kept = [task for task in kept if task.issue_style not in WITHOUT_SUBJECT]
        found |= _same(kept, kind, text_of)
        kept = [task for task in kept if task.instance_id not in found]
        found |= _near(kept, kind, text_of, threshold=settings.near)
    return found


def _copies(tasks: Sequence[Facts]) -> Iterator[tuple[str, Finding]]:
    """Tasks in a file that another repository has tasks in: one of the same history and path, or of equal words.

    Bugs in it may differ, and yet who knows one repository's tasks has seen the other's code.
    """
    first: dict[tuple[str, str], Facts] = {}
    for task in tasks:
        files = {("copied_file", task.source_hash)} if task.source_hash else set()
        files |= {("fork", f"{root}:{task.path}") for root in task.roots}
        known = [(kind, first[kind, which]) for kind, which in sorted(files) if (kind, which) in first]
        other = next(((kind, one) for kind, one in known[::-1] if one.repo.lower() != task.repo.lower()), None)
        if other is not None:
            yield task.instance_id, Finding(other[0], f"{task.path}, as in {other[1].instance_id}")
        else:
            first |= {file: task for file in files if file not in first}


def bug_of(task: Facts) -> str:
    """What a bug patch changes and what is around it, wherever it stands."""
    lines = [line for line in task.bug_patch.split("\n") if not _HEADER.match(line)]
    return "\n".join(line[:1] + " ".join(line[1:].split()) for line in lines if line.strip())


def statement_of(task: Facts) -> str:
    """The words of the issue's text."""
    return " ".join(task.problem_statement.split())


def _same(tasks: Sequence[Facts], kind: str, text_of: Callable[[Facts], str]) -> Iterator[tuple[str, Finding]]:
    first: dict[bytes, Facts] = {}
    for task in tasks:
        known = first.setdefault(hashlib.sha256(text_of(task).encode()).digest(), task)
        if known is not task:
            reason = f"copied_{kind}" if kind == "bug" and known.repo != task.repo else f"same_{kind}"
            yield task.instance_id, Finding(reason, f"as in {known.instance_id}")


def _near(
    tasks: Sequence[Facts], kind: str, text_of: Callable[[Facts], str], *, threshold: float
) -> Iterator[tuple[str, Finding]]:
    """Candidates come from MinHash and are then compared for real, so that no estimate keeps a task out."""
    if threshold > 1:
        return
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise MissingExtra(
            "datasketch is not installed. Near duplicates are found with it: pip install 'gymforge[release]'."
        ) from error
    index = MinHashLSH(threshold=max(0.0, threshold - 0.1), num_perm=PERMUTATIONS)
    shingles: dict[str, frozenset[str]] = {}
    for task in tasks:
        own = frozenset(_shingles(text_of(task)))
        sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch([one.encode() for one in sorted(own)])
        alike = [(_similarity(own, shingles[other]), other) for other in sorted(index.query(sketch))]
        best = max(alike, default=(0.0, ""), key=lambda one: one[0])
        if best[0] >= threshold:
            yield task.instance_id, Finding(f"near_{kind}", f"{best[0]:.2f} like {best[1]}")
        else:
            index.insert(task.instance_id, sketch)
            shingles[task.instance_id] = own


def _shingles(text: str) -> Iterator[str]:
    words = _WORD.findall(text)
    for start in range(max(1, len(words) - SHINGLE + 1)):
        yield " ".join(words[start : start + SHINGLE])


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's: what both have, of all that either has."""
    return len(one & other) / len(one | other) if one or other else 1.0
