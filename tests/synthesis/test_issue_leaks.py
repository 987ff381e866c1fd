"""The leak check, rule by rule: what a text may not say, and what it may."""

import pytest

from schemas.code import Candidate, CodeEntity, EntityKind, Span
from schemas.repo import Language
from synthesis.issues import IssueContext, Reveal
from synthesis.issues.leak_check import LeakKind, find_leaks, module_names, significant_fix_lines

ALL = frozenset(Reveal)
BEHAVIOUR = frozenset({Reveal.BEHAVIOUR})
TEST = "tests/test_series.py::TestRolling::test_even_width[2]"


def patch(*added: str) -> str:
    return "\n".join(
        [
            "diff --git a/src/tinystats/series.py b/src/tinystats/series.py",
            "--- a/src/tinystats/series.py",
            "+++ b/src/tinystats/series.py",
            "@@ -8,3 +8,3 @@ def rolling_mean(values, width):",
            "     context = here",
            *(f"+{line}" for line in added),
            "",
        ]
    )


def context_of(
    *, fix: str = patch("    return sum(window) / width"), entity: str = "Series.rolling_mean", source: str = ""
) -> IssueContext:
    candidate = Candidate(
        strategy="op_change",
        entity=CodeEntity(
            path="src/tinystats/series.py",
            name=entity,
            kind=EntityKind.METHOD,
            span=Span(start_line=5, end_line=12, start_byte=0, end_byte=1),
            language=Language.PYTHON,
            complexity=2,
        ),
        bug_patch=fix,
        explanation="",
        seed=1,
    )
    return IssueContext(candidate, fix, (TEST,), {}, {TEST: source} if source else {})


def kinds(text: str, context: IssueContext, reveals: frozenset[Reveal] = frozenset()) -> set[LeakKind]:
    return {leak.kind for leak in find_leaks(text, context, reveals=reveals)}


@pytest.mark.parametrize(
    "text",
    ["Please write return sum(window) / width there.", "`return  sum( window )/width`", "return sum(window)\n / width"],
)
def test_line_of_the_fix_is_found_however_it_is_spaced(text: str) -> None:
    assert kinds(text, context_of(), ALL) == {LeakKind.FIX}


@pytest.mark.parametrize("line", ["else:", "return None", "continue", "i += 1", "", "    )", "return True"])
def test_trivial_lines_do_not_count_as_the_fix(line: str) -> None:
    assert significant_fix_lines(patch(line)) == ()
    assert kinds(f"Some text with {line} in it.", context_of(fix=patch(line)), ALL) == set()


def test_line_of_the_fix_that_a_failing_test_has_too_is_no_leak() -> None:
    context = context_of(
        fix=patch("    values = list(values)"), source="def test_even_width():\n    values = list(values)\n"
    )
    assert kinds("```\nvalues = list(values)\n```", context, BEHAVIOUR) == set()


def test_added_lines_that_look_like_headers_count() -> None:
    assert significant_fix_lines(patch("++ counter_of_things")) == ("++ counter_of_things",)


@pytest.mark.parametrize(
    "text",
    [
        "See src/tinystats/series.py.",
        "See series.py.",
        "It is in tinystats.series.",
        "`series.windows(x)` is wrong.",
        "Run `from series import windows`.",
        "Run `from tinystats.series import windows`.",
    ],
)
def test_file_is_found_by_path_base_name_and_module(text: str) -> None:
    assert kinds(text, context_of()) == {LeakKind.FILE}
    assert kinds(text, context_of(), frozenset({Reveal.FILES})) == set()


@pytest.mark.parametrize("text", ["A time series. Then more.", "timeseries.py", "The series is wrong.", "subseries.x"])
def test_words_that_only_look_like_the_module_are_no_leak(text: str) -> None:
    assert kinds(text, context_of()) == set()


def test_variable_of_the_test_that_is_called_like_the_module_is_no_leak() -> None:
    context = context_of(source="def test_even_width():\n    series = make()\n    assert series.sum() == 3\n")
    assert kinds("`series.sum()` is wrong", context, BEHAVIOUR) == set()


def test_package_of_its_own_is_no_hidden_file() -> None:
    assert module_names("src/tinystats/__init__.py") == ("", ("src.tinystats",))
    assert module_names("tinystats/sub/__init__.py") == ("sub", ("tinystats.sub",))
    assert module_names("six.py") == ("six", ())


def test_function_is_found_by_any_part_of_its_name() -> None:
    assert kinds("rolling_mean does not work", context_of()) == {LeakKind.FUNCTION}
    assert kinds("The class `Series` is broken", context_of()) == {LeakKind.FUNCTION}
    assert kinds("rolling_mean does not work", context_of(), frozenset({Reveal.FUNCTIONS})) == set()


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("Please count the ways.", False),
        ("`count` is wrong.", True),
        ("See count() there.", True),
        ("```python\nx.count\n```", True),
        ("`discount` is wrong.", False),
    ],
)
def test_ordinary_word_is_a_mention_in_code_alone(text: str, *, leaks: bool) -> None:
    assert bool(kinds(text, context_of(entity="count"))) is leaks


def test_behaviour_may_name_what_the_test_names() -> None:
    context = context_of(source="def test_even_width():\n    assert Series([1]).rolling_mean(2) == 1\n")
    text = "`Series([1]).rolling_mean(2)` gives `3`"
    assert kinds(text, context, BEHAVIOUR) == set()
    assert kinds(text, context) == {LeakKind.FUNCTION}


def test_words_in_strings_of_the_test_do_not_permit_a_name() -> None:
    context = context_of(source="def test_even_width():\n    assert f('rolling_mean') == 1\n")
    assert kinds("`rolling_mean`", context, BEHAVIOUR) == {LeakKind.FUNCTION}


@pytest.mark.parametrize(
    "text",
    [
        TEST,
        "tests/test_series.py fails",
        "test_series.py fails",
        "test_even_width fails",
        "`TestRolling` fails",
        "<class 'tests.test_series.Foo'>",
        "/tmp/test_even_width0/x",
    ],
)
def test_tests_are_found_by_id_file_module_and_names(text: str) -> None:
    assert LeakKind.TEST in kinds(text, context_of(), BEHAVIOUR)
    assert LeakKind.TEST not in kinds(text, context_of(), frozenset({Reveal.TESTS}))


def test_ids_that_may_be_told_may_hold_any_name() -> None:
    test = "src/tinystats/series.py::test_it[rolling_mean]"
    context = context_of()._replace(fail_to_pass=(test,))
    assert kinds(f"- `{test}`", context, frozenset({Reveal.TESTS})) == set()
