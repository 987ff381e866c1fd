"""Formats that other tools read tasks in. A new one is a file here and a row in the table."""

from importlib import import_module
from types import MappingProxyType

from storage.formats.format import DatasetFormat, Playable, Recipe, Written

FORMATS = MappingProxyType(
    {
        "swebench": "storage.formats.swebench:Swebench",
        "swesmith": "storage.formats.swesmith:Swesmith",
        "harbor": "storage.formats.harbor:Harbor",
    }
)
"""Name on the command line to class."""

__all__ = ["FORMATS", "DatasetFormat", "Playable", "Recipe", "Written", "dataset_format"]


def dataset_format(name: str) -> DatasetFormat:
    """The format with a name of the table."""
    module, _, found = FORMATS[name].partition(":")
    made: DatasetFormat = getattr(import_module(module), found)()
    return made
