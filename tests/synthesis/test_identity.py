"""Ids and seeds come from content alone."""

import re

from hypothesis import given
from hypothesis import strategies as st

from synthesis.identity import derive_seed, instance_id, stable_hash

COMMIT = "0123456789abcdef0123456789abcdef01234567"
names = st.from_regex(r"[A-Za-z0-9-]{1,20}/[A-Za-z0-9._-]{1,20}", fullmatch=True)


def test_an_id_is_stable():
    assert (
        instance_id("mahmoud/boltons", COMMIT, "op_change", "patch")
        == "mahmoud__boltons.01234567.op_change__ef9a3dbeab"
    )


@given(name=names, patch=st.text())
def test_an_id_has_two_dots_and_plain_parts(name, patch):
    made = instance_id(name, COMMIT, "op_change", patch)
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[0-9a-f]{8}\.op_change__[0-9a-f]{10}", made)


def test_a_source_without_owner_is_local():
    assert instance_id("tinystats", COMMIT, "op_change", "x").startswith("local__tinystats.")


@given(st.lists(st.tuples(names, st.text()), unique=True, max_size=8))
def test_other_repositories_or_patches_give_other_ids(pairs):
    assert len({instance_id(name, COMMIT, "op_change", patch) for name, patch in pairs}) == len(pairs)


@given(st.text(), st.text())
def test_parts_are_never_run_together(left, right):
    assert stable_hash(left, right) != stable_hash(left + right)


@given(st.integers(), st.text())
def test_seeds_fit_into_a_signed_64_bit_column(seed, part):
    assert 0 <= derive_seed(seed, part) < 2**63


def test_seeds_of_two_purposes_differ():
    assert (
        len({derive_seed(1, "a", "b"), derive_seed(1, "ab"), derive_seed(2, "a", "b"), derive_seed(1, "b", "a")}) == 4
    )
