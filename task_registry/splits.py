"""Which split a repository belongs to: by the hash of its name, so that no other repository has a say in it."""

import hashlib
import math
from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from schemas.manifest import Release
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
        return cls(shares=release.shares, seed=release.splits_seed) if release else cls()

    def split_of(self, repo: str) -> str:
        """The split of a repository, by `owner/name`."""
        digest = hashlib.sha256(f"split\0{self.seed}\0{repo.lower()}".encode()).digest()
        point, reached = int.from_bytes(digest[:8], "big") / _UNIT, 0.0
        chosen = ""
        for name, share in sorted(self.shares.items()):
            chosen = name if share or not chosen else chosen
            reached += share
            if share and point < reached:
                return name
        return chosen
