"""What the from_test_output style says about one failing test of each sort."""

import random

import pytest

from schemas.code import Candidate, CodeEntity, EntityKind, Span
from schemas.repo import Language
from schemas.reports import TestFailure
from synthesis.issues import IssueContext, write_issue
from synthesis.issues.from_test_output import FromTestOutputWriter

FIX = """\
diff --git a/src/tinystats/series.py b/src/tinystats/series.py
--- a/src/tinystats/series.py
+++ b/src/tinystats/series.py
@@ -8,3 +8,3 @@ def _bounds(length, width, step):
-    while start + width < length:
+    while start + width <= length:
"""


def context_of(
    source: str,
    *,
    test: str = "tests/test_series.py::test_even_width",
    path: str = "src/tinystats/series.py",
    entity: str = "_bounds",
    **failure: object,
) -> IssueContext:
    candidate = Candidate(
        strategy="op_change",
        entity=CodeEntity(
            path=path,
            name=entity,
            kind=EntityKind.FUNCTION,
            span=Span(start_line=5, end_line=12, start_byte=0, end_byte=1),
            language=Language.PYTHON,
            complexity=2,
        ),
        bug_patch=FIX,
        explanation="The operators in an expression are likely incorrect.",
        seed=1,
    )
    fields = {"phase": "call", "exception": "AssertionError", **failure}
    return IssueContext(candidate, FIX, (test,), {test: TestFailure.model_validate(fields)}, {test: source})


def texts(context: IssueContext, count: int = 12) -> list[str]:
    """The text under several seeds, so that every way of putting it is seen."""
    return [write_issue(context, seed=seed, styles=["from_test_output"]).text for seed in range(count)]


def says(context: IssueContext, *fragments: str) -> None:
    for text in texts(context):
        for fragment in fragments:
            assert fragment in text


def test_plain_comparison_tells_call_result_and_expectation() -> None:
    context = context_of(
        "def test_even_width():\n    assert rolling_mean([1, 2, 3, 4], width=2) == [1.5, 2.5, 3.5]\n",
        statement="assert rolling_mean([1, 2, 3, 4], width=2) == [1.5, 2.5, 3.5]",
        message="assert [1.5, 2.5] == [1.5, 2.5, 3.5]\n  \n  Right contains one more item: 3.5\n  Use -v to get more diff",
    )
    says(context, "`rolling_mean([1, 2, 3, 4], width=2)`", "`[1.5, 2.5]`", "`[1.5, 2.5, 3.5]`")


def test_wordings_vary_with_the_seed() -> None:
    context = context_of(
        "def test_even_width():\n    assert f(1) == 2\n", statement="assert f(1) == 2", message="assert 1 == 2"
    )
    assert len(set(texts(context, 30))) > 5


def test_literal_on_the_left_is_still_the_expectation() -> None:
    context = context_of(
        "def test_even_width():\n    assert 5 == total([2, 3])\n",
        statement="assert 5 == total([2, 3])",
        message="assert 5 == 6\n +  where 6 = total([2, 3])",
    )
    for text in texts(context):
        assert text.index("`total([2, 3])`") >= 0
        assert any(
            phrase in text
            for phrase in (
                "I get `6` and expected `5`",
                "gives `6`",
                "expected `5` from",
                "`6`. The right result is `5`",
            )
        )


@pytest.mark.parametrize(
    ("case", "call", "expected"),
    [("2-expected0", "rolling([1, 2], 2)", "[1.5]"), ("1-expected1", "rolling([1, 2], 1)", "[1, 2]")],
)
def test_parametrised_values_take_the_place_of_their_names(case: str, call: str, expected: str) -> None:
    source = (
        '@pytest.mark.parametrize(("width", "expected"), [(2, [1.5]), (1, [1, 2])])\n'
        "def test_even_width(width, expected):\n    assert rolling([1, 2], width) == expected\n"
    )
    context = context_of(
        source,
        test=f"tests/test_series.py::test_even_width[{case}]",
        statement="assert rolling([1, 2], width) == expected",
        message=f"assert [] == {expected}",
    )
    says(context, f"`{call}`", f"`{expected}`", "`[]`")


