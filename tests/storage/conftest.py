"""A complete row to vary, and dataset folders to put rows into."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.tasks import RejectedCandidate
from storage.layout import DatasetLayout
from storage.manifest import open_for_writing

REPO = "acme/tinystats"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def make_rejected() -> Callable[..., RejectedCandidate]:
    def make(number: int = 0, **changes: Any) -> RejectedCandidate:
        fields = {
            "repo": REPO,
            "base_commit": COMMIT,
            "candidate_id": f"acme__tinystats.01234567.op_change__{number:010x}",
            "strategy": "op_change",
            "path": "s.py",
            "entity": "f",
            "stage": "validation",
            "reason": "no_test_failed",
            "detail": "",
            "bug_patch": "diff",
        }
        return RejectedCandidate.model_validate(fields | changes)

    return make


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[DatasetLayout]:
    """A new dataset folder, held for writing."""
    with open_for_writing(tmp_path / "dataset") as layout:
        yield layout
