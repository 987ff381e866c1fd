"""Read stock pytest's JUnit file; shares nothing with the runner's channel, so that one can check the other."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeElementTree


class JunitResult(StrEnum):
    """What a JUnit file says of a test; unexpected passes are plain passes there."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class TestAddress(tuple[str, str]):
    """A test as JUnit names it: (`classname`, `name`)."""

    __test__ = False
    __slots__ = ()


_GRAVITY = (JunitResult.FAILED, JunitResult.SKIPPED, JunitResult.PASSED)
# Characters that XML 1.0 cannot hold; pytest writes them as #xNN or #xNNNN.
# Releases differ in whether \x7f to \x9f count, so these are escaped on both sides before comparing.
_ILLEGAL = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def address_of(test_id: str) -> TestAddress:
    """The JUnit address of a pytest node id: the path with dots, then classes, then the name with its parameters.

    >>> address_of("tests/test_a.py::TestB::test_c[x::y]")
    ('tests.test_a.TestB', 'test_c[x::y]')
    """
    names_part, bracket, parameters = test_id.partition("[")
    names = names_part.split("::")
    names[0] = re.sub(r"\.py$", "", names[0].replace("/", "."))
    names[-1] += bracket + parameters
    return TestAddress((_escape(".".join(names[:-1])), _escape(names[-1])))


def read_junit(content: bytes) -> Mapping[TestAddress, JunitResult]:
    """Results by address; where an address occurs more than once (setup and teardown), the gravest one.

    Raises:
        ValueError: this is not a JUnit file.
    """
    try:
        root = SafeElementTree.fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError) as error:  # a look-up of an encoding that nobody knows
        raise ValueError(f"not a JUnit file: {error}") from error
    results: dict[TestAddress, list[JunitResult]] = {}
    for case in root.iter("testcase"):
        address = TestAddress((_escape(case.get("classname", "")), _escape(case.get("name", ""))))
        results.setdefault(address, []).append(_result({child.tag for child in case}))
    return {address: gravest(found) for address, found in results.items()}


def gravest(results: Sequence[JunitResult]) -> JunitResult:
    return next(result for result in _GRAVITY if result in results)


def _result(tags: set[str]) -> JunitResult:
    if tags & {"failure", "error"}:
        return JunitResult.FAILED
    return JunitResult.SKIPPED if "skipped" in tags else JunitResult.PASSED


def _escape(text: str) -> str:
    return _ILLEGAL.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"#x{code:02X}" if code <= 0xFF else f"#x{code:04X}"
