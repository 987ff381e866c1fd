"""Turn a proven candidate into a released row: edits, plan, tags and text, each checked before it counts."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from importlib.metadata import version
from typing import NamedTuple

from extractors.acquire import Checkout
from extractors.diff import apply_patch, make_patch
from extractors.edits import apply_edits, edit_targets
from extractors.facts import TaskFacts
from extractors.index import RepoIndex
from extractors.plan import make_plan
from extractors.plan_check import check_plan
from extractors.search_replace import apply_search_replace
from extractors.tags import tag_task
from schemas.code import Candidate
from schemas.repo import EnvironmentInfo, RepoProfile
from schemas.reports import Baseline, Rejection
from schemas.tasks import EditTarget, Issue, Provenance, TaskInstance, Validation
from storage.content import seal, source_hash
from storage.manifest import gymforge_version
from synthesis.issues import IssueContext, IssueLeaks, write_issue
from validation.validate import Proof


class Ground(NamedTuple):
    """What all tasks of one repository share."""

    checkout: Checkout
    profile: RepoProfile
    environment: EnvironmentInfo
    baseline: Baseline
    repository: RepoIndex
    test_command: tuple[str, ...]
    seed: int
    config_hash: str


class NotATask(NamedTuple):
    """An accepted bug that no sound task could be made of."""

    reason: Rejection
    detail: str


def assemble(
    candidate: Candidate,
    proof: Proof,
    *,
    instance_id: str,
    ground: Ground,
    taken: AbstractSet[str],
    fast_path: bool = False,
) -> TaskInstance | NotATask:
    """The row of an accepted candidate, or why there is none.

    `taken`: the texts of earlier tasks. `fast_path`: whether candidates are judged by the tests that they can affect.
    """
    path = candidate.entity.path
    clean = ground.repository.source(path)
    bugged = apply_patch(clean, candidate.bug_patch)
    facts = TaskFacts(
        candidate=candidate,
        clean=clean,
        bugged=bugged,
        fix_patch=make_patch(path, bugged, clean),
        fail_to_pass=proof.verdict.fail_to_pass,
        pass_to_pass=proof.verdict.pass_to_pass,
        failures=proof.failures,
    )
    targets = edit_targets(path, bugged, clean)
    plan = make_plan(facts, targets, ground.repository)
    broken = (*_broken_edits(facts, targets), *check_plan(plan, facts, targets, ground.repository))
    if broken:
        return NotATask(Rejection.INVARIANT_BROKEN, broken[0])
    try:
        issue = write_issue(_issue_context(facts, ground.repository), seed=ground.seed, taken=taken)
    except IssueLeaks as error:
        return NotATask(Rejection.ISSUE_LEAKS, str(error))
    tags = tag_task(facts, ground.repository)
    ref = ground.checkout.ref
    return seal(
        TaskInstance(
            repo=ref.name,
            instance_id=instance_id,
            base_commit=ref.commit,
            patch=facts.fix_patch,
            test_patch="",
            problem_statement=issue.text,
            hints_text="",
            created_at=ref.committed_at,
            version=ref.version,
            FAIL_TO_PASS=proof.verdict.fail_to_pass,
            PASS_TO_PASS=proof.verdict.pass_to_pass,
            environment_setup_commit=ref.commit,
            bug_patch=candidate.bug_patch,
            image_name=ground.environment.image_name,
            test_command=ground.test_command,
            language=tags.language,
            domain=tags.domain,
            complexity=tags.complexity,
            strategy=candidate.strategy,
            issue_style=issue.style,
            license_spdx=ref.license_spdx,
            attribution=ref.attribution,
            source_hash=source_hash(clean),
            plan=plan,
            edit_targets=targets,
            validation=Validation(
                sandbox=ground.environment.sandbox,
                baseline_runs=ground.baseline.runs,
                bugged_runs=proof.verdict.runs,
                flaky_excluded=len(ground.baseline.quarantined),
                fast_path=fast_path,
                audited=proof.audit is not None,
            ),
            provenance=_provenance(candidate, ground, tags.tagger_versions, issue),
            content_hash="",
        )
    )


def _broken_edits(facts: TaskFacts, targets: tuple[EditTarget, ...]) -> tuple[str, ...]:
    """The invariants of patches and edit targets that do not hold."""
    checks: dict[str, Callable[[], bytes]] = {
        "the fix patch does not restore the clean file": lambda: apply_patch(facts.bugged, facts.fix_patch),
        "the edit targets do not restore the clean file": lambda: apply_edits(facts.bugged, targets),
        "the search/replace pairs do not restore the clean file": lambda: apply_search_replace(facts.bugged, targets),
    }
    broken = []
    for what, restore in checks.items():
        try:
            restored = restore()
        except ValueError as error:
            broken.append(f"{what}: {error}")
        else:
            if restored != facts.clean:
                broken.append(what)
    return tuple(broken)


def _issue_context(facts: TaskFacts, index: RepoIndex) -> IssueContext:
    return IssueContext(
        candidate=facts.candidate,
        fix_patch=facts.fix_patch,
        fail_to_pass=facts.fail_to_pass,
        failures=facts.failures,
        test_sources={test: index.test_source(test) for test in facts.fail_to_pass[:50]},
    )


def _provenance(candidate: Candidate, ground: Ground, tagger_versions: tuple[str, ...], issue: Issue) -> Provenance:
    return Provenance(
        url=ground.checkout.ref.url,
        gymforge_version=gymforge_version(),
        generator=f"swesmith=={version('swesmith')}",
        seed=ground.seed,
        candidate_seed=candidate.seed,
        config_hash=ground.config_hash,
        entity=candidate.entity.name,
        python_version=ground.environment.python_version,
        dependency_mode=ground.environment.dependency_mode,
        dependencies=ground.environment.dependencies,
        environment=tuple(sorted(f"{name}={value}" for name, value in ground.profile.environment.items())),
        tagger_versions=tagger_versions,
        issue_reveals=issue.reveals,
    )
