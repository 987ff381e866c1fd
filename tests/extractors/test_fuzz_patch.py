"""The patch reader meets text of any kind: a documented refusal or the exact result, never a guess; and code of any kind."""

import os
import subprocess
import time

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extractors.call_graph import FunctionRef
from extractors.diff import FileChange, apply_patch, make_patches
from extractors.hunks import changed_regions, split_lines
from extractors.languages.python_calls import PythonCallGraph
from extractors.syntax import definitions_in, parse
from schemas.repo import Language

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How much more to try than CI does."""

pieces = st.sampled_from(
    ["a", "b", "ab", "\n", "\n", "\n", "\r", "\f", "\u2028", "é", "+", "-", " ", "@@ -1 +1 @@", "\\ No"]
)
files = st.lists(pieces, max_size=24).map("".join)
hunk_lines = st.sampled_from(
    ["@@ -1 +1 @@", "@@ -1,2 +1,2 @@", "@@ -0,0 +1 @@", "@@ -1 +0,0 @@", "@@ -2,3 +2,4 @@ def f():", "-a", "+b", " a", "-", "+", " ",
     "\\ No newline at end of file", "--- a/f", "+++ b/f", "diff --git a/f b/f", "@@ -99999999999999999999,9 +1 @@", ""]
)  # fmt: skip


def answer(before, patch):
    """The result, or `None` where the patch is refused as documented."""
    try:
        return apply_patch(before, patch)
    except ValueError:
        return None


@settings(max_examples=300 * TIMES, deadline=None)
@given(before=st.binary(max_size=60), patch=st.text(st.characters(), max_size=200))
@example(before=b"", patch="--- a\n+++ b\n@@ -1 +1 @@\n-\ud800\n+x\n")
@example(before=b"", patch=f"--- a\n+++ b\n@@ -{'9' * 5000} +1 @@\n-a\n+x\n")
@example(before=b"", patch="--- a\n+++ b\n@@ -1,999999999999 +1 @@\n-a\n")
def test_any_text_is_read_or_refused(before, patch):
    answer(before, patch)
    try:
        changed_regions(patch)
    except ValueError:
        return


@st.composite
def patched(draw):
    """A file, and a patch made by hand for it that fits, or nearly."""
    before = draw(files)
    lines = before.split("\n")
    lines = [*[line + "\n" for line in lines[:-1]], *([lines[-1]] if lines[-1] else [])]
    patch, at, grown = "--- a/f.py\n+++ b/f.py\n", 0, 0
    for number in range(draw(st.integers(1, 3))):
        if number and at == len(lines):
            break
        # Hunks that touch are git's to join, and what it makes of two at one place is not what they say.
        start = draw(st.integers(at + (number > 0), len(lines)))
        count = draw(st.integers(0, len(lines) - start))
        body, added, removed = "", 0, 0
        for line in [*lines[start : start + count], None]:
            for new in draw(st.lists(st.sampled_from(["x", "", "+y", "é"]), max_size=2)):
                body += f"+{new}\n"
                added += 1
            if line is not None:
                sign = draw(st.sampled_from([" ", " ", "-"]))
                removed += sign == "-"
                body += sign + line + ("" if line.endswith("\n") else "\n\\ No newline at end of file\n")
        numbers = [start + (count > 0), count, start + grown + (count - removed + added > 0), count - removed + added]
        if draw(st.integers(0, 4)) == 0:
            wrong = draw(st.integers(0, 3))
            numbers[wrong] = max(0, numbers[wrong] + draw(st.sampled_from([-1, 1])))
        patch += "@@ -{},{} +{},{} @@\n".format(*numbers) + body
        at, grown = start + count, grown + added - removed
    return before.encode(), patch


@settings(max_examples=300 * TIMES, deadline=None)
@given(pair=patched(), place=st.integers(min_value=0), line=st.none() | hunk_lines)
def test_a_patch_made_by_hand_gives_what_it_says_or_is_refused(pair, place, line):
    before, patch = pair
    if line is not None:
        lines = patch.split("\n")
        lines[place % len(lines)] = line
        patch = "\n".join(lines)
    result = answer(before, patch)
    if result is not None:
        assert says_so(before, patch, result)


@settings(max_examples=100 * TIMES, deadline=None)
@given(pair=patched())
def test_a_patch_made_by_hand_means_the_same_to_git_or_is_refused(tmp_path_factory, pair):
    before, patch = pair
    result = answer(before, patch)
    if result is not None and before and result != before:
        assert by_git(tmp_path_factory.mktemp("git"), before, patch) in {result, None}


def says_so(before, patch, after):
    """Whether `after` is `before` with the patch's regions changed, by counting alone: no text of the patch is read."""
    old, new = split_lines(before), split_lines(after)
    at_old = at_new = 0
    for region in changed_regions(patch):
        same = region.old_start - at_old
        if old[at_old : region.old_start] != new[at_new : at_new + same] or at_new + same != region.new_start:
            return False
        at_old, at_new = region.old_end, region.new_end
    return old[at_old:] == new[at_new:]


