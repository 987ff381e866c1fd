"""The Prefect flows that keep what was made worth having: checks of finished tasks, and releases, published."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from flows.artifacts import run_log, show_bars, show_folder, show_link, show_table
from flows.ingest import is_transient
from flows.publish import Publication, publish_release
from flows.recheck import told
from flows.release import ReleaseSettings, make_release
from flows.reverify import verify_dataset
from flows.settings import default_workers
from schemas.errors import Unfinished, VerificationFailed
from schemas.manifest import Release, ShardManifest
from storage.layout import DatasetLayout
from storage.manifest import gymforge_version, read_manifest
from task_registry import Registry
from task_registry.gates import GateSettings, rules_of
from task_registry.gates.health import in_quarantine
from task_registry.splits import Splits

CHECK_LIMIT_S = 6 * 3600
RELEASE_LIMIT_S = 12 * 3600
"""After which a run is given up: what it holds up is worth more than its end. What was found is kept."""


@flow(name="check-health", timeout_seconds=CHECK_LIMIT_S)
def check_health(datasets: list[str], *, sample: int = 20, sandbox: str = "auto", workers: int | None = None) -> Any:
    """Run a sample of each dataset's tasks again, the least checked first, and keep what they gave.

    What cannot be checked (an environment that cannot be had, say) is told, and stops nothing else.

    Raises:
        VerificationFailed: some do not hold; they are in the history, and stay out of releases.
        Unfinished: nothing could be checked.
    """
    rows: list[dict[str, str]] = []
    with run_log():
        for dataset in datasets:
            try:
                outcome = verify_dataset(
                    Path(dataset),
                    sample=sample,
                    sandbox=sandbox,
                    source=None,
                    workers=workers or default_workers(),
                    record=True,
                )
            except Exception as error:  # noqa: BLE001 - a dataset's boundary: its failure is told, and stops no other
                get_run_logger().warning("%s could not be checked: %s", dataset, told(error))
                rows.append(_row(dataset, "", unchecked=told(error)))
                continue
            rows += [_row(dataset, one, against="; ".join(outcome.disagreeing.get(one, ()))) for one in outcome.ids]
            rows += [_row(dataset, one, unchecked=of.reason) for of in outcome.unchecked for one in of.ids]
    failed = [row["instance_id"] for row in rows if row["against"]]
    unchecked = [row for row in rows if row["not checked"]]
    summary = f"{len(rows) - len(unchecked)} tasks run again, {len(failed)} do not hold"
    if unchecked:
        summary += f", {len(unchecked)} could not be checked"
    show_table("gymforge-health", rows, summary)
    if failed:
        raise VerificationFailed(f"{summary}: {', '.join(failed[:10])}. Releases leave them out.")
    if unchecked and len(unchecked) == len(rows):
        raise Unfinished(f"{summary}. The first: {unchecked[0]['not checked']}")
    return Completed(name="CompletedWithFailures" if unchecked else "Completed", message=summary)


def _row(dataset: str, instance_id: str, *, against: str = "", unchecked: str = "") -> dict[str, str]:
    return {"dataset": dataset, "instance_id": instance_id, "against": against, "not checked": unchecked}


@flow(name="release", timeout_seconds=RELEASE_LIMIT_S)
def release(
    datasets: list[str],
    *,
    releases: str = "gymforge-releases",
    repo_id: str = "",
    private: bool = False,
    health: int = 20,
    benchmarks: list[str] | None = None,
    sandbox: str = "auto",
    workers: int | None = None,
) -> Any:
    """Make a release in a folder named after the run's date, and publish it; nothing where nothing has changed.

    Where the newest release is of what the datasets hold now, and was made by the same rules and version of gymforge,
    it is taken, and published if it is not yet: so the run after one that was killed goes on.

    Args:
        datasets: folders to release together.
        releases: the folder that holds a folder for each release.
        repo_id: where on the hub; empty for nowhere.
        private: whether it is to be private there.
        health: tasks of each dataset to run again before.
        benchmarks: files with the rows of benchmarks that nothing may overlap with.
        sandbox: `auto`, `docker` or `local`.
        workers: tasks that run at the same time.
    """
    began = runtime.flow_run.scheduled_start_time or datetime.now(UTC)
    with run_log():
        gates = GateSettings(benchmarks=tuple(benchmarks or ()))
        out = _unchanged(Path(releases), datasets, gates)
        if out is None:
            out = _free(Path(releases) / f"{began:%Y-%m-%d}")
            settings = ReleaseSettings(
                datasets=tuple(datasets),
                out=out,
                splits=_dealt_so_far(Path(releases)),
                gates=gates,
                health=health,
                sandbox=sandbox,
                workers=workers or default_workers(),
            )
            make(settings)
        # Also what an earlier run made: that one may have ended before it was published.
        published = publish(out, repo_id, private=private) if repo_id else None
    made = read_manifest(DatasetLayout(out)).release
    assert made is not None, "it was made, or looked at, as a release"
    _show(out, made, published)
    return Completed(message=f"{sum(made.tasks.values())} tasks in {out}{f', {published.url}' if published else ''}")


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10, retry_condition_fn=is_transient)
def make(settings: ReleaseSettings) -> ShardManifest:
    """Make the release."""
    return make_release(settings)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[60, 300, 900], retry_condition_fn=is_transient)
def publish(folder: Path, repo_id: str, *, private: bool) -> Publication:
    """Publish it; what is there already is not sent again."""
    return publish_release(folder, repo_id, private=private)


def _unchanged(releases: Path, datasets: list[str], gates: GateSettings) -> Path | None:
    """The newest release that was made of what the datasets hold now, by the rules of now, where all of it holds."""
    registry = Registry.open(*datasets)
    sources, rules = tuple(sorted(registry.versions.values())), rules_of(gates)
    failed = {name for name, checks in registry.checks().items() if in_quarantine(checks)}
    for path, made in _made(releases):
        release = made.release
        assert release is not None, "`_made` gives releases alone"
        if release.sources == sources:
            same = release.rules == rules and made.gymforge_version == gymforge_version()
            return path if same and failed.isdisjoint(Registry.open(path).ids()) else None
    return None


def _dealt_so_far(releases: Path) -> Splits:
    """How the newest release was dealt, so that no task changes its split; the default where there is none."""
    newest = next((made.release for _, made in _made(releases)), None)
    return Splits.of_release(newest)


def _made(releases: Path) -> Iterator[tuple[Path, ShardManifest]]:
    """Manifests of the releases that are there, the newest first."""
    for path in sorted(releases.glob("????-??-??*"), reverse=True):
        made = read_manifest(DatasetLayout(path)) if DatasetLayout(path).manifest.exists() else None
        if made is not None and made.release is not None:
            yield path, made


def _free(out: Path) -> Path:
    """The folder, or one of that name with a number, where there is something already."""
    several = (out.with_name(f"{out.name}.{number}") for number in count(2))
    return out if not out.exists() else next(one for one in several if not one.exists())


def _show(out: Path, made: Release, published: Publication | None) -> None:
    rows = [
        {"gate": gate, "reason": reason, "tasks left out": count}
        for gate, reasons in made.dropped.items()
        for reason, count in reasons.items()
    ]
    rows += [
        {"gate": gate, "reason": f"not checked: {why}", "tasks left out": 0} for gate, why in made.not_checked.items()
    ]
    summary = f"{sum(made.tasks.values())} tasks in {out}"
    show_table("gymforge-gates", rows, summary)
    show_bars("gymforge-splits", made.tasks, "Tasks by split")
    if published:
        show_link("gymforge-release", published.url, "The release")
    else:
        show_folder("gymforge-release", out, "The release")
    get_run_logger().info("%s, run again since they were made: %s", summary, made.checked)
