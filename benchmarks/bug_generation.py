"""Generate all candidate bugs of a repository and check, by means of its own, that nothing else in the files changed.

Prints JSON: counts by strategy and reason, seconds, and what was lost. The checks use the syntax tree and real git, and
share no code with the splicing that they check.
"""

import argparse
import ast
import io
import json
import subprocess
import tempfile
import time
import tokenize
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

REMOVES_NOTHING = frozenset({"op_change", "op_change_const", "flip_operators", "ctrl_invert_if", "ctrl_shuffle"})
KEEPS_TOKENS = frozenset({"op_change", "flip_operators"})
OPERATORS = frozenset(
    {"+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>", "and", "or", "==", "!=", "<", ">", "<=", ">="}
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", help="URL, path or bundle of a repository")
    parser.add_argument("--ref", help="branch, tag or commit; the default branch without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--unchecked", action="store_true", help="only generate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-benchmark-") as scratch:
        print(json.dumps(measure(options, Path(scratch)), indent=2))


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, object]:
    from extractors.acquire import acquire
    from extractors.profile import profile_repository
    from synthesis.generate import generate

    checkout = acquire(options.repo, ref=options.ref, cache_dir=scratch / "cache", destination=scratch / "tree")
    profile = profile_repository(checkout.path)
    started = time.perf_counter()
    made = generate(checkout.path, profile, seed=options.seed, workers=options.workers)
    seconds = time.perf_counter() - started
    figures: dict[str, object] = {
        "repo": checkout.ref.name,
        "commit": checkout.ref.commit,
        "seed": options.seed,
        "workers": options.workers,
        "source_files": len(profile.source_files),
        "candidates": len(made.candidates),
        "by_strategy": dict(sorted(Counter(one.strategy for one in made.candidates).items())),
        "rejected": len(made.rejected),
        "by_reason": dict(sorted(Counter(one.reason.value for one in made.rejected).items())),
        "seconds": round(seconds, 2),
        "candidates_per_second": round(len(made.candidates) / seconds, 1),
    }
    if not options.unchecked:
        figures |= check(checkout.path, made.candidates)
    return figures


def check(tree: Path, candidates: Iterable) -> dict[str, int]:
    """What the patches do to their files, as git applies them."""
    counts = Counter(
        patches_not_applying=0,
        longer_than_git_minimal=0,
        without_section_header=0,
        comments_lost=0,
        blank_lines_changed=0,
        spacing_changed=0,
    )
    for candidate in candidates:
        path = tree / candidate.entity.path
        clean = path.read_bytes()
        apply = ["git", "apply", "--whitespace=nowarn", "-"]
        # Without a repository around it, git applies to the folder that it stands in.
        done = subprocess.run(apply, cwd=tree, input=candidate.bug_patch.encode(), capture_output=True, check=False)
        bugged = path.read_bytes()
        path.write_bytes(clean)
        if done.returncode or bugged == clean:
            counts["patches_not_applying"] += 1
            continue
        counts["longer_than_git_minimal"] += changed_lines(candidate.bug_patch) > minimal_changed_lines(clean, bugged)
        counts["without_section_header"] += lacks_section_header(candidate.bug_patch)
        before, after = clean.decode("utf-8-sig"), bugged.decode("utf-8-sig")
        counts["comments_lost"] += len(lost_comments(before, after))
        if candidate.strategy in REMOVES_NOTHING:
            counts["blank_lines_changed"] += blank_lines(before) != blank_lines(after)
        if candidate.strategy in KEEPS_TOKENS:
            counts["spacing_changed"] += spacing_differs(before, after)
    return dict(counts)


def changed_lines(patch: str) -> int:
    return sum(line.startswith(("+", "-")) and not line.startswith(("+++ ", "--- ")) for line in patch.split("\n"))


