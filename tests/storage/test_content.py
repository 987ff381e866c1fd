"""The content hash."""

from datetime import timedelta, timezone

import pytest

from schemas.tasks import TaskInstance
from storage.content import content_hash, seal, source_hash


def test_sealing_again_changes_nothing(make_task) -> None:
    assert seal(make_task(1)) == make_task(1)


def test_hash_does_not_depend_on_itself(make_task) -> None:
    task = make_task(1)
    assert content_hash(task.model_copy(update={"content_hash": "other"})) == task.content_hash


def test_hash_is_the_same_in_every_time_zone(make_task) -> None:
    task = make_task(1)
    moved = task.created_at.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert content_hash(task.model_copy(update={"created_at": moved})) == task.content_hash


@pytest.mark.parametrize("name", sorted(set(TaskInstance.model_fields) - {"content_hash"}))
def test_every_other_field_changes_the_hash(make_task, name: str) -> None:
    task, other = make_task(1), make_task(2, created_at="2025-01-01T00:00:00Z")
    replacements = {
        "complexity": task.complexity.model_copy(update={"files": 7}),
        "plan": task.plan.model_copy(update={"goal": "other"}),
        "validation": task.validation.model_copy(update={"audited": True}),
        "language": "go",
        "created_at": other.created_at,
        "provenance": other.provenance,
        "edit_targets": other.edit_targets,
        "attribution": ("Copyright 2026 Acme",),
    }
    old = getattr(task, name)
    new = replacements.get(name, () if isinstance(old, tuple) else f"{old}x")
    assert content_hash(TaskInstance.model_validate({**dict(task), name: new})) != task.content_hash


def test_copies_of_a_file_differ_in_words_alone() -> None:
    assert source_hash(b"def f(a):\r\n\treturn a\r\n") == source_hash(b"def f(a):\n    return a")
    assert source_hash(b"def f(a):\n    return a") != source_hash(b"def f(a):\n    return b")


def test_hash_stays_what_it_was_released_as(make_task) -> None:
    assert (
        make_task(0, schema_version="1.0").content_hash
        == "54bf873320fe17b021e5b38b17a4aac401633794ecbc89b8f50cf0f3491981e1"
    )
