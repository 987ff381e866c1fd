"""The whole walk on the bundled sample repository, in the real embedded sandbox."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from extractors.diff import apply_patch
from extractors.edits import apply_edits
from extractors.search_replace import apply_search_replace
from flows.judging import Wave
from flows.pipeline import IngestResult, Pipeline
from flows.reverify import verify_dataset
from flows.settings import IngestSettings
from flows.statistics import count_dataset
from schemas.errors import DatasetError, InvalidInput, SandboxFailed
from schemas.reports import VerdictStatus
from schemas.tasks import TaskInstance
from storage.content import content_hash
from storage.ledger import Ledger
from task_registry import load_rejected, load_tasks
from validation.sandbox.select import open_backend

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]

Settings = Callable[..., IngestSettings]
Walk = Callable[[Pipeline], IngestResult]


def fingerprints(out: Path) -> dict[str, str]:
    files = sorted([*out.glob("data/*"), *out.glob("rejected/*"), out / "manifest.json"])
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def ingested(sample_settings: Settings, tmp_path_factory: pytest.TempPathFactory, walk: Walk) -> IngestResult:
    return walk(Pipeline(sample_settings(tmp_path_factory.mktemp("sample") / "out")))


@pytest.fixture(scope="module")
def tasks(ingested: IngestResult) -> list[TaskInstance]:
    return list(load_tasks(ingested.out, check=True))


@pytest.fixture(scope="module")
def tree(ingested: IngestResult, tmp_path_factory: pytest.TempPathFactory, sample_settings: Settings) -> Path:
    from extractors.acquire import acquire

    settings = sample_settings(ingested.out)
    destination = tmp_path_factory.mktemp("tree") / "tree"
    return acquire(settings.source, ref=None, cache_dir=settings.cache_dir, destination=destination).path


def test_the_cap_is_met_and_strategies_are_mixed(ingested: IngestResult, tasks: list[TaskInstance]) -> None:
    assert len(tasks) == ingested.ingestion.tasks == 4
    assert len({task.strategy for task in tasks}) >= 3
    asked = ingested.ingestion.settings
    assert asked is not None
    assert (asked.max_tasks, asked.config) == (4, "")
    assert set(asked.strategies) == {"op_change", "remove_cond", "ctrl_invert_if", "flip_operators"}


def test_every_task_holds_the_invariants(tasks: list[TaskInstance], tree: Path) -> None:
    for task in tasks:
        (path,) = {target.path for target in task.edit_targets}
        clean = (tree / path).read_bytes()
        bugged = apply_patch(clean, task.bug_patch)
        assert bugged != clean
        assert apply_patch(bugged, task.patch) == clean
        assert apply_edits(bugged, task.edit_targets) == clean
        assert apply_search_replace(bugged, task.edit_targets) == clean
        assert task.FAIL_TO_PASS
        assert task.PASS_TO_PASS
        assert set(task.FAIL_TO_PASS).isdisjoint(task.PASS_TO_PASS)
        assert task.problem_statement.strip()
        assert task.content_hash == content_hash(task)
        assert task.license_spdx == "MIT"
        assert [step.kind for step in task.plan.steps] == ["reproduce", "localize", "repair", "verify"]
        assert any(one.startswith("pytest==") for one in task.provenance.dependencies)


def test_the_manifest_keeps_whose_the_code_is(ingested: IngestResult) -> None:
    assert ingested.ingestion.attribution == ("Copyright (c) 2024 The gymforge maintainers",)


def test_every_rejected_candidate_keeps_its_reason(ingested: IngestResult) -> None:
    rejected = list(load_rejected(ingested.out))
    assert sum(ingested.ingestion.rejected.values()) == len(rejected)
    assert all(row.reason for row in rejected)
    assert len({row.candidate_id for row in rejected}) == len(rejected)


def test_stock_pytest_agrees_with_every_task(ingested: IngestResult, sample_settings: Settings) -> None:
    cache = sample_settings(ingested.out).cache_dir
    outcome = verify_dataset(ingested.out, sample=None, sandbox="local", source=None, workers=2, cache_dir=cache)
    assert outcome.verified == 4
    assert outcome.disagreeing == {}


def test_statistics_count_what_the_shards_hold(ingested: IngestResult, tasks: list[TaskInstance]) -> None:
    counted = count_dataset(ingested.out)
    assert counted.tasks == len(tasks)
    assert sum(numbers.get("accepted", 0) for numbers in counted.yields.values()) == len(tasks)
    (run,) = counted.runs
    assert run.stages_s["validate"] > 0
    assert run.executions >= 2 * len(tasks)


def test_the_same_ingestion_again_does_nothing(ingested: IngestResult, sample_settings: Settings, walk: Walk) -> None:
    before = fingerprints(ingested.out)
    again = walk(Pipeline(sample_settings(ingested.out)))
    assert again.repeated
    assert fingerprints(ingested.out) == before


def test_another_seed_does_not_go_into_the_same_folder(
    ingested: IngestResult, sample_settings: Settings, walk: Walk
) -> None:
    with pytest.raises(DatasetError, match="--out"):
        walk(Pipeline(sample_settings(ingested.out, seed=1)))


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_never_changes_a_byte(
    ingested: IngestResult, sample_settings: Settings, tmp_path: Path, workers: int, walk: Walk
) -> None:
    walk(Pipeline(sample_settings(tmp_path / "out", workers=workers)))
    assert fingerprints(tmp_path / "out") == fingerprints(ingested.out)


def test_a_stopped_run_goes_on_without_repeating_a_validation(
    ingested: IngestResult, sample_settings: Settings, tmp_path: Path, walk: Walk
) -> None:
    class Stopped(Exception):
        pass

    class StopsEarly(Pipeline):
        judged = 0

        def validate(self, wave: Wave) -> int:
            positions = [wave.take() for _ in range(2)]
            if self.judged >= 2:
                raise Stopped
            self.judged += super().validate(Wave([position for position in positions if position is not None]))
            return 2

    settings = sample_settings(tmp_path / "out", workers=1)
    with pytest.raises(Stopped):
        walk(StopsEarly(settings))
    assert not list((tmp_path / "out" / "data").iterdir()), "nothing is released before the end"
    result = walk(Pipeline(settings))
    assert fingerprints(tmp_path / "out") == fingerprints(ingested.out)
    assert result.executions == sum_of_executions(tmp_path / "out")


def test_rows_are_made_while_others_are_judged_and_the_cap_ends_it(
    ingested: IngestResult, sample_settings: Settings, tmp_path: Path
) -> None:
    made: list[int] = []
    with Pipeline(sample_settings(tmp_path / "out", workers=1)) as pipeline:
        pipeline.acquire()
        pipeline.prepare()
        pipeline.synthesize()
        pipeline.measure_impact()
        for number, wave in enumerate(pipeline.waves()):
            assert number == 0, "nobody waits for the last of a wave"
            while len(wave):
                one = Wave([position] if (position := wave.take()) is not None else [])
                if not pipeline.validate(one):
                    break
                pipeline.count()
                made.append(len(pipeline._tasks))
        pipeline.write()
    assert made[-1] == 4
    assert sorted(made) == made
    assert 1 in made, "the first was made before the last was judged"
    assert fingerprints(tmp_path / "out") == fingerprints(ingested.out)


def test_a_candidate_that_could_not_be_judged_is_put_back(sample_settings: Settings, tmp_path: Path) -> None:
    class Fails:
        def judge(self, position: int) -> None:
            raise SandboxFailed(str(position))

    pipeline, wave = Pipeline(sample_settings(tmp_path / "out")), Wave([5])
    pipeline._judging = Fails()  # type: ignore[assignment]
    with pytest.raises(SandboxFailed, match="5"):
        pipeline.validate(wave)
    assert wave.take() == 5


def test_a_run_whose_last_tasks_are_there_and_whose_first_is_not_goes_on(
    ingested: IngestResult, sample_settings: Settings, tmp_path: Path, walk: Walk
) -> None:
    """As a run leaves it that is killed while one of its workers is at the first of them."""
    settings = sample_settings(tmp_path / "out")
    with Pipeline(settings) as pipeline:
        pipeline.acquire()
        pipeline.prepare()
        pipeline.synthesize()
        pipeline.measure_impact()
        pipeline.validate(Wave(range(1, 10)))
        found = [pipeline._judging.verdict(position) for position in range(1, 10)]
    assert sum(proof is not None and proof.verdict.status is VerdictStatus.ACCEPTED for proof in found) >= 4
    walk(Pipeline(settings))
    assert fingerprints(settings.out) == fingerprints(ingested.out)


def sum_of_executions(out: Path) -> int:
    """The ledger refuses a second verdict of a candidate, so its sum is what was really needed."""
    path = next(out.glob("ledger/*.sqlite"))
    with Ledger.open(path, identity="none") as ledger:
        (identity,) = ledger.identities()
    with Ledger.open(path, identity=identity) as ledger:
        return ledger.executions()


def test_an_environment_that_is_gone_is_built_again_as_it_was_recorded(
    sample_settings: Settings, tmp_path: Path, walk: Walk
) -> None:
    config = tmp_path / "odd.toml"
    config.write_text('[environment]\nODD = "yes"\n')
    settings = sample_settings(tmp_path / "out", max_tasks=1, config=config)
    result = walk(Pipeline(settings))
    backend = open_backend("local", cache_dir=settings.cache_dir)
    image = result.ingestion.environment.image_name
    backend.remove(image)
    again = {"sample": 1, "sandbox": "local", "workers": 1, "cache_dir": settings.cache_dir}
    (lost,) = verify_dataset(settings.out, source=None, **again).unchecked
    assert "--source" in lost.reason
    outcome = verify_dataset(settings.out, source=settings.source, **again)
    assert (outcome.verified, outcome.disagreeing) == (1, {})
    assert backend.has(image)
    (task,) = load_tasks(settings.out)
    assert task.provenance.environment == ("ODD=yes",)


def test_an_unknown_strategy_names_the_known_ones(sample_settings: Settings, tmp_path: Path, walk: Walk) -> None:
    with pytest.raises(InvalidInput, match="op_change"):
        walk(Pipeline(sample_settings(tmp_path / "out", strategies=("no_such",))))


@pytest.mark.docker
def test_docker_gives_the_same_tasks(
    ingested: IngestResult, sample_settings: Settings, tmp_path: Path, walk: Walk
) -> None:
    walk(Pipeline(sample_settings(tmp_path / "out", sandbox="docker")))
    ours = {task.instance_id: task for task in load_tasks(ingested.out)}
    theirs = {task.instance_id: task for task in load_tasks(tmp_path / "out")}
    assert set(ours) == set(theirs)
    for instance_id, task in theirs.items():
        assert task.FAIL_TO_PASS == ours[instance_id].FAIL_TO_PASS
        assert task.PASS_TO_PASS == ours[instance_id].PASS_TO_PASS
        assert task.patch == ours[instance_id].patch
