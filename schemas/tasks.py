"""The released row: a task instance, its tags, plan and edit targets."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from schemas.model import Model
from schemas.repo import DependencyMode, Language, SandboxKind

SCHEMA_VERSION = "1.2"
"""`MAJOR.MINOR`; what raises which number is in `docs/schema.md`."""


def is_readable(version: str) -> bool:
    """Whether what has that schema version can be read: of the same major number, and no later minor one."""
    major, _, minor = version.partition(".")
    own_major, _, own_minor = SCHEMA_VERSION.partition(".")
    return major == own_major and minor.isascii() and minor.isdigit() and int(minor) <= int(own_minor)


class DomainLabel(Model):
    label: str
    """A label of the closed list in `extractors/taggers/domain.py`."""
    score: float = Field(ge=0.0, le=1.0)
    """How much speaks for it, 0..1."""
    evidence: tuple[str, ...]
    """What speaks for it, as `kind:value`: `import:math`, `path:series.py`, `dependency:numpy`, `classifier:...`."""


class Complexity(Model):
    """How hard the touched code is, measured on the clean tree."""

    score: float = Field(ge=0.0, le=1.0)
    """One number; the formula is in `docs/tags.md`."""
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
    """Files that the fix changes."""
    functions: int
    """Functions that the fix changes."""
    call_distance: int | None
    """Shortest path, in calls, from a failing test to the edit through functions that the test executed; null where
    there is none."""


class Tags(Model):
    language: Language
    domain: tuple[DomainLabel, ...]
    complexity: Complexity
    tagger_versions: tuple[str, ...]
    """`name==version` of the taggers and grammars, sorted."""


class StepKind(StrEnum):
    REPRODUCE = "reproduce"
    """Run the failing tests."""
    LOCALIZE = "localize"
    """Narrow down where the bug is."""
    REPAIR = "repair"
    """Change the code."""
    VERIFY = "verify"
    """Run the tests that prove the repair."""


class PlanStep(Model):
    kind: StepKind
    """What the step is for."""
    description: str
    """One statement that is true of this bug, in words."""
    files: tuple[str, ...]
    """Paths that the step concerns, sorted."""
    symbols: tuple[str, ...]
    """Dotted names of the functions and classes that the step concerns."""
    tests: tuple[str, ...]
    """Test ids that prove the step."""


class Plan(Model):
    """The high level of the decomposition; every statement can be recomputed from the facts."""

    goal: str
    """What is right when the task is done, in one sentence."""
    steps: tuple[PlanStep, ...]
    """In the order in which they are taken."""


class EditOp(StrEnum):
    REPLACE = "replace"
    """`before` becomes `after`; neither is empty."""
    INSERT = "insert"
    """`after` is put at `start_byte`; `before` is empty."""
    DELETE = "delete"
    """`before` goes; `after` is empty."""


class EditTarget(Model):
    """The low level: one edit of the task's tree. Edits are applied in order, each on the result of those before it."""

    path: str
    """POSIX path of the file in the repository."""
    language: Language
    """Language of the file."""
    symbol: str
    """Dotted name of the innermost function or class around the edit; empty at module level."""
    node_kind: str
    """tree-sitter kind of the smallest named node that holds the change in the tree being edited; for an insertion, of
    the node that it becomes part of."""
    start_line: int
    """Line of the first byte, from 1."""
    end_line: int
    """Line of the last byte, inclusive; equal to `start_line` for an insertion."""
    start_byte: int
    """First byte of the range."""
    end_byte: int
    """Half-open byte range in the file as it is when this edit's turn comes."""
    op: EditOp
    """What happens to the range."""
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
    """Kind of sandbox in which the tests ran."""
    baseline_runs: int
    """Runs of the whole suite on the clean tree."""
    bugged_runs: int
    """Runs on the task's tree."""
    flaky_excluded: int
    """Tests of the repository that are in quarantine."""
    fast_path: bool
    """Whether the repository's candidates were judged by the tests that they can affect; what that left open was judged
    by whole suites in fresh sandboxes."""
    audited: bool
    """Whether it was chosen to be judged by whole suites in fresh sandboxes, whatever the fast path said, which gave
    the same where it said anything."""


