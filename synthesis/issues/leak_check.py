"""Find what an issue text gives away beyond what its style may reveal; pure, and independent of the writers.

The rules, in full (docs/issues.md says the same for readers):

Fix, in every style. An added line of the fix may not occur in the text, white space left out of the comparison.
A line counts when it has at least eight characters other than white space and holds a word that is no keyword
(`else:`, `return None` and `continue` say nothing). It may occur where the source of a failing test has it too:
the test is in the tree that the reader gets.

Files, unless revealed. Neither the changed file's path nor its base name, nor its dotted module path (two parts or
more), nor its bare module name where that is used as a module (`series.` before a name, `import series`,
`from series`) and the failing tests do not use the same word for something of their own.

Functions, unless revealed. No part of the changed entity's dotted name. A part that could be an ordinary word (lower
case letters only) counts as a mention inside code or before a parenthesis alone; any other part counts anywhere.
A style that reveals behaviour may name what a failing test's own source names: that is the call that goes wrong.

Tests, unless revealed. No id of a failing test, no path, base name or module name of its file, none of its function
and class names, ordinary words judged as above.
"""

import keyword
import re
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from synthesis.issues.context import IssueContext, Reveal
from synthesis.issues.names import bound_names, identifiers

MIN_FIX_CHARS = 8
_WORD = re.compile(r"[^\W\d]\w*")
_ORDINARY = re.compile(r"[a-z]+\Z")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_EMPTY_WORDS = frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | {"self", "cls", "null", "true", "false"}


class LeakKind(StrEnum):
    """What was given away."""

    FIX = "the fix"
    FILE = "a file"
    FUNCTION = "a function"
    TEST = "a test"


class Leak(NamedTuple):
    kind: LeakKind
    found: str
    """The path, name or line that the text gives away."""


def find_leaks(text: str, context: IssueContext, *, reveals: frozenset[Reveal]) -> tuple[Leak, ...]:
    """Everything in `text` that a style with these `reveals` may not say; empty where it keeps its promise."""
    leaks = [Leak(LeakKind.FIX, line) for line in fix_lines_in(text, context)]
    if Reveal.TESTS in reveals:
        # An id holds paths and names by its nature, and parameters that may look like anything.
        for test in sorted(context.fail_to_pass, key=len, reverse=True):
            text = text.replace(test, " ")
    else:
        leaks += [Leak(LeakKind.TEST, name) for name in _tests_in(text, context)]
    if Reveal.FILES not in reveals:
        leaks += [Leak(LeakKind.FILE, name) for name in _files_in(text, context)]
    if Reveal.FUNCTIONS not in reveals:
        allowed = _named_by_tests(context) if Reveal.BEHAVIOUR in reveals else frozenset()
        leaks += [Leak(LeakKind.FUNCTION, name) for name in _functions_in(text, context, allowed=allowed)]
    return tuple(dict.fromkeys(leaks))


def significant_fix_lines(fix_patch: str) -> tuple[str, ...]:
    """Added lines of a patch that would say what to write, without surrounding white space."""
    return tuple(dict.fromkeys(line.strip() for line in _added_lines(fix_patch) if _is_significant(line)))


def fix_lines_in(text: str, context: IssueContext) -> tuple[str, ...]:
    """Significant lines of the fix that a text holds and no failing test's source does."""
    compact_text = _compact(text)
    found = [line for line in significant_fix_lines(context.fix_patch) if _compact(line) in compact_text]
    if not found:
        return ()
    sources = [_compact(source) for source in _sources(context)]
    return tuple(line for line in found if not any(_compact(line) in source for source in sources))


def module_names(path: str) -> tuple[str, tuple[str, ...]]:
    """A file's bare module name (empty where it has none of its own), and its dotted paths from two parts on."""
    pure = PurePosixPath(path)
    parts = list(pure.parts[:-1]) if pure.stem == "__init__" else [*pure.parts[:-1], pure.stem]
    dotted = tuple(".".join(parts[start:]) for start in range(len(parts) - 1))
    is_top_package = pure.stem == "__init__" and len([part for part in parts if part not in {"src", "lib"}]) < 2
    return ("" if is_top_package or not parts else parts[-1]), tuple(name for name in dotted if "." in name)


def _added_lines(patch: str) -> list[str]:
    lines: list[str] = []
    in_hunk = False
    for line in patch.split("\n"):
        if line.startswith("diff --git "):
            in_hunk = False
        elif line.startswith("@@"):
            in_hunk = True
        elif in_hunk and line.startswith("+"):
            lines.append(line[1:])
    return lines


def _is_significant(line: str) -> bool:
    words = [word for word in _WORD.findall(line) if word not in _EMPTY_WORDS]
    return bool(words) and len(_compact(line)) >= MIN_FIX_CHARS


def _compact(text: str) -> str:
    return "".join(text.split())


def _sources(context: IssueContext) -> list[str]:
    return [context.test_sources[test] for test in context.fail_to_pass if test in context.test_sources]


def _files_in(text: str, context: IssueContext) -> list[str]:
    path = context.candidate.entity.path
    stem, dotted = module_names(path)
    found = [name for name in (path, PurePosixPath(path).name, *dotted) if _mentions(text, name)]
    if stem and re.search(_module_use(stem), text) and stem not in _bound_by_tests(context):
        found.append(stem)
    return found


def _module_use(stem: str) -> str:
    name = re.escape(stem)
    return rf"(?<![\w.]){name}\.(?=[^\W\d])|\b(?:import|from)\s+{name}\b"


def _functions_in(text: str, context: IssueContext, *, allowed: frozenset[str]) -> list[str]:
    parts = dict.fromkeys(context.candidate.entity.name.split("."))
    return [part for part in parts if part and part not in allowed and _names(text, part)]


def _tests_in(text: str, context: IssueContext) -> list[str]:
    paths: dict[str, None] = {}
    names: dict[str, None] = {}
    for test in context.fail_to_pass:
        path, *inner = test.split("[", 1)[0].split("::")
        paths[path] = None
        names.update(dict.fromkeys(inner))
    found = [test for test in context.fail_to_pass if test in text]
    for path in paths:
        stem, dotted = module_names(path)
        found += [name for name in (path, PurePosixPath(path).name, *dotted) if _mentions(text, name)]
        names[stem] = None
    # pytest names a test's temporary folder after it: cut, and with a number behind it
    return found + [name for name in names if name and (_names(text, name) or _mentions(text, f"{name[:30]}0"))]


def _names(text: str, name: str) -> bool:
    """Whether a text mentions a name, and not just a word that looks like it."""
    if name not in text:
        return False
    if not _ORDINARY.match(name):
        return _mentions(text, name)
    if re.search(rf"\b{re.escape(name)}\(", text):
        return True
    return any(_mentions(code, name) for code in _CODE.findall(text))


def _mentions(text: str, name: str) -> bool:
    return name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _named_by_tests(context: IssueContext) -> frozenset[str]:
    return frozenset(name for source in _sources(context) for name in identifiers(source))


def _bound_by_tests(context: IssueContext) -> frozenset[str]:
    return frozenset(name for source in _sources(context) for name in bound_names(source))
