"""Lists of repositories to ingest: a TOML or CSV file, or what a dataset or a query of one holds."""

import csv
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from extractors.source import strip_credentials
from schemas.errors import InvalidInput
from schemas.manifest import Ingestion
from schemas.model import Model

_NEXT = "See docs/schedules.md for what such a list looks like."


class Repository(Model):
    """One line of a list; what it leaves open is as for all."""

    source: str = Field(min_length=1)
    """As for `gymforge ingest`; a path is relative to the list."""
    ref: str | None = None
    """Branch, tag or commit; where not given, the newest commit of the source's default branch."""
    max_tasks: int | None = Field(default=None, ge=1)
    strategies: tuple[str, ...] | None = None
    config: Path | None = None
    """A `gymforge.toml`; relative to the list."""


def read_repositories(where_from: str, *, where: str = "") -> tuple[Repository, ...]:
    """The repositories that `where_from` names, in its order, none twice.

    `where_from`: a `.toml` file with `[[repository]]` tables and `[defaults]` for all of them, a `.csv` file with a
    header, or a dataset (folder or URL): the repositories of its tasks, of those for which the condition `where` holds.

    Raises:
        InvalidInput: it cannot be read, names nothing, or has a field that a repository does not have.
    """
    path = Path(where_from)
    if path.suffix not in {".toml", ".csv"}:
        found = _of_dataset(where_from, where)
    elif where:
        raise InvalidInput(f"--where chooses among the repositories of a dataset, and {where_from} is a list.")
    else:
        found = _of_file(path)
    if not found:
        raise InvalidInput(f"{where_from} names no repository. {_NEXT}")
    return tuple(dict.fromkeys(found))


def _of_file(path: Path) -> list[Repository]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _toml_rows(text, path) if path.suffix == ".toml" else _csv_rows(text, path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"cannot read {path}: {error}. {_NEXT}") from None
    found = []
    for where, row in rows:
        try:
            one = Repository.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            named = f" ({row['source']})" if isinstance(row.get("source"), str) else ""
            raise InvalidInput(f"{path}, {where}{named}, {field}: {first['msg']}. {_NEXT}") from None
        found.append(_beside(path, one))
    return found


def _toml_rows(text: str, path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Each with where it stands."""
    content = tomllib.loads(text)
    unknown = sorted(set(content) - {"defaults", "repository"})
    defaults, rows = content.get("defaults", {}), content.get("repository", [])
    if unknown or not isinstance(defaults, dict) or not isinstance(rows, list):
        told = f"it has {unknown[0]!r}" if unknown else "one of them is something else"
        raise InvalidInput(f"{path} may hold a table [defaults] and tables [[repository]]; {told}. {_NEXT}")
    return [
        (f"repository {number}", {**defaults, **row} if isinstance(row, dict) else {"source": row})
        for number, row in enumerate(rows, start=1)
    ]


def _csv_rows(text: str, path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Each with where it stands."""
    rows = csv.DictReader(text.splitlines(), strict=True)
    found: list[tuple[str, Mapping[str, Any]]] = []
    try:
        if "source" not in (rows.fieldnames or ()):
            raise InvalidInput(f"{path} has no column `source` in its first line. {_NEXT}")
        for row in rows:
            filled = {name: value for name, value in row.items() if value not in (None, "")}
            if isinstance(filled.get("strategies"), str):
                filled["strategies"] = filled["strategies"].split()
            found.append((f"line {rows.line_num}", {str(name): value for name, value in filled.items()}))
    except csv.Error as error:
        raise InvalidInput(f"cannot read {path}, line {rows.reader.line_num}: {error}. {_NEXT}") from None
    return found


def _beside(path: Path, one: Repository) -> Repository:
    """With paths as seen from here; a source is a path where something lies there."""
    source, config = path.parent / one.source, one.config
    is_path = "://" not in one.source and source.exists()
    return one.model_copy(
        update={
            "source": str(source.resolve()) if is_path else strip_credentials(one.source),
            "config": None if config is None else (path.parent / config).resolve(),
        }
    )


def _of_dataset(dataset: str, where: str) -> list[Repository]:
    from task_registry import Registry

    registry = Registry.open(dataset)
    chosen = {held.ingestion.repo for held in registry.held}
    if where:
        chosen = {one.repo for one in registry.summaries(where)}
    found: dict[str, Repository] = {}
    for one in (_as_ingested(held.ingestion) for held in registry.held if held.ingestion.repo in chosen):
        known = found.setdefault(one.source, one)
        if known.max_tasks is not None and (one.max_tasks is None or one.max_tasks > known.max_tasks):
            found[one.source] = one  # of several commits, the one of which most was asked for
    return list(found.values())


def _as_ingested(one: Ingestion) -> Repository:
    """With the cap and the strategies that it was ingested with."""
    asked = one.settings
    if asked is None:  # a manifest of an earlier version does not say
        return Repository(source=one.url)
    if asked.config:
        raise InvalidInput(
            f"{one.repo} was ingested with a file {asked.config}, which its dataset does not hold. Write a list that "
            f"names it. {_NEXT}"
        )
    return Repository(source=one.url, max_tasks=asked.max_tasks, strategies=asked.strategies)
