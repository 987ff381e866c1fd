"""Refuse what cannot work before anything heavy starts: options, the config file, the output folder, the sandbox."""

from extractors.profile_file import read_profile_file
from extractors.source import parse_source
from flows.settings import IngestSettings
from storage.durable import refuse_unwritable
from storage.layout import DatasetLayout
from storage.lock import refuse_held
from storage.manifest import refuse_unusable
from synthesis.strategy import select_strategies
from validation.sandbox.select import open_backend


def refuse_bad_settings(settings: IngestSettings) -> None:
    """Look at everything that a user may have written wrong and that can be judged at once; changes nothing.

    Raises:
        InvalidInput: the source's form, a strategy, the config file or the output folder is wrong.
        DatasetError: another process writes to the output folder.
        StorageFailed: nothing can be written to the output folder.
        SandboxUnavailable, MissingExtra: the sandbox that was asked for is not there.
    """
    parse_source(settings.source)
    select_strategies(settings.strategies)
    if settings.config is not None:
        read_profile_file(settings.config.parent, settings.config)
    layout = DatasetLayout(settings.out.resolve())
    refuse_unusable(layout)
    refuse_unwritable(layout.root)
    refuse_held(layout)
    open_backend(settings.sandbox, cache_dir=settings.cache_dir)