def test_values_printed_by_the_runner_stand_in_for_unknown_parameters() -> None:
    context = context_of(
        "def test_even_width(width):\n    assert rolling([1, 2], width) == [7]\n",
        statement="assert rolling([1, 2], width) == [7]",
        message="assert [] == [7]\n +  where [] = rolling([1, 2], 3)",
    )
    says(context, "`rolling([1, 2], 3)`")


def test_local_variables_come_with_the_lines_that_make_them() -> None:
    source = (
        "def test_even_width():\n"
        "    unrelated = 3\n"
        "    histogram = Histogram(0, 4)\n"
        "    for value in (0, 1):\n"
        "        histogram.add(value)\n"
        "    assert unrelated == 3\n"
        "    assert histogram.counts == [1, 1]\n"
    )
    context = context_of(
        source, statement="assert histogram.counts == [1, 1]", message="assert [2, 0] == [1, 1]\n  \n  At index 0"
    )
    snippet = "histogram = Histogram(0, 4)\nfor value in (0, 1):\n    histogram.add(value)\nhistogram.counts"
    says(context, snippet, "`[2, 0]`")
    assert not any("unrelated" in text for text in texts(context))


def test_earlier_assertions_are_reduced_to_their_calls() -> None:
    source = (
        "def test_even_width():\n    queue = Queue()\n    assert queue.put(1) is None\n    assert queue.get() == 1\n"
    )
    context = context_of(source, statement="assert queue.get() == 1", message="assert 2 == 1\n +  where 2 = get()")
    says(context, "queue = Queue()\nqueue.put(1)\nqueue.get()")
    assert not any("assert" in text for text in texts(context))


def test_line_that_stands_twice_is_told_apart_by_the_trace() -> None:
    source = "def test_even_width():\n    it = iter(f())\n    assert next(it) == 1\n    assert next(it) == 1\n"
    trace = (
        "def test_even_width():\n    it = iter(f())\n    assert next(it) == 1\n>   assert next(it) == 1\nE  assert 2"
    )
    context = context_of(source, statement="assert next(it) == 1", message="assert 2 == 1", trace=trace)
    says(context, "`2`")
    both = context_of(source, statement="assert next(it) == 1", message="assert 2 == 1", trace="")
    # Without the trace it is not known which one failed: the whole body is shown, and nothing is claimed of a line.
    says(both, "assert next(it) == 1\nassert next(it) == 1")


def test_missing_exception_is_told_with_the_call_inside_the_block() -> None:
    context = context_of(
        "def test_even_width():\n    with pytest.raises(ValueError, match='width'):\n        rolling([1], 0)\n",
        exception="Failed",
        statement="with pytest.raises(ValueError, match='width'):",
        message="DID NOT RAISE ValueError",
    )
    says(context, "`rolling([1], 0)`", "`ValueError`")
    assert not any("pytest" in text for text in texts(context))


def test_missing_exception_is_read_in_the_older_wording_too() -> None:
    context = context_of(
        "def test_even_width():\n    with pytest.raises(ValueError):\n        rolling([1], 0)\n",
        exception="Failed",
        statement="with pytest.raises(ValueError):",
        message="DID NOT RAISE <class 'builtins.ValueError'>",
    )
    says(context, "`rolling([1], 0)`", "`ValueError`")


def test_other_exception_than_the_awaited_one_names_both() -> None:
    context = context_of(
        "def test_even_width():\n    with pytest.raises(ValueError):\n        rolling([], 1)\n",
        exception="ZeroDivisionError",
        statement="rolling([], 1)",
        message="division by zero",
    )
    says(context, "`ValueError`", "`ZeroDivisionError: division by zero`", "`rolling([], 1)`")


