"""A complete row to vary, and dataset folders to put rows into."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.manifest import Ingestion
from schemas.tasks import RejectedCandidate, TaskInstance
from storage.content import seal
from storage.layout import DatasetLayout
from storage.manifest import open_for_writing

REPO = "acme/tinystats"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _task(number: int = 0, **changes: Any) -> TaskInstance:
    fields: dict[str, Any] = {
        "repo": REPO,
        "instance_id": f"acme__tinystats.01234567.op_change__{number:010x}",
        "base_commit": COMMIT,
        "patch": f"diff --git a/s.py b/s.py\n-{number}\n+a < b\n",
        "test_patch": "",
        "problem_statement": f"rolling_mean is wrong for {number}; größer, 数",
        "hints_text": "",
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "version": "v1.2-3-g0123456",
        "FAIL_TO_PASS": ("tests/test_s.py::test_even[a b-ä]",),
        "PASS_TO_PASS": ("tests/test_s.py::test_one", "tests/test_s.py::test_two"),
        "environment_setup_commit": COMMIT,
        "bug_patch": f"diff --git a/s.py b/s.py\n-a < b\n+{number}\n",
        "image_name": "gymforge/acme__tinystats:abcdefabcdef",
        "test_command": ("python", "-m", "pytest"),
        "language": "python",
        "domain": [{"label": "scientific-computing", "score": 0.8, "evidence": ["import:math"]}],
        "complexity": {
            "score": 0.31,
            "cyclomatic": 4,
            "cognitive": 3,
            "nesting": 2,
            "lines": 20,
            "changed_lines": 1,
            "files": 1,
            "functions": 1,
            "call_distance": None,
        },
        "strategy": "op_change",
        "issue_style": "from_test_output",
        "license_spdx": "MIT",
        "plan": {
            "goal": "Make it right",
            "steps": [{"kind": "verify", "description": "d", "files": [], "symbols": [], "tests": ["t"]}],
        },
        "edit_targets": [
            {
                "path": "s.py",
                "language": "python",
                "symbol": "f",
                "node_kind": "comparison_operator",
                "start_line": 1,
                "end_line": 1,
                "start_byte": 0,
                "end_byte": 5,
                "op": "replace",
                "before": str(number),
                "after": "a < b",
                "search": f"{number}\n",
                "replace": "a < b\n",
            }
        ],
        "validation": {
            "sandbox": "local",
            "baseline_runs": 3,
            "bugged_runs": 2,
            "flaky_excluded": 0,
            "fast_path": False,
            "audited": False,
        },
        "provenance": {
            "url": "https://example.org/acme/tinystats",
            "gymforge_version": "0.1.0",
            "generator": "swesmith==0.0.9",
            "seed": 0,
            "candidate_seed": number,
            "config_hash": "c0",
            "entity": "f",
            "python_version": "3.11.7",
            "dependency_mode": "newest",
            "dependencies": ["pytest==9.0.0"],
            "tagger_versions": ["radon==6"],
            "issue_reveals": ["behaviour"],
        },
        "content_hash": "",
    }
    return seal(TaskInstance.model_validate(fields | changes))


@pytest.fixture(scope="session")
def make_task() -> Callable[..., TaskInstance]:
    return _task


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


@pytest.fixture(scope="session")
def make_ingestion() -> Callable[..., Ingestion]:
    def make(**changes: Any) -> Ingestion:
        fields = {
            "repo": REPO,
            "url": "https://example.org/acme/tinystats",
            "commit": COMMIT,
            "license_spdx": "MIT",
            "sandbox": "local",
            "config_hash": "c0",
            "seed": 0,
            "tasks": 0,
            "rejected": {},
            "quarantined": {},
            "shards": (),
            "rejected_shards": (),
        }
        return Ingestion.model_validate(fields | changes)

    return make


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[DatasetLayout]:
    """A new dataset folder, held for writing."""
    with open_for_writing(tmp_path / "dataset") as layout:
        yield layout
