"""The base of every gymforge type: frozen, closed to unknown fields, documented field by field."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A frozen pydantic model; unknown fields are errors, and the text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
