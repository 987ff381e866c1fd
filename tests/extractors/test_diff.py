"""Diffs: git agrees with what we write, and what we apply is exact to the byte."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.diff import FileChange, apply_patch, make_patch, make_patches
from extractors.hunks import Region, changed_regions
from schemas.errors import InvalidInput

GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
}
SAMPLE = b"import os\n\n\nclass Box:\n    size = 1\n\n    def area(self, width):\n        height = width\n        total = width\n        total *= height\n        total += 0\n        return total\n"

# Little alphabets make lines that repeat, which is where minimal diffs and exact positions are hard.
fragments = st.sampled_from(
    [
        "a",
        "b",
        "def f():",
        "class A:",
        "  ",
        "\n",
        "\r\n",
        "\r",
        "\f",
        "\x0b",
        "\x1c",
        "\u2028",
        "\x85",
        "é",
        "\U0001f600",
        "\\ No newline",
        "@@ -1 +1 @@",
        "--- a",
        "+",
        "-",
        "\t",
        "\0",
    ]
)
texts = st.lists(fragments, max_size=30).map("".join) | st.text(alphabet="a\n", max_size=40)


def git(*arguments, cwd):
    return subprocess.run(["git", *arguments], cwd=cwd, env=GIT_ENVIRONMENT, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    git("init", "-q", ".", cwd=root)
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "attributes").write_text("*.py diff=python\n")
    return root


def git_apply(root, path, before, patch, *options):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(before)
    (root / "the.patch").write_bytes(patch.encode())
    git("apply", "--check", *options, "the.patch", cwd=root)
    git("apply", "--whitespace=nowarn", *options, "the.patch", cwd=root)
    return target.read_bytes()


@settings(max_examples=120, deadline=None)
@given(before=texts, after=texts)
def test_applying_a_patch_gives_the_other_side_exactly(before, after):
    before, after = before.encode(), after.encode()

    assert apply_patch(before, make_patch("a.py", before, after)) == after


@settings(max_examples=25, deadline=None)
@given(pair=st.tuples(texts, texts).filter(lambda pair: pair[0] != pair[1] and all(pair)))
def test_git_applies_a_patch_and_its_reverse_to_the_same_bytes(repository, pair):
    before, after = (side.encode() for side in pair)
    patch = make_patch("a.py", before, after)

    assert git_apply(repository, "a.py", before, patch) == after
    assert git_apply(repository, "a.py", after, patch, "-R") == before
    assert git_apply(repository, "a.py", after, make_patch("a.py", after, before)) == before


@pytest.mark.parametrize(
    "path",
    [
        "plain.py",
        "with space/a b.py",
        "ünï/cödé.py",
        'quo"te.py',
        "back\\slash.py",
        "tab\there.py",
        "new\nline.py",
        "dir/noext",
    ],
)
def test_header_is_what_git_writes_for_a_committed_file(repository, path):
    after = SAMPLE.replace(b"total += 0", b"total += 1")
    target = repository / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(SAMPLE)
    git("add", "--", path, cwd=repository)
    target.write_bytes(after)
    expected = git("diff", "--no-color", "--minimal", "--", path, cwd=repository).decode()
    without_index = "".join(line for line in expected.splitlines(keepends=True) if not line.startswith("index "))

    patch = make_patch(path, SAMPLE, after)

    assert patch == without_index
    assert git_apply(repository, path, SAMPLE, patch) == after


def test_section_header_names_the_enclosing_function():
    patch = make_patch("a.py", SAMPLE, SAMPLE.replace(b"return total", b"return 0"))

    assert "@@ -9,4 +9,4 @@ def area(self, width):\n" in patch


def test_async_function_is_named_in_the_section_header():
    source = SAMPLE.replace(b"def area", b"async def area")

    assert "@@ async def area(self, width):\n" in make_patch(
        "a.py", source, source.replace(b"return total", b"return 0")
    )


def test_moved_block_gives_the_minimal_diff():
    lines = [f"line {number}\n" for number in range(400)]
    moved = [*lines[1:], lines[0]]

    patch = make_patch("a.py", "".join(lines).encode(), "".join(moved).encode())

    changed = [line for line in patch.splitlines()[3:] if line[0] in "+-"]
    assert changed == ["-line 0", "+line 0"]


def test_file_with_nul_bytes_is_still_text():
    assert apply_patch(b"\0a\n", make_patch("a.py", b"\0a\n", b"\0b\n")) == b"\0b\n"


def test_equal_sides_give_an_empty_patch():
    assert make_patch("a.py", SAMPLE, SAMPLE) == ""
    assert apply_patch(SAMPLE, "") == SAMPLE


def test_file_that_is_not_utf8_is_refused():
    with pytest.raises(InvalidInput, match=r"a\.py is not UTF-8"):
        make_patch("a.py", b"\xff\n", b"x\n")


def test_configuration_and_attributes_of_a_surrounding_repository_do_not_count(tmp_path, monkeypatch):
    git("init", "-q", ".", cwd=tmp_path)
    git("config", "diff.noprefix", "true", cwd=tmp_path)
    git("config", "diff.context", "0", cwd=tmp_path)
    git("config", "core.quotePath", "false", cwd=tmp_path)
    (tmp_path / ".gitattributes").write_text("* -text diff=nothing\n")
    expected = make_patch("é.py", SAMPLE, SAMPLE.replace(b"return total", b"return 0"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")

    assert make_patch("é.py", SAMPLE, SAMPLE.replace(b"return total", b"return 0")) == expected


@settings(max_examples=10, deadline=None)
@given(pairs=st.lists(st.tuples(texts, texts), max_size=12))
def test_many_patches_are_the_same_as_one_by_one(pairs):
    changes = [FileChange(f"dir/{number}.py", a.encode(), b.encode()) for number, (a, b) in enumerate(pairs)]

    assert make_patches(changes) == tuple(make_patch(*change) for change in changes)


def test_more_patches_than_one_git_call_serves_keep_their_order():
    changes = [FileChange("a.py", SAMPLE, SAMPLE + b"x = %d\n" % number) for number in range(300)]

    assert [apply_patch(SAMPLE, patch) for patch in make_patches(changes)] == [change.after for change in changes]


@settings(max_examples=60, deadline=None)
@given(before=texts, after=texts)
def test_changed_regions_are_all_that_differs(before, after):
    before, after = (before + "\n").encode(), (after + "\n").encode()
    old, new = before.split(b"\n"), after.split(b"\n")
    position, rebuilt = 0, []
    for region in changed_regions(make_patch("a.py", before, after)):
        rebuilt += old[position : region.old_start] + new[region.new_start : region.new_end]
        position = region.old_end

    assert rebuilt + old[position:] == new


def test_two_changes_within_one_hunk_are_two_regions():
    after = SAMPLE.replace(b"size = 1", b"size = 2").replace(b"height = width", b"height = 0")

    assert changed_regions(make_patch("a.py", SAMPLE, after)) == (Region(4, 5, 4, 5), Region(7, 8, 7, 8))


GOOD = make_patch("a.py", SAMPLE, SAMPLE.replace(b"height = width", b"height = 0"))


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (GOOD[:-1], "cut off"),
        (GOOD + GOOD, "not a hunk header"),
        ("hello\n", "not a diff of one file"),
        (GOOD.replace("@@ -5,7 +5,7 @@", "@@ -6,7 +6,7 @@"), "line 6 of the file"),
        (GOOD.replace("@@ -5,7 +5,7 @@", "@@ -5,7 +6,7 @@"), "result starts at line 6"),
        (GOOD.replace("@@ -5,7 +5,7 @@", "@@ -500,7 +500,7 @@"), "beyond the file"),
        (GOOD.replace("@@ -5,7 +5,7 @@", "@@ -5,8 +5,8 @@"), "ends inside a hunk"),
        (GOOD.replace("@@ -5,7 +5,7 @@", "@@ -5,6 +5,6 @@"), "not a hunk header"),
        (GOOD.replace("     size = 1\n", "     size = 3\n"), "expects b'    size = 3"),
        (GOOD.replace("     size = 1\n", "*    size = 1\n"), "starts with '\\*'"),
        (GOOD + "\\ No newline at end of file\n", "expects b'        total \\+= 0'"),
        (GOOD + "\\ No newline at end of file\n" * 2, "missing final newline"),
    ],
)
def test_patch_that_does_not_fit_is_refused(patch, message):
    with pytest.raises(ValueError, match=message):
        apply_patch(SAMPLE, patch)


SHOWN = b"".join(SAMPLE.splitlines(keepends=True)[4:11])


@settings(max_examples=40, deadline=None)
@given(offset=st.integers(0, len(SHOWN) - 1), byte=st.sampled_from(b"q#"))
def test_context_that_differs_in_one_byte_is_refused(offset, byte):
    position = SAMPLE.index(SHOWN) + offset

    with pytest.raises(ValueError):
        apply_patch(SAMPLE[:position] + bytes([byte]) + SAMPLE[position + 1 :], GOOD)


def test_scratch_files_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    make_patch("a.py", b"a\n", b"b\n")

    assert list(Path(tmp_path).iterdir()) == []