@settings(max_examples=40 * TIMES, deadline=None)
@given(pairs=st.lists(st.tuples(files, files), min_size=1, max_size=20), other=files)
def test_a_patch_fits_its_own_file_and_no_file_that_differs_where_it_looks(pairs, other):
    changes = [FileChange("f.py", before.encode(), after.encode()) for before, after in pairs]
    for change, patch in zip(changes, make_patches(changes), strict=True):
        assert apply_patch(change.before, patch) == change.after
        result = answer(other.encode(), patch)
        if result is not None:
            assert says_so(other.encode(), patch, result)
            for region in changed_regions(patch):
                seen = slice(region.old_start, region.old_end)
                assert split_lines(other.encode())[seen] == split_lines(change.before)[seen]


@settings(max_examples=25 * TIMES, deadline=None)
@given(
    pairs=st.lists(st.tuples(files, files).filter(lambda pair: pair[0] != pair[1]), min_size=4, max_size=12),
    place=st.integers(min_value=0), put=pieces, drop=st.integers(0, 3),
)  # fmt: skip
def test_a_changed_patch_is_refused_or_means_the_same_to_git(tmp_path_factory, pairs, place, put, drop):
    folder = tmp_path_factory.mktemp("git")
    changes = [FileChange("f.py", before.encode(), after.encode()) for before, after in pairs]
    for change, patch in zip(changes, make_patches(changes), strict=True):
        header, _, hunks = patch.partition("@@ ")
        at = place % (len(hunks) + 1)
        mutated = header + "@@ " + hunks[:at] + put + hunks[at + drop :]
        result = answer(change.before, mutated)
        if result is not None and mutated != patch and change.before:
            assert by_git(folder, change.before, mutated) in {result, None}


def by_git(folder, before, patch):
    """What git makes of it; `None` where git refuses."""
    (folder / "f.py").write_bytes(before)
    (folder / "p").write_bytes(patch.encode())
    command = ["git", "apply", "--unidiff-zero", "--whitespace=nowarn", "p"]
    environment = {"PATH": os.environ["PATH"], "GIT_CEILING_DIRECTORIES": str(folder.parent), "LC_ALL": "C"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    return (folder / "f.py").read_bytes() if done.returncode == 0 and (folder / "f.py").exists() else None


# --- code

WORDS = ["def f", "class A", "(", ")", ":", "\n", "\n    ", "\n        ", "return ", "g()", "self.", "lambda x: ", "import a", "from . import b",
         "@", "if x", "else", "for i in ", "[", "]", "{", "}", "=", ",", "async ", "await ", "yield ", "match x", "case _", "'", '"""', "f'{", "\\\n",
         "\x00", "\ufeff", "é", "*", "**k", "a.b.c", "import a.b as c", "from m import *", "global x", "nonlocal y", "super().__init__()", ":=", "\t", "#"]  # fmt: skip
code = st.lists(st.sampled_from(WORDS), max_size=60).map("".join)


class _Files:
    def __init__(self, contents):
        self._contents = contents
        self.source_files = tuple(sorted(contents))
        self.test_files = ()

    def tree(self, path):
        return parse(self._contents[path], Language.PYTHON) if path in self._contents else None


def index(content):
    """Definitions and calls of a file, as the index asks for them; returns the names."""
    tree = parse(content, Language.PYTHON)
    found = [one.name for one in definitions_in(tree, Language.PYTHON)]
    graph = PythonCallGraph(_Files({"m.py": content, "pkg/__init__.py": content, "a.py": b"def g(): pass\n"}))
    for name in found:
        for path in ("m.py", "pkg/__init__.py"):
            graph.callees(FunctionRef(path, name))
    return found


@settings(max_examples=80 * TIMES, deadline=None)
@given(content=code.map(str.encode) | st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@example(content=b"def f():\n    return " + b"(" * 5000 + b")" * 5000)
@example(content=b"def f(): return " + b"-" * 20000 + b"1\n")
@example(content=b"def f(): return a" + b".b" * 10000 + b"()\n")
@example(content=b"".join(b" " * depth + b"def f%d():\n" % depth for depth in range(400)))
@example(content=b"".join(b" " * depth + b"class A%d:\n" % depth for depth in range(400)))
@example(content=b"def f():\n" + b"".join(b" " * depth + b"if x:\n" for depth in range(1, 1500)))
@example(content=b"x = f(" * 3000)
@example(content=b"def f():\n  " + b"[" * 3000 + b"a" + b"]" * 3000 + b" = g()\n")
@example(content=b"def f():\n  for " + b"(" * 3000 + b"a" + b",)" * 3000 + b" in x: g()\n")
@example(content=b"x = " + b"a + " * 10000 + b"1\ndef f(): return x\n")
@example(content=b"def f(self):\n  self" + b".a" * 5000 + b" = 1\n")
@example(content=b"def f(): " + b"lambda: " * 3000 + b"g()\n")
@example(content=b"import a\n" + b"from m import *\n" * 500 + b"def f(): g()\n")
def test_any_code_is_indexed_without_an_error_and_soon(content):
    began = time.process_time()
    for name in index(content):
        assert isinstance(name, str)
    assert time.process_time() - began < 20
