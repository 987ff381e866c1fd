from datetime import UTC, datetime

import pytest

from schemas.errors import EnvironmentFailed
from validation.interpreters import choose_interpreter
from validation.sandbox.protocol import Interpreter

FOUND = tuple(
    Interpreter(version=version, path=f"/opt/{version}")
    for version in ("3.14.0", "3.12.1", "3.11.7", "3.11.2", "3.8.18", "3.5.10")
)


def chosen(**settings):
    return choose_interpreter(FOUND, **settings).version


def test_the_newest_is_taken_where_any_will_do():
    assert chosen() == "3.14.0"


def test_the_preferred_minor_version_comes_before_newer_ones():
    assert chosen(preferred_minor=(3, 11)) == "3.11.7"


def test_a_preferred_version_that_the_repository_excludes_is_not_taken():
    assert chosen(preferred_minor=(3, 11), requires_python=">=3.12") == "3.14.0"


def test_versions_that_the_repository_excludes_are_left_out():
    assert chosen(requires_python=">=3.8,<3.12") == "3.11.7"


def test_versions_that_came_after_the_cutoff_are_left_out():
    assert chosen(cutoff=datetime(2023, 1, 1, tzinfo=UTC)) == "3.11.7"


def test_where_all_came_after_the_cutoff_the_oldest_is_taken():
    assert chosen(requires_python=">=3.9", cutoff=datetime(2019, 1, 1, tzinfo=UTC)) == "3.11.2"


def test_a_recorded_version_is_taken_exactly():
    assert chosen(exact_version="3.11.2") == "3.11.2"


def test_a_recorded_version_that_is_not_there_is_named():
    with pytest.raises(EnvironmentFailed, match=r"3\.11\.4.*3\.14\.0"):
        chosen(exact_version="3.11.4")


def test_an_unmet_need_names_what_is_needed_and_what_is_there():
    with pytest.raises(EnvironmentFailed, match=r">=3\.15.*3\.14\.0, 3\.12\.1"):
        chosen(requires_python=">=3.15")


def test_a_broken_specifier_says_where_to_give_another():
    with pytest.raises(EnvironmentFailed, match="requires_python"):
        chosen(requires_python="three")


def test_pythons_that_are_too_old_are_never_taken():
    with pytest.raises(EnvironmentFailed):
        chosen(requires_python="<3.6")


def test_a_python_newer_than_the_table_is_not_older_than_its_last_row():
    future = (Interpreter(version="3.16.0", path="/opt/3.16"), Interpreter(version="3.8.18", path="/opt/3.8"))
    assert choose_interpreter(future, cutoff=datetime(2026, 1, 1, tzinfo=UTC)).version == "3.8.18"
    assert choose_interpreter(future, cutoff=datetime(2028, 1, 1, tzinfo=UTC)).version == "3.16.0"
