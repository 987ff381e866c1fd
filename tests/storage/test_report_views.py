"""What a page shows of code, diffs and issue texts is what they say, cut and coloured and never changed."""

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.diff import make_patch
from storage.report.code import MAX_LINE, MAX_LINES, code_lines, diff_view, excerpt
from storage.report.overview import HIDDEN, bars, funnel, histogram, visible
from storage.report.prose import MAX_TEXT, prose_view
from storage.report.task_view import Suite, title

ROOT = Path(__file__).parents[2]
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=200)
CODE = st.lists(
    st.sampled_from(["def f(x):", "    return x < 'é'", "# \u202e 数 \U0001d4b3", "@d", "", '"""', "x = 1"]),
    max_size=12,
)


def units(text: str) -> int:
    """Length as scripts in a browser count."""
    return len(text.encode("utf-16-le")) // 2


def runs(line: list[str]) -> list[tuple[str, str]]:
    """A line as pairs of letter and text, read as the page's script does."""
    text, told = line
    data, found = text.encode("utf-16-le"), []
    for mark, kind, size in re.findall(r"(\^?)([a-z_])(\d+)", told):
        piece, data = data[: 2 * int(size)], data[2 * int(size) :]
        found.append((mark + kind, piece.decode("utf-16-le")))
    assert not data or not told
    return found


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_every_line_of_any_code_is_there_and_its_runs_cover_it(text: str) -> None:
    lines = code_lines(text, path="a.py", language="python")
    assert [line[0] for line in lines] == (text.removesuffix("\n").split("\n") if text else [])
    for line in lines:
        assert "".join(piece for _, piece in runs(line)) == (line[0] if line[1] else "")


@settings(deadline=None, max_examples=50)
@given(CODE, CODE)
def test_both_sides_of_a_diff_can_be_read_from_its_rows(before: list[str], after: list[str]) -> None:
    sides = ["".join(f"{line}\n" for line in lines) for lines in (before, after)]
    patch = make_patch("a.py", *(side.encode() for side in sides))
    for file in diff_view(patch, language="python"):
        rows = [row for hunk in file["hunks"] for row in hunk["rows"]]
        both = [row for row in rows if row[0] is not None and row[2] is not None and row[3] is None]
        assert {row[0]: row[1][0] for row in rows if row[0]} == dict(shown(patch, "-"))
        assert {row[2]: (row[3] or row[1])[0] for row in rows if row[2]} == dict(shown(patch, "+"))
        assert all(row in both or row[1] is None or row[3] is None or row[1] != row[3] for row in rows)


def shown(patch: str, sign: str) -> list[tuple[int, str]]:
    """Numbers and texts of one side's lines, straight from the patch."""
    found, number = [], 0
    for line in patch.split("\n")[3:-1]:
        at = re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)", line)
        if at:
            number = int(at[1] if sign == "-" else at[2])
        elif line[:1] in {" ", sign}:
            found.append((number, line[1:]))
            number += 1
    return found


def test_what_differs_between_two_lines_is_marked() -> None:
    patch = make_patch("a.py", b"if size < limit:\n", b"if size <= limit:\n")
    ((_, old, _, new),) = diff_view(patch, language="python")[0]["hunks"][0]["rows"]
    assert [text for kind, text in runs(new) if kind.startswith("^")] == ["="]
    assert not [text for kind, text in runs(old) if kind.startswith("^")]
    assert ("k", "if") in runs(new)


def test_a_text_that_is_no_diff_is_none() -> None:
    assert diff_view("diff --git a/s.py b/s.py\n-0\n+a < b\n", language="python") == []
    assert diff_view("@@ -1,9 +1,9 @@ cut off\n-x\n", language="python") == []
    assert excerpt("no diff", most=3) == []


def test_long_lines_and_long_code_are_cut_and_say_so() -> None:
    (line,) = code_lines("x" * (MAX_LINE + 1234), path="a.py", language="python")
    assert line[0] == "x" * MAX_LINE + " … 1,234 more characters"
    lines = code_lines("x\n" * (MAX_LINES + 5), path="a.py", language="python")
    assert len(lines) == MAX_LINES + 1
    assert lines[-1][0] == "… 5 more lines"
    patch = make_patch("a.py", b"", b"x = 1\n" * (MAX_LINES + 5))
    assert sum(len(hunk["rows"]) for hunk in diff_view(patch, language="python")[0]["hunks"]) == MAX_LINES


