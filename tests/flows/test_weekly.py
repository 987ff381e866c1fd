"""Scheduled releases and checks, as flows of this process on the tests' server."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.publish import Publication
from flows.recheck import Unchecked
from flows.reverify import VerificationOutcome
from schemas.errors import DatasetError, PublishFailed, Unfinished, VerificationFailed
from schemas.tasks import TaskInstance
from storage.layout import DatasetLayout
from storage.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def datasets(tmp_path: Path, make_task: Callable[..., TaskInstance], write_dataset) -> list[str]:
    for number in range(2):
        commit = f"{number:08x}" * 5
        task = make_task(
            number,
            repo=f"acme/r{number}",
            base_commit=commit,
            instance_id=f"acme__r{number}.{commit[:8]}.op_change__{number:010x}",
        )
        write_dataset(tmp_path / f"d{number}", task)
    return [str(tmp_path / "d0"), str(tmp_path / "d1")]


@pytest.fixture
def on_server(orchestrator: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flows of this process run on the server, also where another test has imported Prefect before it was there."""
    for name, value in orchestrator.items():
        monkeypatch.setenv(name, value)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: orchestrator["PREFECT_API_URL"]}):
        yield


def publication(folder: Path) -> Publication:
    return Publication(repo_id="acme/tasks", revision="main", dry_run=False, tasks=1, files={}, url=folder.as_uri())


@pytest.mark.usefixtures("on_server")
def test_a_release_that_was_not_published_is_by_the_next_run_and_another_dataset_has_its_own(
    datasets: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, orchestrator: Mapping[str, str]
) -> None:
    from flows import weekly

    asked: list[Path] = []

    def refuse(folder: Path, _repo_id: str, **_: Any) -> Publication:
        asked.append(folder)
        raise PublishFailed("the hub says no")

    monkeypatch.setattr(weekly, "publish_release", refuse)
    releases = tmp_path / "releases"
    common: dict[str, Any] = {"releases": str(releases), "repo_id": "acme/tasks", "health": 0}
    with pytest.raises(PublishFailed):
        weekly.release(datasets[:1], **common)

    def accept(folder: Path, _repo_id: str, **_: Any) -> Publication:
        asked.append(folder)
        return publication(folder)

    monkeypatch.setattr(weekly, "publish_release", accept)
    weekly.release(datasets[:1], **common)
    (first,) = releases.iterdir()
    assert asked == [first, first]
    asked_for = {"artifacts": {"key": {"any_": ["gymforge-release"]}}, "sort": "CREATED_DESC", "limit": 1}
    answer = httpx.post(f"{orchestrator['PREFECT_API_URL']}/artifacts/filter", json=asked_for, trust_env=False)
    (shown,) = answer.raise_for_status().json()
    assert (shown["type"], first.as_uri() in shown["data"]) == ("markdown", True)

    weekly.release(datasets[1:], **common)
    second = first.with_name(f"{first.name}.2")
    assert asked[2:] == [second]
    repos = [{one.repo for one in read_manifest(DatasetLayout(path)).ingestions} for path in (first, second)]
    assert repos == [{"acme/r0"}, {"acme/r1"}]


@pytest.mark.usefixtures("on_server")
def test_other_rules_make_another_release(datasets: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from flows import weekly

    releases, rows = tmp_path / "releases", tmp_path / "bench.jsonl"
    rows.write_text('{"instance_id": "x"}\n')

    def made(**more: Any) -> int:
        weekly.release(datasets, releases=str(releases), health=0, **more)
        return len(list(releases.iterdir()))

    assert [made(), made(), made(benchmarks=[str(rows)]), made(benchmarks=[str(rows)])] == [1, 1, 2, 2]
    rows.write_text('{"instance_id": "y"}\n')
    assert [made(benchmarks=[str(rows)]), made(benchmarks=[str(rows)])] == [3, 3]
    monkeypatch.setattr(weekly, "gymforge_version", lambda: "another")
    assert made(benchmarks=[str(rows)]) == 4


@pytest.mark.usefixtures("on_server")
def test_releases_go_on_as_the_newest_one_was_dealt(datasets: list[str], tmp_path: Path) -> None:
    from flows import weekly

    releases = tmp_path / "releases"
    shutil.copytree(Path(__file__).parents[1] / "storage" / "releases" / "1.1", releases / "2020-01-02")
    weekly.release(datasets, releases=str(releases), health=0)
    (new,) = set(releases.iterdir()) - {releases / "2020-01-02"}
    before, after = (read_manifest(DatasetLayout(path)).release for path in (releases / "2020-01-02", new))
    assert (after.shares, after.splits_seed, after.splits_by_history) == (before.shares, before.splits_seed, False)


@pytest.mark.usefixtures("on_server")
def test_a_server_that_does_not_show_what_was_done_fails_nothing_that_was(
    datasets: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flows import artifacts, weekly

    def gone(**_: Any) -> None:
        raise httpx.ConnectError("the server is gone")

    for name in ("table", "image", "link", "markdown"):
        monkeypatch.setattr(artifacts, f"create_{name}_artifact", gone)
    ended = weekly.release(datasets[:1], releases=str(tmp_path / "releases"), health=0, return_state=True)
    assert ended.is_completed()


@pytest.mark.usefixtures("on_server")
def test_a_check_that_does_not_end_is_given_up(datasets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a repository's boundary catches, it is not this."""
    import flows.recheck
    from flows import weekly

    def endless(*_: object, **__: object) -> None:
        time.sleep(120)

    monkeypatch.setattr(flows.recheck, "open_backend", endless)
    assert (weekly.check_health.timeout_seconds, weekly.release.timeout_seconds) == (6 * 3600, 12 * 3600)
    began = time.monotonic()
    soon = weekly.check_health.with_options(timeout_seconds=5)
    ended = soon(datasets, return_state=True)
    assert (ended.name, time.monotonic() - began < 60) == ("TimedOut", True)


@pytest.mark.usefixtures("on_server")
def test_checks_that_find_something_fail_and_name_it(datasets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import weekly

    against: dict[str, tuple[str, ...]] = {}
    lost: list[Unchecked] = []

    def verify(directory: Path, **asked: Any) -> VerificationOutcome:
        assert (asked["sample"], asked["record"]) == (7, True)
        if not directory.exists():
            raise DatasetError("it is no dataset")
        ids = () if lost else (f"{directory.name}-task",)
        return VerificationOutcome(
            sandbox="local", verified=len(ids), disagreeing=against, ids=ids, unchecked=tuple(lost)
        )

    monkeypatch.setattr(weekly, "verify_dataset", verify)
    assert weekly.check_health(datasets, sample=7, return_state=True).name == "Completed"
    some = weekly.check_health([f"{datasets[0]}-gone", *datasets], sample=7, return_state=True)
    told = "2 tasks run again, 0 do not hold, 1 could not be checked"
    assert (some.type.value, some.name, some.message) == ("COMPLETED", "CompletedWithFailures", told)
    against["d1-task"] = ("t::a passed",)
    with pytest.raises(VerificationFailed, match="2 tasks run again, 1 do not hold, 1 could not be checked: d1-task"):
        weekly.check_health([f"{datasets[0]}-gone", *datasets], sample=7)
    lost.append(Unchecked(repo="a/b", commit="0", ids=("one", "two"), reason="its clone is gone"))
    with pytest.raises(Unfinished, match=r"2 could not be checked. The first: its clone is gone"):
        weekly.check_health(datasets[:1], sample=7)
