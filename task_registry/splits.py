"""Which split a repository belongs to: by the hash of where its main line begins, so that no other has a say in it.

A fork begins where its origin does, and is in the same split. Where that is not known, the name stands for it.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from pydantic import Field, model_validator

from schemas.manifest import Ingestion, Release
from schemas.model import Model

_UNIT = 2**64
_TOLERANCE = 1e-9


class Splits(Model):
    """Shares of repositories by split; every repository is in exactly one, whole, whatever else is in the dataset.

    A split of few repositories can be far from its share, and empty. Names that differ in case alone are one name, as
    on GitHub.
    """

    shares: Mapping[str, float] = Field(default={"train": 0.9, "validation": 0.05, "test": 0.05})
    """Split to its share of repositories; together 1. Their order is no matter."""
    seed: int = 0
    """Another seed deals the repositories anew."""
    by_history: bool = True
    """Whether repositories of one history go together; else each by its name alone."""

    @model_validator(mode="after")
    def _is_whole(self) -> "Splits":
        if any(not share >= 0 for share in self.shares.values()):
            raise ValueError("a share is negative")
        if not math.isclose(sum(self.shares.values()), 1.0, abs_tol=_TOLERANCE):
            raise ValueError(f"the shares are {sum(self.shares.values())} together, not 1")
        return self

    @classmethod
    def of_release(cls, release: Release | None) -> Self:
        """How a release deals them; the default where there is none."""
        if release is None:
            return cls()
        return cls(shares=release.shares, seed=release.splits_seed, by_history=release.splits_by_history)

    def deal(self, ingestions: Iterable[Ingestion]) -> dict[str, str]:
        """Repository to its split, the same for all of its commits."""
        begins: dict[str, set[str]] = {}
        names: set[str] = set()
        for one in ingestions:
            names.add(one.repo)
            begins.setdefault(one.repo.lower(), set()).update(_beginning(one) if self.by_history else ())
        return {name: self.split_of(min(begins[name.lower()], default=name)) for name in sorted(names)}

    def split_of(self, beginning: str) -> str:
        """The split of what begins with a commit, by its full hash; or of `owner/name`, where none is known."""
        digest = hashlib.sha256(f"split\0{self.seed}\0{beginning.lower()}".encode()).digest()
        point, reached = int.from_bytes(digest[:8], "big") / _UNIT, 0.0
        chosen = ""
        for name, share in sorted(self.shares.items()):
            chosen = name if share or not chosen else chosen
            reached += share
            if share and point < reached:
                return name
        return chosen


def _beginning(ingestion: Ingestion) -> Sequence[str]:
    """The first commit, if it is known: what schema 1.1 wrote says it where there is one alone."""
    known = (ingestion.first_commit,) if ingestion.first_commit else ingestion.root_commits
    return known if len(known) == 1 else ()