def test_lists_code_and_paragraphs_are_read_and_all_else_stays_text() -> None:
    text = "See `f(1)` and [a](javascript:x) <b>\n\n- one\n- ![i](http://x)\n\n```py\n<script>\n```\n"
    assert prose_view(text) == [
        ["p", ["See ", ["code", ["f(1)"]], " and [a](javascript:x) <b>"]],
        ["ul", [["li", [["p", ["one"]]]], ["li", [["p", ["![i](http://x)"]]]]]],
        ["pre", ["<script>"]],
    ]


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_no_word_of_an_issue_is_lost(text: str) -> None:
    def letters(blocks: list) -> str:
        return "".join(one if isinstance(one, str) else letters(one[1]) for one in blocks)

    kept = re.sub(r"[^a-zA-Z]", "", letters(prose_view(text)))
    fences = re.findall(r"(?:```+|~~~+)[^\n]*", text)  # the word after a fence names a language
    if not fences:
        assert kept == re.sub(r"[^a-zA-Z]", "", text)


def test_a_long_issue_is_cut_and_says_so() -> None:
    assert prose_view("a" * (MAX_TEXT + 7))[-1] == ["p", ["… 7 more characters"]]


def test_characters_that_cannot_be_seen_are_named_and_markup_is_text() -> None:
    assert str(visible("a\u202eb<i>\u2028")) == (
        'a<span class="ctl">U+202E</span>b&lt;i&gt;<span class="ctl">U+2028</span>'
    )
    assert str(visible("größer\n\t数")) == "größer\n\t数"


def test_the_page_s_script_names_the_same_characters() -> None:
    script = (ROOT / "storage" / "report" / "assets" / "report.js").read_text()
    (source,) = re.findall(r"const hidden =\s+/(\[.+\])/u;", script)
    theirs = re.compile(re.sub(r"\\u\{(\w+)\}", lambda one: f"\\U{int(one[1], 16):08x}", source))
    everything = "".join(map(chr, range(0x110000)))
    assert theirs.findall(everything) == HIDDEN.findall(everything)


def test_a_suite_gives_ranges_from_which_its_tests_are_found_again() -> None:
    suite = Suite()
    assert suite.ranges(["a", "b", "c", "d"]) == [[0, 4]]
    assert suite.ranges(["a", "c", "d", "e"]) == [[0, 1], [2, 5]]
    assert suite.names() == ["a", "b", "c", "d", "e"]
    assert suite.ranges([]) == []


def test_a_title_is_the_first_line_that_says_something() -> None:
    assert title("\n\n## Wrong `f`\n\nmore") == "Wrong `f`"
    assert title(" \n") == ""
    assert len(title("x" * 1000)) < 200


def test_a_funnel_ends_with_the_tasks_that_there_are() -> None:
    lost = {"synthesis": {"duplicate": 20}, "validation": {"no_test_failed": 50}, "finish": {}}
    assert [(step.label, step.left, step.lost) for step in funnel(30, lost)] == [
        ("Rewrites tried", 100, 0),
        ("Candidates", 80, 20),
        ("Validated tasks", 30, 50),
    ]
    with_more = lost | {"finish": {"issue_leaks": 5}, "release": {"licence: unknown": 1}}
    assert [step.left for step in funnel(30, with_more)] == [106, 86, 36, 31, 30]
    assert [step.share for step in funnel(0, {})] == [1.0]


def test_bars_and_bins_count_everything_once() -> None:
    assert [(bar.label, bar.share, bar.part) for bar in bars({"b": 1, "a": 1, "c": 2})] == [
        ("c", 1.0, 0.5),
        ("a", 0.5, 0.25),
        ("b", 0.5, 0.25),
    ]
    assert [bar.number for bar in histogram([0.0, 0.049, 0.05, 0.999, 1.0])] == [2, 1, *[0] * 17, 2]
    assert bars({}) == []
