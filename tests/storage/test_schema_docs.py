"""The schema's page is what the models say."""

from enum import StrEnum
from pathlib import Path

from schemas.code import CandidateRejection
from schemas.reports import Rejection
from schemas.tasks import RejectedCandidate, TaskInstance
from storage.schema_docs import _member_docstrings, main, render

PAGE = Path(__file__).parents[2] / "docs" / "schema.md"


class Colour(StrEnum):
    """Docstring of the class."""

    RED = "red"
    BLUE = "blue"
    """Like the sky."""

    @property
    def is_warm(self) -> bool:
        """Not a member."""
        return self is Colour.RED


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "run: python -m storage.schema_docs"


def test_page_names_every_column() -> None:
    page = render()
    for model in (TaskInstance, RejectedCandidate):
        assert [name for name in model.model_fields if f"| `{name}` |" not in page] == []


def test_page_names_every_reason_of_rejection() -> None:
    page = render()
    assert [reason for reason in (*CandidateRejection, *Rejection) if f"| `{reason.value}` |" not in page] == []


def test_text_beneath_an_enum_member_is_its_meaning() -> None:
    assert _member_docstrings(Colour) == {"BLUE": "Like the sky."}


def test_page_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    main([str(tmp_path / "docs" / "schema.md")])
    assert (tmp_path / "docs" / "schema.md").read_text() == render()