def minimal_changed_lines(before: bytes, after: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a").write_bytes(before)
        (Path(folder) / "b").write_bytes(after)
        command = ["git", "diff", "--no-index", "--minimal", "--numstat", "a", "b"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    added, removed = done.stdout.split()[:2]
    return int(added) + int(removed)


def lacks_section_header(patch: str) -> bool:
    """Whether a hunk that starts below the first lines of a file names no function or class."""
    headers = [line for line in patch.split("\n") if line.startswith("@@ ")]
    return not any(line.rpartition("@@")[2].strip() for line in headers)


def lost_comments(before: str, after: str) -> list[str]:
    """Comments that are gone although the code that they belong to is not."""
    old = [(token.string, token.start[0]) for token in tokens(before) if token.type == tokenize.COMMENT]
    gone = Counter(text for text, _ in old) - Counter(t.string for t in tokens(after) if t.type == tokenize.COMMENT)
    if not gone:
        return []
    allowed = rows_of_removed_code(before, after)
    lost = []
    for text, count in gone.items():
        excused = sum(row in allowed for comment, row in old if comment == text)
        lost.extend([text] * max(0, count - excused))
    return lost


def rows_of_removed_code(before: str, after: str) -> set[int]:
    """Rows, from 1, of statements that exist no more, with the comment block that touches each from above."""
    old, new = list(statements(before)), list(statements(after))
    headers = Counter(header(node) for node in new)
    kinds = Counter(type(node) for node in old) - Counter(type(node) for node in new)
    lines = before.splitlines()
    rows: set[int] = set()
    missing = Counter(header(node) for node in old) - headers
    for node in old:
        if kinds[type(node)] > 0 and missing[header(node)] > 0:
            first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
            while first > 1 and lines[first - 2].lstrip().startswith("#"):
                first -= 1
            rows.update(range(first, (node.end_lineno or node.lineno) + 1))
            if hasattr(node, "body"):
                rows.update(footer(lines, node))
    return rows


def footer(lines: list[str], node: ast.stmt) -> Iterable[int]:
    """Rows of comments under a block that are indented deeper than its header."""
    row = (node.end_lineno or node.lineno) + 1
    while row <= len(lines) and (not lines[row - 1].strip() or lines[row - 1].lstrip().startswith("#")):
        if lines[row - 1].strip() and len(lines[row - 1]) - len(lines[row - 1].lstrip()) > node.col_offset:
            yield row
        row += 1


def statements(source: str) -> Iterable[ast.stmt]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt))


def header(node: ast.stmt) -> str:
    """The statement without what is indented below it."""
    below = {"body", "orelse", "finalbody", "handlers"}
    fields = {name: value for name, value in ast.iter_fields(node) if name not in below}
    return type(node).__name__ + "".join(f"{name}={dump(value)}" for name, value in fields.items())


def dump(value: object) -> str:
    if isinstance(value, ast.AST):
        return ast.dump(value)
    return "".join(dump(item) for item in value) if isinstance(value, list) else repr(value)


def blank_lines(source: str) -> int:
    return sum(not line.strip() for line in source.splitlines())


def spacing_differs(before: str, after: str) -> bool:
    """Whether the layout between tokens differs, where only operators were replaced one by one."""
    old, new = list(spaced_tokens(before)), list(spaced_tokens(after))
    if len(old) != len(new):
        return False
    pairs = list(zip(old, new, strict=True))
    in_place = all(one.text == other.text or {one.text, other.text} <= OPERATORS for one, other in pairs)
    return in_place and any(one.gap != other.gap for one, other in pairs)


class Spaced(NamedTuple):
    text: str
    gap: tuple[int, int]
    """Rows down from the end of the token before, and columns; on a new row, columns from its start."""


def spaced_tokens(source: str) -> Iterable[Spaced]:
    previous = (1, 0)
    for token in tokens(source):
        if token.type in {tokenize.INDENT, tokenize.DEDENT}:
            continue
        same_row = token.start[0] == previous[0]
        gap = (token.start[0] - previous[0], token.start[1] - (previous[1] if same_row else 0))
        yield Spaced(token.string, gap)
        previous = token.end


def tokens(source: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(source).readline))


if __name__ == "__main__":
    main()
