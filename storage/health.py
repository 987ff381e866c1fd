"""A dataset's history of checks, one JSON line each, oldest first; beside the manifest, for no shard depends on it."""

from collections.abc import Iterable

from pydantic import ValidationError

from schemas.errors import DatasetDamaged
from schemas.health import HealthCheck
from storage.durable import write_whole
from storage.layout import DatasetLayout
from storage.manifest import committing


def parse_health(text: bytes, *, where: str) -> tuple[HealthCheck, ...]:
    """The checks in a history's text; `where` names it in errors.

    Raises:
        DatasetDamaged: a line cannot be understood.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found.append(HealthCheck.model_validate_json(line))
        except ValidationError as error:
            raise DatasetDamaged(
                f"{where}, line {number}, is damaged: {error.errors(include_url=False)[0]['msg']}. Restore the file, "
                "or delete the line: the check is forgotten then."
            ) from error
    return tuple(found)


def read_health(layout: DatasetLayout) -> tuple[HealthCheck, ...]:
    """All checks of a dataset, oldest first; none where there was none.

    Raises:
        DatasetDamaged: the history cannot be understood.
    """
    try:
        return parse_health(layout.health.read_bytes(), where=str(layout.health))
    except FileNotFoundError:
        return ()


def add_health(layout: DatasetLayout, checks: Iterable[HealthCheck]) -> None:
    """Add checks to the history; several processes may do so at the same time.

    Raises:
        DatasetError, StorageFailed: the dataset cannot be written to.
    """
    with committing(layout):
        lines = [one.model_dump_json() for one in (*read_health(layout), *checks)]
        write_whole(layout.health, "".join(f"{line}\n" for line in lines).encode())