def test_wrong_message_names_message_and_pattern() -> None:
    context = context_of(
        "def test_even_width():\n    with pytest.raises(ValueError, match='at least'):\n        mean([])\n",
        statement="with pytest.raises(ValueError, match='at least'):",
        message="Regex pattern did not match.\n  Expected regex: 'at least'\n  Actual message: 'math domain error'",
    )
    says(context, "`mean([])`", "`math domain error`", "`at least`")


def test_unexpected_exception_is_told_with_the_call() -> None:
    context = context_of(
        "def test_even_width():\n    assert mean([1]) == 1\n",
        exception="TypeError",
        statement="assert mean([1]) == 1",
        message="unsupported operand type(s)",
    )
    says(context, "`mean([1])`", "`TypeError: unsupported operand type(s)`")


def test_multi_line_statement_is_shown_on_one_line() -> None:
    statement = "assert mean(\n        [1,\n         2]\n    ) == 1.5"
    context = context_of(f"def test_even_width():\n    {statement}\n", statement=statement, message="assert 3 == 1.5")
    says(context, "`mean([1, 2])`")


def test_long_values_are_told_by_the_place_where_they_differ() -> None:
    context = context_of(
        "def test_even_width():\n    assert lines(3) == ['count 4', 'mean 4']\n",
        statement="assert lines(3) == ['count 4', 'mean 4']",
        message="assert ['count ... 5'] == ['count ... 4']\n  \n  At index 1 diff: 'mean 5' != 'mean 4'\n  Use -v",
    )
    says(context, "at index 1", "`'mean 5'`", "`'mean 4'`")


def test_single_line_texts_are_shown_whole() -> None:
    context = context_of(
        "def test_even_width():\n    assert message() == 'a very long text'\n",
        statement="assert message() == 'a very long text'",
        message="assert 'a very...ent' == 'a very...ext'\n  \n  - a very long text\n  + a very different\n  ? ++",
    )
    says(context, "`'a very different'`", "`'a very long text'`")


def test_two_computed_sides_are_said_to_differ() -> None:
    context = context_of(
        "def test_even_width():\n    assert to_json(x()) == dump(x())\n",
        statement="assert to_json(x()) == dump(x())",
        message="assert '1' == '2'\n  \n  - 2\n  + 1",
    )
    says(context, "`to_json(x())`", "`dump(x())`", "`'1'`", "`'2'`")


@pytest.mark.parametrize(
    ("statement", "message", "fragments"),
    [
        ("self.assertEqual(mean([1, 2]), 1.5)", "3 != 1.5", ["`mean([1, 2])`", "`3`", "`1.5`"]),
        ("self.assertEqual(1.5, mean([1, 2]))", "1.5 != 3", ["`mean([1, 2])`", "`3`", "`1.5`"]),
        ("self.assertAlmostEqual(mean([1, 2]), 1.5)", "3 != 1.5 within 7 places (1.5 difference)", ["`mean([1, 2])`"]),
        ("self.assertTrue(is_even(2))", "False is not true", ["`is_even(2)`"]),
        ("self.assertIn('a', keys())", "'a' not found in []", ["`'a' in keys()`"]),
        ("self.assertRaises(ValueError, mean, [])", "ValueError not raised by mean", ["`mean([])`", "`ValueError`"]),
    ],
)
def test_unittest_assertions(statement: str, message: str, fragments: list[str]) -> None:
    context = context_of(f"def test_even_width(self):\n    {statement}\n", statement=statement, message=message)
    says(context, *fragments)
    assert not any("self" in text for text in texts(context))


def test_attributes_of_the_test_case_lose_self_but_inner_classes_keep_theirs() -> None:
    source = (
        "def test_even_width(self):\n    class Foo:\n        def __init__(self, val):\n            self.val = val\n"
        "    self.map.add(Foo(1))\n    self.assertEqual(len(self.map), 1)\n"
    )
    context = context_of(source, statement="self.assertEqual(len(self.map), 1)", message="0 != 1")
    says(context, "len(map)")
    assert not any("self.map" in text for text in texts(context))


