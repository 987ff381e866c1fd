"""Refuse what cannot work before anything heavy starts: options, the config file, the output folder, the sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extractors.profile_file import read_profile_file
from extractors.source import parse_source
from flows.ray_cluster import require_cluster
from flows.settings import IngestSettings
from schemas.errors import GymforgeError, InvalidInput
from storage.durable import refuse_unwritable, require_usable
from storage.layout import DatasetLayout
from storage.manifest import refuse_same_work, refuse_unusable
from synthesis.strategy import select_strategies
from validation.sandbox.select import open_backend


def refuse_bad_settings(settings: IngestSettings) -> None:
    """Look at everything that a user may have written wrong and that can be judged at once.

    Changes nothing, but makes the cache's folder.

    Raises:
        InvalidInput: the source's form, a strategy, the config file, the output folder or the cluster is wrong.
        DatasetError: another process ingests the same source into the output folder.
        StorageFailed: nothing can be written to the output folder, or to the cache's.
        SandboxUnavailable, MissingExtra: the sandbox or the cluster that was asked for is not there.
    """
    with _looking():
        parse_source(settings.source)
    select_strategies(settings.strategies)
    if settings.config is not None:
        read_profile_file(settings.config.parent, settings.config)
    layout = refuse_bad_ground(settings.out, sandbox=settings.sandbox, cache_dir=settings.cache_dir, ray=settings.ray)
    refuse_same_work(layout, settings.work)


def refuse_bad_ground(out: Path, *, sandbox: str, cache_dir: Path, ray: str | None = None) -> DatasetLayout:
    """The same for what all repositories of a list share: the output folder, the sandbox, the cache and a cluster."""
    with _looking():
        try:
            layout = DatasetLayout(out.resolve())
        except RuntimeError as error:  # how Python 3.11 and 3.12 tell of links in a circle
            raise InvalidInput(f"--out {out}: {error}. Choose another folder.") from error
    refuse_unusable(layout)
    refuse_unwritable(layout.root)
    open_backend(sandbox, cache_dir=cache_dir)
    if ray is not None:
        require_cluster(ray)
    require_usable(cache_dir, instead="name another cache folder in GYMFORGE_CACHE_DIR")
    return layout


@contextmanager
def _looking() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a name that is too long, a folder that may not be looked into, links in a circle
        if isinstance(error, GymforgeError):
            raise
        raise InvalidInput(f"cannot look at {str(error.filename)!r}: {error.strerror}. Check the spelling.") from error
