"""What gates are told of a task, and what they answer."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple, Protocol

from pydantic import Field

from schemas.health import HealthCheck
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
    """What is looked at in a task; the fields are those of `TaskInstance`, `entity` that of its provenance, `path` that
    of its first edit, `checks` the dataset's.
    """

    instance_id: str
    repo: str
    base_commit: str
    license_spdx: str
    strategy: str
    entity: str
    bug_patch: str
    problem_statement: str
    created_at: datetime
    """The commit's time."""
    issue_style: str = ""
    path: str = ""
    source_hash: str | None = None
    roots: tuple[str, ...] = ()
    """Commits without parents in its repository's history."""
    checks: tuple[HealthCheck, ...] = ()
    """What it gave when it was run again, oldest first."""
    other_text: str = ""
    """Everything else of it that is text: plan, edits, environment variables; a line each."""

    tests: tuple[str, ...] = ()
    """Ids of all tests of its repository's suite that are recorded; one tuple for all tasks of a commit."""

    def texts(self) -> tuple[str, ...]:
        """What is looked through for what must not be given away; patches without the marks before their lines.

        And `tests`, which gates look through once for all tasks that share them.
        """
        patch = "\n".join(line[1:] for line in self.bug_patch.split("\n"))
        return (self.problem_statement, patch, self.other_text)


def facts_of_text(name: str, text: str) -> Facts:
    """A text that is no task's, as gates look through texts."""
    return Facts(
        instance_id=name,
        repo="",
        base_commit="",
        license_spdx="",
        strategy="",
        entity="",
        bug_patch="",
        problem_statement=text,
        created_at=datetime.min.replace(tzinfo=UTC),
    )


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
    since: date | None = None
    """Tasks of commits from before that day (UTC) stay out: models and benchmarks of the time may know them."""
    near: float = Field(default=0.95, gt=0)
    """From which similarity (of Jaccard, 0 to 1) two texts or two bugs are nearly the same; above 1 for never."""


class Gate(Protocol):
    """A check over all tasks at once."""

    def __call__(self, tasks: Sequence[Facts], settings: GateSettings, /) -> Mapping[str, Finding]:
        """Instance id to why it stays out; the same for the same tasks, in whatever order.

        Raises:
            MissingExtra: a library that it needs is not installed.
        """
        ...