def test_printed_output_is_called_stdout() -> None:
    source = "def test_even_width(capsys):\n    main(['mean', '1'])\n    assert capsys.readouterr().out == '1\\n'\n"
    context = context_of(
        source, statement="assert capsys.readouterr().out == '1\\n'", message="assert '2\\n' == '1\\n'"
    )
    says(context, "main(['mean', '1'])\nstdout", "`'2\\n'`")


def test_broken_import_names_the_package_and_not_the_module() -> None:
    test = "tests/test_series.py::test_even_width"
    failure = TestFailure(
        phase="collect",
        exception="NameError",
        message="name 'wraps' is not defined",
        trace="tests/test_series.py:1: in <module>\n    from tinystats.series import rolling\nE   NameError: name",
    )
    context = context_of("def test_even_width():\n    assert rolling()\n")
    context = context._replace(failures={test.partition("::")[0]: failure})
    says(context, "`tinystats`", "`NameError: name 'wraps' is not defined`")


def test_crash_shows_what_the_test_does() -> None:
    context = context_of(
        "def test_even_width():\n    mean(range(9))\n", phase="process", message="the test process ended with signal 11"
    )
    says(context, "mean(range(9))", "signal 11")


def test_module_prefix_is_taken_off_the_call() -> None:
    context = context_of(
        "def test_even_width():\n    from tinystats import series\n    assert series.rolling(1) == 2\n",
        statement="assert series.rolling(1) == 2",
        message="assert 1 == 2\n +  where 1 = <function rolling at 0x...>(1)\n +    where <function> = series.rolling",
    )
    says(context, "`rolling(1)`")


def test_message_that_names_the_hidden_function_is_left_out() -> None:
    context = context_of(
        "def test_even_width():\n    assert rolling([1], 1) == [1]\n",
        exception="TypeError",
        statement="assert rolling([1], 1) == [1]",
        message="_bounds() missing 1 required positional argument: 'step'",
    )
    says(context, "`rolling([1], 1)`", "`TypeError`")
    assert not any("_bounds" in text for text in texts(context))


def test_names_of_test_classes_are_taken_out_of_printed_values() -> None:
    context = context_of(
        "def test_even_width():\n    assert kind(1) == 2\n",
        statement="assert kind(1) == 2",
        message="assert <class 'tests.test_series.test_even_width.<locals>.Foo'> == 2",
    )
    says(context, "`<class 'Foo'>`")


def test_folder_that_pytest_names_after_the_test_is_taken_out() -> None:
    context = context_of(
        "def test_even_width(tmp_path):\n    assert where(tmp_path) == ''\n",
        statement="assert where(tmp_path) == ''",
        message="assert '<tmp>/test_even_width0/x' == ''",
    )
    says(context, "`'<tmp>/x'`")


def test_failing_fixture_without_the_test_line_shows_the_body() -> None:
    context = context_of(
        "def test_even_width(table):\n    assert table.column(0) == [1]\n",
        phase="setup",
        exception="NameError",
        statement="return parse_table(WEATHER)",
        message="name 'lines' is not defined",
    )
    says(context, "table.column(0)", "`NameError: name 'lines' is not defined`")


def test_several_kinds_of_calls_come_before_two_of_one_kind() -> None:
    tests = {f"tests/test_x.py::test_number_{n}": ("f" if n < 5 else "g", n) for n in range(6)}
    base = context_of("def test_even_width():\n    pass\n")
    context = base._replace(
        fail_to_pass=tuple(tests),
        failures={
            test: TestFailure(
                phase="call",
                exception="AssertionError",
                statement=f"assert {name}({n}) == 0",
                message=f"assert {n + 1} == 0",
            )
            for test, (name, n) in tests.items()
        },
        test_sources={
            test: f"def {test.rpartition('::')[2]}():\n    assert {name}({n}) == 0\n"
            for test, (name, n) in tests.items()
        },
        detail=1,
    )
    issue = FromTestOutputWriter().write(context, random.Random(3))
    assert issue is not None
    assert "`f(" in issue.text
    assert "`g(5)`" in issue.text