class Provenance(Model):
    """From what the task was made; with it, the task can be made again."""

    url: str
    """The source as given, without credentials; `local/NAME` for a local path."""
    gymforge_version: str
    """Version of gymforge that made the row."""
    generator: str
    """`name==version` of the library that made the bug."""
    seed: int
    """The run's seed."""
    candidate_seed: int
    """Seed of the generator that made the bug."""
    config_hash: str
    """Hash of every setting that can change the rows."""
    entity: str
    """Dotted name of the rewritten entity."""
    python_version: str
    """Version of Python in the environment."""
    dependency_mode: DependencyMode
    """Which releases of the dependencies the environment holds."""
    dependencies: tuple[str, ...]
    """`name==version` of everything in the environment."""
    environment: tuple[str, ...]
    """`NAME=value` of the variables that builds and tests get beyond the frozen ones, sorted."""
    tagger_versions: tuple[str, ...]
    """`name==version` of the taggers and grammars, sorted."""
    issue_reveals: tuple[str, ...]
    """What the issue's style may reveal: `files`, `functions`, `tests`, `bug_kind`, `behaviour`."""


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
    """The issue's text, never empty."""
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
    """The bug: git diff from the clean tree to the task's tree, exact reverse of `patch`. SWE-smith's `patch`."""
    image_name: str
    """Name of the environment, a hash of its inputs; a Docker image where the sandbox is Docker."""
    test_command: tuple[str, ...]
    """Command of the whole suite, run in the root of the tree."""
    language: Language
    """Language of the changed file."""
    domain: tuple[DomainLabel, ...]
    """What the changed code is about, by label."""
    complexity: Complexity
    strategy: str
    """Name of the strategy that made the bug (`op_change`, `ctrl_invert_if`, ...)."""
    issue_style: str
    """Name of the style in which the issue is written."""
    license_spdx: str
    """SPDX expression from the repository's own licence files; `NOASSERTION` where it is not certain."""
    attribution: tuple[str, ...] | None = None
    """Copyright lines of these files, as they stand there; null in rows of schema 1.0."""
    source_hash: str | None = None
    """SHA-256 of the words of the changed file before the bug: equal in copies of it; null in rows of schema 1.0."""
    plan: Plan
    """The fix, step by step, in words."""
    edit_targets: tuple[EditTarget, ...]
    """The fix as edits of the task's tree, to be applied in order."""
    validation: Validation
    provenance: Provenance
    content_hash: str
    """SHA-256 over the row's other fields in canonical JSON."""
    schema_version: str = SCHEMA_VERSION
    """Version of this schema."""


class RejectedCandidate(Model):
    """One row of a rejected shard: what was tried and why it is not a task."""

    repo: str
    """`owner/name`."""
    base_commit: str
    """The commit that the clean tree is."""
    candidate_id: str
    """The instance id that it would have had; for a rewrite that never became a candidate, a hash of its place."""
    strategy: str
    """Name of the strategy that was tried."""
    path: str
    """File that was to be changed."""
    entity: str
    """Dotted name of the function, method or class that was rewritten."""
    stage: str
    """`synthesis`, `validation`, `finish` or `release`."""
    reason: str
    """A value of `CandidateRejection` or `Rejection`, or a gate's name and reason."""
    detail: str
    """More about the reason, for people; may be empty, and is for `timed_out` and `incomplete`, whose details hang on
    how busy the machine was."""
    bug_patch: str
    """Empty for a rewrite that never became a candidate, and for what a release left out."""
    schema_version: str = SCHEMA_VERSION
    """Version of this schema."""
