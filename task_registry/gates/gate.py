"""What gates are told of a task, and what they answer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas.model import Model

PERMISSIVE = (
    "0BSD",
    "AFL-3.0",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause-Clear",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "HPND",
    "ISC",
    "MIT",
    "MIT-0",
    "NCSA",
    "PSF-2.0",
    "PostgreSQL",
    "Python-2.0",
    "Unlicense",
    "UPL-1.0",
    "X11",
    "Zlib",
)
"""SPDX ids of licences that ask for no more than attribution."""


class Facts(NamedTuple):
    """What is looked at in a task; the fields are those of `TaskInstance`, `entity` that of its provenance."""

    instance_id: str
    repo: str
    base_commit: str
    license_spdx: str
    strategy: str
    entity: str
    bug_patch: str
    problem_statement: str


class Finding(NamedTuple):
    """Why a task stays out."""

    reason: str
    """One of a few words of the gate's."""
    detail: str
    """More about it, for people."""


class GateSettings(Model):
    """What a user may set."""

    licences: tuple[str, ...] = PERMISSIVE
    """SPDX ids that are allowed."""
    benchmarks: tuple[str, ...] = ()
    """Files with the rows of benchmarks that nothing may overlap with."""
    near: float = 0.95
    """From which similarity (of Jaccard, 0 to 1) two texts or two bugs are nearly the same; above 1 for never."""


class Gate(Protocol):
    """A check over all tasks at once."""

    def __call__(self, tasks: Sequence[Facts], settings: GateSettings, /) -> Mapping[str, Finding]:
        """Instance id to why it stays out; the same for the same tasks, in whatever order.

        Raises:
            MissingExtra: a library that it needs is not installed.
        """
        ...
