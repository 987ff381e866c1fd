"""`docs/schema.md`, written from the models, so that it cannot disagree with them: `python -m storage.schema_docs`."""

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from schemas.code import CandidateRejection
from schemas.manifest import ShardManifest
from schemas.model import Model
from schemas.reports import Rejection
from schemas.tasks import SCHEMA_VERSION, RejectedCandidate, TaskInstance
from storage.durable import write_whole
from storage.layout import SHARD_GLOB

_SCALARS = {
    str: "string",
    int: "int64",
    float: "double",
    bool: "bool",
    date: "date",
    datetime: "timestamp[us, tz=UTC]",
}

_INTRODUCTION = f"""\
<!-- Written by `python -m storage.schema_docs` from the models in `schemas/`; change the text there. -->

# Schema of a dataset

Version {SCHEMA_VERSION}. It is in every shard's Arrow metadata (`gymforge.schema_version`), in every row
(`schema_version`) and in `manifest.json`.

**How it changes.** A new field that has a default (in a manifest), or a new column that may be null (in a shard),
raises the second number; anything else raises the first. gymforge reads everything with its own first number and no
higher second one, and fills in what was not there; what is newer it refuses, and names the version that wrote it.
Shards are never rewritten for a new version: a dataset may hold several, and its manifest has the version of its last
writer. Releases are written in the newest. Datasets of every earlier version are kept in `tests/storage/versions/`, and
tests read, query, release and add to them.

| version | what it added |
|---|---|
| 1.2 | of an ingestion: `first_commit`; of a release: `splits_by_history` |
| 1.1 | of a task: `attribution`, `source_hash`; of an ingestion: `attribution`, `root_commits`, `settings`; |
| | of a release: `checked`, `last_checked_at`, `rules` |
| 1.0 | |

A dataset folder holds:

| path | what it is |
|---|---|
| `{SHARD_GLOB}` | released tasks, one [TaskInstance](#taskinstance) a row; immutable |
| `rejected/*.parquet` | what did not become a task, one [RejectedCandidate](#rejectedcandidate) a row |
| `manifest.json` | a [ShardManifest](#shardmanifest), written last: what it does not name is not in the dataset |
| `ledger/` | the working store of runs under way; not part of the dataset, can be deleted when nothing runs |
| `runs/` | times and logs of runs; not part of the dataset |

Shards are named after the repository and the first 8 digits of its commit. A `~` in a name follows a word that some
readers would take for the name of a split. Within a repository's shards, rows are sorted by `instance_id`
(`candidate_id` in rejected shards), in row groups of at most 500, compressed with zstd. Types below are Arrow's; only
a field whose type ends in `or null` can be null. Lists of test names are plain `list<string>`, stored in Parquet with
a dictionary.

Any reader of Parquet will do:

```python
polars.scan_parquet("DIR/{SHARD_GLOB}")
datasets.load_dataset("parquet", data_files="DIR/{SHARD_GLOB}")
duckdb.read_parquet("DIR/{SHARD_GLOB}")
task_registry.load_tasks("DIR")  # typed, and checked against the manifest
```

SWE-bench's columns have SWE-bench's names. `patch` is the fix, as there: the tree that a task starts from is
`base_commit` plus `bug_patch`, and `patch` is the exact reverse of `bug_patch`. (SWE-smith calls the bug `patch`.)
"""


class _Found(NamedTuple):
    """Types met on the way, in order of first use."""

    models: dict[type[Model], None]
    enums: dict[type[StrEnum], None]


def render() -> str:
    """The whole page."""
    found = _Found({}, {})
    sections = [_INTRODUCTION]
    pages: dict[str, type[Model]] = {
        "Tasks": TaskInstance,
        "Rejected candidates": RejectedCandidate,
        "Manifest": ShardManifest,
    }
    for title, model in pages.items():
        sections.append(f"## {title}\n")
        sections.extend(_model_sections(model, found))
    found.enums.update({CandidateRejection: None, Rejection: None})
    sections.append("## Values\n")
    sections.extend(_enum_section(enum) for enum in found.enums)
    return "\n".join(sections)


def _model_sections(model: type[Model], found: _Found) -> Iterator[str]:
    """A table for the model, then for each model in it that has none yet."""
    if model in found.models:
        return
    found.models[model] = None
    yield _model_section(model, found)
    for nested in _models_in(model):
        yield from _model_sections(nested, found)


def _model_section(model: type[Model], found: _Found) -> str:
    rows = []
    for name, field in model.model_fields.items():
        found.enums.update(dict.fromkeys(one for one in _leaves(field.annotation) if issubclass(one, StrEnum)))
        meaning = field.description or next((_docstring(leaf) for leaf in _leaves(field.annotation)), "")
        rows.append(f"| `{name}` | {_type_name(field.annotation)} | {_cell(meaning)} |")
    table = "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])
    return "\n".join([f"### {model.__name__}\n", *_paragraph(_docstring(model)), table, ""])


def _enum_section(enum: type[StrEnum]) -> str:
    meanings = _member_docstrings(enum)
    rows = [f"| `{member.value}` | {_cell(meanings.get(member.name, ''))} |" for member in enum]
    table = "\n".join(["| value | meaning |", "|---|---|", *rows])
    return "\n".join([f"### {enum.__name__}\n", *_paragraph(_docstring(enum)), table, ""])


def _paragraph(text: str) -> list[str]:
    return [f"{text}\n"] if text else []


def _models_in(model: type[Model]) -> list[type[Model]]:
    leaves = (leaf for field in model.model_fields.values() for leaf in _leaves(field.annotation))
    return [leaf for leaf in leaves if issubclass(leaf, Model)]


def _leaves(annotation: Any) -> Iterator[type]:
    """The classes in an annotation, `None` and `...` left out."""
    arguments = get_args(annotation)
    if arguments:
        for argument in arguments:
            yield from _leaves(argument)
    elif isinstance(annotation, type) and annotation is not types.NoneType:
        yield annotation


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is types.UnionType:
        (kind,) = (one for one in arguments if one is not types.NoneType)
        return f"{_type_name(kind)} or null"
    if origin is tuple:
        return f"list&lt;{_type_name(arguments[0])}&gt;"
    if origin is Mapping:
        return f"map&lt;{_type_name(arguments[0])}, {_type_name(arguments[1])}&gt;"
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    link = f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return f"string, a {link}" if issubclass(annotation, StrEnum) else f"struct {link}"


def _docstring(kind: type) -> str:
    """The class's own first paragraph; empty for built-in types and where it has none."""
    if not issubclass(kind, (Model, StrEnum)):
        return ""
    return inspect.cleandoc(vars(kind).get("__doc__") or "").split("\n\n")[0].replace("\n", " ")


def _member_docstrings(enum: type[StrEnum]) -> dict[str, str]:
    """The texts beneath an enum's members, which Python does not keep at run time."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{enum} is not defined by a class statement")
    meanings = {}
    member = ""
    for statement in definition.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]):
                member = name
            case ast.Expr(value=ast.Constant(value=str(text))) if member:
                meanings[member] = text
            case _:
                member = ""
    return meanings


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: list[str]) -> None:
    """Write the page to the path given, `docs/schema.md` without one."""
    write_whole(Path(arguments[0] if arguments else "docs/schema.md"), render().encode())


if __name__ == "__main__":
    main(sys.argv[1:])
