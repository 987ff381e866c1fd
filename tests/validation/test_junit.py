"""Addresses computed from node ids must be the ones that stock pytest writes."""

import subprocess
import sys

import pytest

from validation.junit import JunitResult, address_of, read_junit

SUITE = """
import pytest

class TestGroup:
    class TestInner:
        def test_method(self): pass

@pytest.mark.parametrize("x", ["a b", "[x]", "p::q", "a.b/c.py", "tab\\there", "bell\\x07", "é", "\\x80", "<&>", "line\\nbreak", ""])
def test_x(x): assert x != "[x]"

def test_skips(): pytest.skip("no")
@pytest.mark.xfail
def test_xfails(): assert 0
@pytest.fixture
def late():
    yield
    assert 0
def test_teardown(late): pass
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], bytes]:
    tree = tmp_path_factory.mktemp("suite")
    (tree / "sub.dir").mkdir()
    (tree / "sub.dir" / "test_odd-name.py").write_text(SUITE)
    (tree / "doc.py").write_text('def f():\n    """\n    >>> f()\n    1\n    """\n    return 1\n')
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "--doctest-modules", "-q"]
    collected = subprocess.run([*command, "--collect-only"], cwd=tree, capture_output=True, text=True, check=True)
    subprocess.run([*command, "--junitxml=junit.xml"], cwd=tree, capture_output=True, check=False)
    return [line for line in collected.stdout.splitlines() if "::" in line], (tree / "junit.xml").read_bytes()


def test_addresses_are_those_that_stock_pytest_writes(ran: tuple[list[str], bytes]) -> None:
    ids, content = ran
    assert len(ids) == 16
    assert {address_of(test) for test in ids} == set(read_junit(content))


def test_outcomes_are_read_and_the_gravest_phase_counts(ran: tuple[list[str], bytes]) -> None:
    _, content = ran
    results = {address[1]: result for address, result in read_junit(content).items()}
    assert results["test_method"] is JunitResult.PASSED
    assert results["test_x[[x]]"] is JunitResult.FAILED
    assert results["test_skips"] is JunitResult.SKIPPED
    assert results["test_xfails"] is JunitResult.SKIPPED
    assert results["test_teardown"] is JunitResult.FAILED


@pytest.mark.parametrize("content", [b"", b"<testsuites>", b"not xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_what_is_not_a_junit_file_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a JUnit file"):
        read_junit(content)
