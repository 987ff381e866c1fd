"""Issue texts about real bugs in the sample repository, from what the installed pytest says about them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extractors.diff import make_patch
from schemas.code import Candidate, CodeEntity, EntityKind, Span
from schemas.repo import Language
from schemas.reports import TestFailure
from synthesis.issues import IssueContext, TestModule, write_issue
from synthesis.issues.test_code import read_test

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "tinystats"

PLUGIN = """
import json, os
from validation.runners.pytest_worker import describe

failures = {}

def pytest_runtest_makereport(item, call):
    if call.excinfo is not None:
        failures[item.nodeid] = describe(call.excinfo, call.when, item, True)
        del failures[item.nodeid]["explained"]

def pytest_sessionfinish():
    with open(os.environ["FAILURES"], "w") as file:
        json.dump(failures, file)
"""


def run_pytest(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{tree / 'src'}:{tree}:{ROOT}:{ROOT / 'validation' / 'runners'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "FAILURES": str(tree / "failures.json"),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def context_with_bug(tree: Path, path: str, *, before: str, after: str, entity: str, tests: str) -> IssueContext:
    shutil.copytree(SAMPLE, tree, ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "failures_plugin.py").write_text(PLUGIN, encoding="utf-8")
    clean = (tree / path).read_text(encoding="utf-8")
    assert clean.count(before) == 1
    bugged = clean.replace(before, after)
    (tree / path).write_text(bugged, encoding="utf-8")
    result = run_pytest(tree, "-p", "failures_plugin", tests)
    assert result.returncode == 1, result.stdout
    failures = json.loads((tree / "failures.json").read_text(encoding="utf-8"))
    source = TestModule((tree / tests).read_text(encoding="utf-8"))
    candidate = Candidate(
        strategy="op_change",
        entity=CodeEntity(
            path=path,
            name=entity,
            kind=EntityKind.FUNCTION,
            span=Span(start_line=1, end_line=1, start_byte=0, end_byte=1),
            language=Language.PYTHON,
            complexity=1,
        ),
        bug_patch=make_patch(path, clean.encode(), bugged.encode()),
        explanation="",
        seed=1,
    )
    return IssueContext(
        candidate,
        make_patch(path, bugged.encode(), clean.encode()),
        tuple(sorted(failures)),
        {test: TestFailure.model_validate(fields) for test, fields in failures.items()},
        {test: text for test in failures if (text := source.source_of(test)) is not None},
    )


def test_off_by_one_in_a_hidden_helper_is_told_through_the_public_call(tmp_path: Path) -> None:
    context = context_with_bug(
        tmp_path / "tree",
        "src/tinystats/series.py",
        before="while start + width <= length:",
        after="while start + width < length:",
        entity="_bounds",
        tests="tests/test_series.py",
    )
    text = "\n".join(write_issue(context, seed=seed, styles=["from_test_output"]).text for seed in range(40))
    assert "`rolling_mean([1, 2, 3, 4], width=2)`" in text
    assert "`[1.5, 2.5]`" in text
    assert "`[1.5, 2.5, 3.5]`" in text
    assert "_bounds" not in text


def test_check_that_is_gone_is_told_as_an_error_that_does_not_come(tmp_path: Path) -> None:
    context = context_with_bug(
        tmp_path / "tree",
        "src/tinystats/checks.py",
        before="        if len(values) < at_least:".removeprefix("    ") + "\n",
        after="        if len(values) < at_least - 1:".removeprefix("    ") + "\n",
        entity="needs_data",
        tests="tests/test_checks.py",
    )
    for seed in range(10):
        text = write_issue(context, seed=seed, styles=["from_test_output"]).text
        assert "first(iter('a'))" in text
        assert "`ValueError`" in text


def test_wrong_exception_is_told_beside_the_right_one(tmp_path: Path) -> None:
    context = context_with_bug(
        tmp_path / "tree",
        "src/tinystats/describe.py",
        before="    if left_total == 0 or right_total == 0:\n",
        after="    if left_total == 0 and right_total == 0:\n",
        entity="correlation",
        tests="tests/test_describe.py",
    )
    for seed in range(10):
        text = write_issue(context, seed=seed, styles=["from_test_output"]).text
        assert "correlation([1, " in text
        assert "`ValueError`" in text
        assert "`ZeroDivisionError: float division by zero`" in text


@pytest.fixture(scope="module")
def collected() -> list[str]:
    result = run_pytest(SAMPLE, "--collect-only", "tests")
    return [line for line in result.stdout.splitlines() if "::" in line]


def test_values_of_every_case_of_the_sample_are_found_by_pytest_s_own_ids(collected: list[str]) -> None:
    """pytest itself says which ids there are; each must lead to one set of values, and no two to the same."""
    modules: dict[str, TestModule] = {}
    seen: dict[tuple[str, str], str] = {}
    cases = [test for test in collected if "[" in test]
    assert len(cases) > 100
    for test in cases:
        path = test.split("::", 1)[0]
        module = modules.setdefault(path, TestModule((SAMPLE / path).read_text(encoding="utf-8")))
        parsed = read_test(module.source_of(test) or "", test)
        assert parsed is not None
        assert parsed.values, test
        key = (
            test.split("[", 1)[0],
            repr({name: node.lineno for name, node in parsed.values.items()})
            + str({name: (node.col_offset, node.end_col_offset) for name, node in parsed.values.items()}),
        )
        assert key not in seen, (test, seen.get(key))
        seen[key] = test
