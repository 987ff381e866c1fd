"""Which tests the readers of printed logs can tell of."""

from hypothesis import given
from hypothesis import strategies as st

from storage.formats.seen import read_id, unseen_tests

FILES = ("tests/test_a.py", "tests/unit/test_b.py")


def unseen(*recorded: str, others: tuple[str, ...] = ()) -> set[str]:
    return unseen_tests(recorded, others=others, test_files=FILES)


def test_ids_without_white_space_are_seen() -> None:
    assert not unseen("tests/test_a.py::test_x[a-b::c/é]", "tests/test_a.py::TestB::test_y")


def test_ids_with_white_space_are_not_seen() -> None:
    assert unseen("tests/test_a.py::t[a b]", "tests/test_a.py::t[a\u2009b]", "tests/test_a.py::t") == {
        "tests/test_a.py::t[a b]",
        "tests/test_a.py::t[a\u2009b]",
    }


def test_a_test_whose_name_begins_an_unseen_one_is_not_trusted() -> None:
    assert unseen("tests/test_a.py::case", "tests/test_a.py::ok", others=("tests/test_a.py::case two",)) == {
        "tests/test_a.py::case"
    }


def test_an_id_that_counts_from_another_folder_is_not_seen() -> None:
    assert unseen("test_a.py::test_x", "unit/test_b.py::test_y") == {"test_a.py::test_x", "unit/test_b.py::test_y"}
    assert not unseen("README.rst::README.rst", "src/a.py::a.f")


@given(st.sets(st.text(min_size=1)))
def test_what_is_seen_keeps_its_id_and_shares_it_with_nobody(tests: set[str]) -> None:
    seen = tests - unseen(*tests)
    assert all(read_id(test) == test for test in seen)
    assert not seen & {read_id(test) for test in tests - seen}
