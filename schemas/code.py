"""Code as the pipeline sees it: spans, entities, and candidate bugs."""

from enum import StrEnum

from pydantic import Field

from schemas.model import Model
from schemas.repo import Language


class Span(Model):
    """A region of a file. Lines count from 1 and are inclusive; bytes count from 0 and are half open."""

    start_line: int = Field(ge=1)
    end_line: int = Field(ge=0)
    start_byte: int = Field(ge=0)
    end_byte: int = Field(ge=0)


class EntityKind(StrEnum):
    FUNCTION = "function"
    METHOD = "method"
    CLASS = "class"


class CodeEntity(Model):
    """A function, method or class in a checkout."""

    path: str
    name: str
    """Dotted path inside the file: `Outer.method`, `outer.<locals>.inner` is written `outer.inner`."""
    kind: EntityKind
    span: Span
    """From the first decorator to the last line of the body."""
    language: Language
    complexity: int = Field(ge=1)
    """Cyclomatic complexity."""


class Candidate(Model):
    """A bug that may or may not be caught by a test."""

    strategy: str
    """Name of the strategy, as in its table (`op_change`, `ctrl_invert_if`, ...)."""
    entity: CodeEntity
    """The entity that was rewritten, as it stands in the clean tree."""
    bug_patch: str
    """Unified diff, git style, from the clean tree to the bugged tree; it changes `entity.path` and nothing else.
    SWE-smith calls this `patch`."""
    explanation: str
    """What the strategy does, in its own words."""
    seed: int
    """Seed of the generator that made it; derived from the run's seed, the strategy and the entity."""


class CandidateRejection(StrEnum):
    """Why a strategy's rewrite never became a candidate."""

    NO_OP = "no_op"
    """The syntax tree is unchanged."""
    REFORMATTING = "reformatting"
    """Only layout or comments changed."""
    SYNTAX_ERROR = "syntax_error"
    """The rewritten file does not parse."""
    DUPLICATE = "duplicate"
    """Another candidate makes the same file."""
    DANGLING_REFERENCE = "dangling_reference"
    """Removed a definition that its own class or module still uses by a plain name at import."""
    STRATEGY_FAILED = "strategy_failed"
    """The strategy raised an error; the message is kept."""
    NOT_RECONSTRUCTED = "not_reconstructed"
    """The rewrite could not be carried over to the file's own text without loss."""


class RejectedRewrite(Model):
    """A rewrite that was dropped before any test ran."""

    strategy: str
    path: str
    entity: str
    reason: CandidateRejection
    detail: str = ""
