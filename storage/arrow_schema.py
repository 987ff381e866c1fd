"""The Arrow schemas of the shards and how each column is encoded in Parquet; imports pyarrow, so import it late."""

import pyarrow as pa

from schemas.tasks import SCHEMA_VERSION

VERSION_KEY = b"gymforge.schema_version"
_METADATA = {VERSION_KEY: SCHEMA_VERSION.encode()}


def _list(kind: pa.DataType) -> pa.DataType:
    """A list whose child bears the name that Parquet gives it, so that a schema is read as it was written."""
    return pa.list_(pa.field("element", kind))


_TEXT = pa.string()
_TEXTS = _list(_TEXT)
_INT = pa.int64()
_TIME = pa.timestamp("us", tz="UTC")

_DOMAIN = pa.struct([("label", _TEXT), ("score", pa.float64()), ("evidence", _TEXTS)])

_COMPLEXITY = pa.struct(
    [
        ("score", pa.float64()),
        ("cyclomatic", _INT),
        ("cognitive", _INT),
        ("nesting", _INT),
        ("lines", _INT),
        ("changed_lines", _INT),
        ("files", _INT),
        ("functions", _INT),
        ("call_distance", _INT),
    ]
)

_STEP = pa.struct([("kind", _TEXT), ("description", _TEXT), ("files", _TEXTS), ("symbols", _TEXTS), ("tests", _TEXTS)])
_PLAN = pa.struct([("goal", _TEXT), ("steps", _list(_STEP))])

_EDIT_TARGET = pa.struct(
    [
        ("path", _TEXT),
        ("language", _TEXT),
        ("symbol", _TEXT),
        ("node_kind", _TEXT),
        ("start_line", _INT),
        ("end_line", _INT),
        ("start_byte", _INT),
        ("end_byte", _INT),
        ("op", _TEXT),
        ("before", _TEXT),
        ("after", _TEXT),
        ("search", _TEXT),
        ("replace", _TEXT),
    ]
)

_VALIDATION = pa.struct(
    [
        ("sandbox", _TEXT),
        ("baseline_runs", _INT),
        ("bugged_runs", _INT),
        ("flaky_excluded", _INT),
        ("fast_path", pa.bool_()),
        ("audited", pa.bool_()),
    ]
)

_PROVENANCE = pa.struct(
    [
        ("url", _TEXT),
        ("gymforge_version", _TEXT),
        ("generator", _TEXT),
        ("seed", _INT),
        ("candidate_seed", _INT),
        ("config_hash", _TEXT),
        ("entity", _TEXT),
        ("python_version", _TEXT),
        ("dependency_mode", _TEXT),
        ("dependencies", _TEXTS),
        ("environment", _TEXTS),
        ("tagger_versions", _TEXTS),
        ("issue_reveals", _TEXTS),
    ]
)

TASK_SCHEMA = pa.schema(
    [
        ("repo", _TEXT),
        ("instance_id", _TEXT),
        ("base_commit", _TEXT),
        ("patch", _TEXT),
        ("test_patch", _TEXT),
        ("problem_statement", _TEXT),
        ("hints_text", _TEXT),
        ("created_at", _TIME),
        ("version", _TEXT),
        ("FAIL_TO_PASS", _TEXTS),
        ("PASS_TO_PASS", _TEXTS),
        ("environment_setup_commit", _TEXT),
        ("bug_patch", _TEXT),
        ("image_name", _TEXT),
        ("test_command", _TEXTS),
        ("language", _TEXT),
        ("domain", _list(_DOMAIN)),
        ("complexity", _COMPLEXITY),
        ("strategy", _TEXT),
        ("issue_style", _TEXT),
        ("license_spdx", _TEXT),
        ("attribution", _TEXTS),
        ("source_hash", _TEXT),
        ("plan", _PLAN),
        ("edit_targets", _list(_EDIT_TARGET)),
        ("validation", _VALIDATION),
        ("provenance", _PROVENANCE),
        ("content_hash", _TEXT),
        ("schema_version", _TEXT),
    ],
    metadata=_METADATA,
)
"""`TaskInstance`, column by column. Lists are plain `list<string>`: every reader of Parquet knows them."""

REJECTED_SCHEMA = pa.schema(
    [
        ("repo", _TEXT),
        ("base_commit", _TEXT),
        ("candidate_id", _TEXT),
        ("strategy", _TEXT),
        ("path", _TEXT),
        ("entity", _TEXT),
        ("stage", _TEXT),
        ("reason", _TEXT),
        ("detail", _TEXT),
        ("bug_patch", _TEXT),
        ("schema_version", _TEXT),
    ],
    metadata=_METADATA,
)
"""`RejectedCandidate`, column by column."""

_EACH_ROW_ITS_OWN = frozenset(
    {
        "instance_id",
        "candidate_id",
        "patch",
        "bug_patch",
        "problem_statement",
        "content_hash",
        "plan.goal",
        "plan.steps.list.element.description",
        "edit_targets.list.element.before",
        "edit_targets.list.element.after",
        "edit_targets.list.element.search",
        "edit_targets.list.element.replace",
    }
)


def completed(table: pa.Table) -> pa.Table:
    """Tasks of any version that can be read, with the columns of this one; those that were not there are null."""
    missing = [field for field in TASK_SCHEMA if field.name not in table.schema.names]
    for field in missing:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(TASK_SCHEMA.names)


def dictionary_columns(schema: pa.Schema) -> list[str]:
    """Parquet leaf paths whose text repeats from row to row (test names, versions): stored once, then by number."""
    leaves = [leaf for field in schema for leaf in _text_leaves(field.name, field.type)]
    return [leaf for leaf in leaves if leaf not in _EACH_ROW_ITS_OWN]


def _text_leaves(path: str, kind: pa.DataType) -> list[str]:
    if pa.types.is_string(kind):
        return [path]
    if pa.types.is_list(kind):
        return _text_leaves(f"{path}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [leaf for child in kind for leaf in _text_leaves(f"{path}.{child.name}", child.type)]
    return []
