"""The table of issue styles: a name to the dotted path of its writer."""

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from schemas.errors import InvalidInput
from synthesis.issues.context import IssueWriter

WRITERS: Mapping[str, str] = {
    "nothing": "synthesis.issues.nothing.NothingWriter",
    "files": "synthesis.issues.files.FilesWriter",
    "functions": "synthesis.issues.functions.FunctionsWriter",
    "tests": "synthesis.issues.failing_tests.FailingTestsWriter",
    "bug_kind": "synthesis.issues.bug_kind.BugKindWriter",
    "from_test_output": "synthesis.issues.from_test_output.FromTestOutputWriter",
}
"""One file a writer. A writer that asks a language model is one more row."""


def style_names() -> tuple[str, ...]:
    """Every style, in the order of the table."""
    return tuple(WRITERS)


def load_writer(style: str) -> IssueWriter:
    """The writer of a style.

    Raises:
        InvalidInput: there is no such style.
    """
    path = WRITERS.get(style)
    if path is None:
        raise InvalidInput(f"There is no issue style {style!r}; choose among {', '.join(WRITERS)}.")
    module, _, name = path.rpartition(".")
    return cast("IssueWriter", getattr(import_module(module), name)())
