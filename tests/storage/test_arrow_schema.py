"""The Arrow schemas say what the models say."""

import types
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args, get_origin

import pyarrow as pa
import pytest

from schemas.model import Model
from schemas.tasks import SCHEMA_VERSION, RejectedCandidate, TaskInstance
from storage.arrow_schema import REJECTED_SCHEMA, TASK_SCHEMA, VERSION_KEY, dictionary_columns

SCALARS = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", "UTC"),
}


def arrow_type(annotation: Any) -> pa.DataType:
    if get_origin(annotation) is types.UnionType:
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) is tuple:
        item, rest = get_args(annotation)
        assert rest is Ellipsis
        return pa.list_(arrow_type(item))
    if annotation in SCALARS:
        return SCALARS[annotation]
    if issubclass(annotation, StrEnum):
        return pa.string()
    assert issubclass(annotation, Model)
    return pa.struct([(name, arrow_type(field.annotation)) for name, field in annotation.model_fields.items()])


@pytest.mark.parametrize(("schema", "model"), [(TASK_SCHEMA, TaskInstance), (REJECTED_SCHEMA, RejectedCandidate)])
def test_schema_matches_model_field_by_field(schema: pa.Schema, model: type[Model]) -> None:
    expected = [(name, arrow_type(field.annotation)) for name, field in model.model_fields.items()]
    assert [(field.name, field.type) for field in schema] == expected


def test_columns_stand_in_the_documented_order() -> None:
    assert TASK_SCHEMA.names == [
        "repo",
        "instance_id",
        "base_commit",
        "patch",
        "test_patch",
        "problem_statement",
        "hints_text",
        "created_at",
        "version",
        "FAIL_TO_PASS",
        "PASS_TO_PASS",
        "environment_setup_commit",
        "bug_patch",
        "image_name",
        "test_command",
        "language",
        "domain",
        "complexity",
        "strategy",
        "issue_style",
        "license_spdx",
        "attribution",
        "source_hash",
        "plan",
        "edit_targets",
        "validation",
        "provenance",
        "content_hash",
        "schema_version",
    ]


@pytest.mark.parametrize("schema", [TASK_SCHEMA, REJECTED_SCHEMA])
def test_schema_version_is_in_the_metadata(schema: pa.Schema) -> None:
    assert schema.metadata[VERSION_KEY] == SCHEMA_VERSION.encode()


def test_test_names_are_dictionary_encoded_and_patches_are_not() -> None:
    columns = dictionary_columns(TASK_SCHEMA)
    assert {
        "FAIL_TO_PASS.list.element",
        "PASS_TO_PASS.list.element",
        "plan.steps.list.element.tests.list.element",
    } <= set(columns)
    assert not {"patch", "bug_patch", "problem_statement", "instance_id"} & set(columns)
