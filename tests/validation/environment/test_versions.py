from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from validation.versions import build_variables, pep440_version, tag_of


@pytest.mark.parametrize(
    ("described", "version"),
    [
        ("1.2.3", "1.2.3"),
        ("v1.2.3", "1.2.3"),
        ("v1.2.3-5-gabcdef0", "1.2.3.post5"),
        ("release-1.2", "1.2"),
        ("REL_1_4_2", "1.4.2"),
        ("package/2.0", "2.0"),
        ("py3-tools-1.0-3-g0123456789", "1.0.post3"),
        ("2.0rc1-4-gabcdef0", "2.0rc1.post4"),
        ("1.0.dev3-4-gabcdef0", "1.0.dev3"),
        ("nightly", "0.0.0"),
        ("", "0.0.0"),
    ],
)
def test_a_description_becomes_a_version(described, version):
    assert pep440_version(described) == version


@given(st.text(max_size=40))
def test_whatever_git_says_the_version_is_valid(described):
    assert Version(pep440_version(described))


@given(st.from_regex(r"v?[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True), st.integers(1, 999))
def test_a_commit_after_a_release_still_meets_requirements_on_it(tag, distance):
    assert Version(pep440_version(f"{tag}-{distance}-gabcdef0")) > Version(tag)


def test_the_tag_is_found_without_its_distance():
    assert tag_of("v1.2-beta-5-gabcdef0") == "v1.2-beta"
    assert tag_of("") == ""


def test_builds_get_the_commit_time_and_not_the_clock():
    variables = build_variables("v1.0", committed_at=datetime(2024, 1, 2, tzinfo=UTC))
    assert variables["SOURCE_DATE_EPOCH"] == "1704153600"
    assert variables["SETUPTOOLS_SCM_PRETEND_VERSION"] == "1.0"
