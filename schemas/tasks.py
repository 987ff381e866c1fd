"""The released row: a task instance, its tags, plan and edit targets."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from schemas.model import Model
from schemas.repo import DependencyMode, Language, SandboxKind

SCHEMA_VERSION = "1.0"


class DomainLabel(Model):
    label: str
    """A label of the closed list in `extractors/taggers/domain.py`."""
    score: float = Field(ge=0.0, le=1.0)
    evidence: tuple[str, ...]
    """What speaks for it, as `kind:value`: `import:math`, `path:series.py`, `dependency:numpy`, `classifier:...`."""


class Complexity(Model):
    """How hard the touched code is, measured on the clean tree."""

    score: float = Field(ge=0.0, le=1.0)
    """One number; the formula is in `docs/schema.md`."""
    cyclomatic: int
    """Highest cyclomatic complexity among the touched functions."""
    cognitive: int
    """Highest cognitive complexity (Campbell, SonarSource 2018) among the touched functions."""
    nesting: int
    """Deepest nesting of control structures among the touched functions."""
    lines: int
    """Source lines of the touched functions."""
    changed_lines: int
    """Lines removed plus lines added by the fix, a replaced line counting once."""
    files: int
    functions: int
    call_distance: int | None
    """Shortest path, in calls, from a failing test to the edit through functions that the test executed; null where there is none."""


class Tags(Model):
    language: Language
    domain: tuple[DomainLabel, ...]
    complexity: Complexity
    tagger_versions: tuple[str, ...]
    """`name==version` of the taggers and grammars, sorted."""


class StepKind(StrEnum):
    REPRODUCE = "reproduce"
    LOCALIZE = "localize"
    REPAIR = "repair"
    VERIFY = "verify"


class PlanStep(Model):
    kind: StepKind
    description: str
    files: tuple[str, ...]
    symbols: tuple[str, ...]
    tests: tuple[str, ...]


class Plan(Model):
    """The high level of the decomposition; every statement can be recomputed from the facts."""

    goal: str
    steps: tuple[PlanStep, ...]


class EditOp(StrEnum):
    REPLACE = "replace"
    INSERT = "insert"
    DELETE = "delete"


class EditTarget(Model):
    """The low level: one edit of the task's tree. Edits are applied in order, each on the result of those before it."""

    path: str
    language: Language
    symbol: str
    """Dotted name of the innermost function or class around the edit; empty at module level."""
    node_kind: str
    """tree-sitter kind of the smallest named node that holds the change in the tree being edited."""
    start_line: int
    """Line of the first byte, from 1."""
    end_line: int
    """Line of the last byte, inclusive; equal to `start_line` for an insertion."""
    start_byte: int
    end_byte: int
    """Half-open byte range in the file as it is when this edit's turn comes."""
    op: EditOp
    before: str
    """Text of that range; empty for an insertion."""
    after: str
    """Text that takes its place; empty for a deletion."""
    search: str
    """Whole lines that occur exactly once in the file when this edit's turn comes; empty means a new file."""
    replace: str
    """What these lines become (the search/replace form of the Aider polyglot benchmark)."""


class Issue(Model):
    """A problem statement and how it was made."""

    text: str = Field(min_length=1)
    style: str
    """Name of the style, as in the writers' table."""
    reveals: tuple[str, ...]
    """What the style may reveal: `files`, `functions`, `tests`, `bug_kind`, `behaviour`."""


class Validation(Model):
    """How the task was proven."""

    sandbox: SandboxKind
    baseline_runs: int
    bugged_runs: int
    flaky_excluded: int
    """Tests of the repository that are in quarantine."""
    fast_path: bool
    """Whether only the tests that can be affected ran."""
    audited: bool
    """Whether a whole-suite run in a fresh sandbox confirmed the fast path."""


class Provenance(Model):
    """From what the task was made; with it, the task can be made again."""

    url: str
    gymforge_version: str
    generator: str
    """`name==version` of the library that made the bug."""
    seed: int
    """The run's seed."""
    candidate_seed: int
    config_hash: str
    entity: str
    """Dotted name of the rewritten entity."""
    python_version: str
    dependency_mode: DependencyMode
    dependencies: tuple[str, ...]
    """`name==version` of everything in the environment."""
    tagger_versions: tuple[str, ...]
    issue_reveals: tuple[str, ...]


class TaskInstance(Model):
    """One released row: SWE-bench's columns under their names, then ours."""

    repo: str
    """`owner/name`."""
    instance_id: str
    """`owner__repo.<commit, 8>.<strategy>__<hash, 10>`, the hash over repository, commit and bug patch."""
    base_commit: str
    """The commit that the clean tree is."""
    patch: str
    """The fix: git diff from the task's tree (`base_commit` plus `bug_patch`) to the clean tree."""
    test_patch: str
    """Tests to add before grading; empty here, for the failing tests are in the repository."""
    problem_statement: str
    hints_text: str
    """Always empty: kept for SWE-bench's readers."""
    created_at: datetime
    """The commit's time, UTC."""
    version: str
    """`git describe --tags` of the commit; empty without tags."""
    FAIL_TO_PASS: tuple[str, ...]
    """Stable tests that fail in the task's tree and pass after the fix, sorted."""
    PASS_TO_PASS: tuple[str, ...]
    """Stable tests that pass in both, sorted."""
    environment_setup_commit: str
    """The commit that the environment was built from; equals `base_commit`."""
    bug_patch: str
    """The bug: git diff from the clean tree to the task's tree; exact reverse of `patch`. SWE-smith calls this `patch`."""
    image_name: str
    """Name of the environment, a hash of its inputs; a Docker image where the sandbox is Docker."""
    test_command: tuple[str, ...]
    language: Language
    domain: tuple[DomainLabel, ...]
    complexity: Complexity
    strategy: str
    issue_style: str
    license_spdx: str
    plan: Plan
    edit_targets: tuple[EditTarget, ...]
    validation: Validation
    provenance: Provenance
    content_hash: str
    """SHA-256 over the row's other fields in canonical JSON."""
    schema_version: str = SCHEMA_VERSION


class RejectedCandidate(Model):
    """One row of a rejected shard: what was tried and why it is not a task."""

    repo: str
    base_commit: str
    candidate_id: str
    """The instance id that it would have had; for a rewrite that never became a candidate, a hash of its place."""
    strategy: str
    path: str
    entity: str
    stage: str
    """`synthesis`, `validation` or `finish`."""
    reason: str
    """A value of `CandidateRejection` or `Rejection`."""
    detail: str
    bug_patch: str
    """Empty for a rewrite that never became a candidate."""
    schema_version: str = SCHEMA_VERSION
