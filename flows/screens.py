"""What a person sees in the terminal; plain text when it is not one."""

from __future__ import annotations

import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.tree import Tree

from flows.progress import Silence, listening
from schemas.manifest import FastPathAudit, ShardManifest
from schemas.printable import printable
from schemas.tasks import EditTarget, TaskInstance
from task_registry.splits import Splits
from validation.sandbox.select import Probe, ProbeStatus

if TYPE_CHECKING:  # a screen needs none of the machinery whose results it shows
    from flows.export import ExportSummary
    from flows.pipeline import IngestResult
    from flows.publish import Publication
    from flows.refresh import RefreshResult
    from flows.reverify import VerificationOutcome
    from flows.statistics import DatasetCounts
    from task_registry import TaskSummary

SHOWN_TESTS = 8


class _Console(Console):
    """Leaves a reader that has gone (`| head`) to the command line, where rich would end the process with 1.

    Whatever is shown, here and nowhere else loses its power over the terminal: names, patches and logs are strangers'.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - rich calls this while it handles the BrokenPipeError


def _console() -> Console:
    width = None if sys.stdout.isatty() else max(shutil.get_terminal_size((140, 24)).columns, 140)
    return _Console(width=width, highlight=False, emoji=False)


class _Bar:
    """The pipeline's progress as one bar a stage on standard error."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._progress.add_task("start", total=None)
        self._lock = threading.Lock()

    def stage(self, name: str, *, total: int | None = None) -> None:
        self._finish()
        self._progress.add_task(name, total=total)

    def advance(self, *, note: str = "") -> None:
        del note
        with self._lock:
            task = self._progress.tasks[-1]
            # Validations that were under way when the last wanted task was found are steps beyond the total.
            if task.total is None or task.completed < task.total:
                self._progress.advance(task.id)

    def fact(self, text: str) -> None:
        self._progress.console.print(f"  {escape(text)}", style="dim")

    def _finish(self) -> None:
        task = self._progress.tasks[-1]
        total = task.total if task.total is not None else 1
        self._progress.update(task.id, total=total, completed=total)
        self._progress.stop_task(task.id)

    def close(self) -> None:
        self._finish()


@contextmanager
def open_progress(*, quiet: bool) -> Iterator[None]:
    """Show progress on standard error while inside; nothing when quiet."""
    if quiet:
        with listening(Silence()):
            yield
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=_Console(stderr=True, highlight=False)) as progress:
        bar = _Bar(progress)
        with listening(bar):
            yield
        bar.close()


def show_result(result: IngestResult) -> None:
    """The summary after an ingestion."""
    console = _console()
    ingestion = result.ingestion
    if result.repeated:
        console.print(f"{result.out} already holds this ingestion: {ingestion.tasks} tasks. Nothing was done.")
        return
    console.print(f"{ingestion.repo} at {ingestion.commit[:12]}: {ingestion.tasks} tasks")
    console.print(_yields(result.yields))
    console.print(_seconds(result.stages_s))
    if ingestion.fast_path is not None:
        console.print(_audit(ingestion.fast_path))
    if ingestion.quarantined:
        console.print(f"{len(ingestion.quarantined)} tests do not agree with themselves and are in no task.")
    for shard in ingestion.shards:
        console.print(f"{result.out / shard.path}  {shard.rows} tasks, {shard.size_bytes:,} bytes", soft_wrap=True)


def show_refresh(result: RefreshResult) -> None:
    """What became of each repository of a list."""
    table = Table("repository", "commit", "outcome", "tasks", "rejected", "seconds", "why", box=None)
    for one in result.repositories:
        table.add_row(
            escape(one.repo or one.source),
            one.commit[:12],
            one.status,
            *(str(number or "") for number in (one.tasks, one.rejected)),
            f"{one.seconds:.0f}",
            escape(one.message),
        )
    console = _console()
    console.print(table)
    console.print(f"{result.told}; dataset: {escape(str(result.out))}")


def show_tasks(tasks: Sequence[TaskSummary]) -> None:
    """One line a task."""
    table = Table(box=None, pad_edge=False)
    for name in ("instance_id", "complexity", "failing", "issue", "domain"):
        table.add_column(
            name,
            overflow="fold",
            no_wrap=name != "domain",
            justify="right" if name in {"complexity", "failing"} else "left",
        )
    for task in tasks:
        table.add_row(
            escape(task.instance_id),
            f"{task.complexity:.2f}",
            str(task.fail_to_pass),
            task.issue_style,
            ", ".join(task.domain),
        )
    _console().print(table)


def show_release(folder: Path, manifest: ShardManifest) -> None:
    """What a release holds, and what stayed out."""
    release = manifest.release
    assert release is not None
    console = _console()
    files = len(release.shards)
    console.print(f"{sum(release.tasks.values())} tasks in {files} files: {escape(str(folder))}", highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("split", "tasks", "repositories"):
        table.add_column(name, justify="left" if name == "split" else "right")
    repos = Counter(Splits.of_release(release).deal(manifest.ingestions).values())
    for split, tasks in release.tasks.items():
        table.add_row(split, str(tasks), str(repos[split]))
    console.print(table)
    _show_gates(console, release.dropped, release.not_checked)
    if release.checked:
        every = sum(release.tasks.values()) + sum(sum(reasons.values()) for reasons in release.dropped.values())
        console.print(f"run again since they were made: {release.checked} of {every} tasks", highlight=False)


def _show_gates(console: Console, dropped: Mapping[str, Mapping[str, int]], not_checked: Mapping[str, str]) -> None:
    for gate, reasons in dropped.items():
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none stays out"
        console.print(f"gate {gate}: {told}", highlight=False)
    for gate, why in not_checked.items():
        console.print(f"gate {gate}: not checked, {why}", highlight=False)


def show_publication(publication: Publication) -> None:
    """What was sent, or would be."""
    console = _console()
    if publication.dry_run:
        for path, size_bytes in publication.files.items():
            console.print(f"{size_bytes:>15,}  {path}", markup=False, soft_wrap=True)
        console.print(
            f"{publication.tasks} tasks in {len(publication.files)} files belong in {publication.repo_id}. The release "
            "is whole, its card fits it, and neither secrets nor personal data were found; the hub was not asked.",
            markup=False,
            soft_wrap=True,
        )
        return
    if publication.uploaded or publication.removed:
        done = f"{len(publication.uploaded)} files sent, {len(publication.removed)} removed"
    else:
        done = "all was there already"
    console.print(f"{publication.tasks} tasks: {done}, and everything reads back equal.", markup=False)
    console.print(publication.url, markup=False, soft_wrap=True)


def show_export(folder: Path, summary: ExportSummary) -> None:
    """What an export holds, and what the tool that reads it does not see."""
    console, written = _console(), summary.written
    console.print(f"{written.tasks} tasks as {summary.format} reads them: {escape(str(folder))}", highlight=False)
    unseen = sum(map(len, written.unseen_tests.values()))
    if unseen:
        console.print(
            f"{unseen} tests have ids that it cannot read; they are in no task. {len(written.left_out)} tasks have no "
            "other failing tests, and stay out.",
            highlight=False,
        )
    for repo, tests in written.unseen_tests.items():
        for test in tests[:SHOWN_TESTS]:
            console.print(f"  {escape(repo)}: {escape(test)}", highlight=False)
        if len(tests) > SHOWN_TESTS:
            console.print(f"  {escape(repo)}: and {len(tests) - SHOWN_TESTS} more, in export.json", highlight=False)
    if written.no_image:
        console.print(f"It cannot build images of: {escape(', '.join(written.no_image))}", highlight=False)


def show_task(task: TaskInstance) -> None:
    """A whole task: what the solver reads, then what it should find."""
    console = _console()
    tags = ", ".join(f"{label.label} {label.score:.2f}" for label in task.domain)
    complexity = task.complexity
    console.rule(escape(task.instance_id), align="left")
    console.print(f"{task.repo} at {task.base_commit[:12]}, {task.language}, {task.license_spdx}; {tags}")
    console.print(
        f"complexity {complexity.score:.2f}: cyclomatic {complexity.cyclomatic}, cognitive {complexity.cognitive}, "
        f"nesting {complexity.nesting}, changed lines {complexity.changed_lines}, call distance "
        f"{'none' if complexity.call_distance is None else complexity.call_distance}"
    )
    console.print(Panel(escape(task.problem_statement), title=f"issue ({task.issue_style})", title_align="left"))
    plan = Tree(f"[bold]plan[/bold]: {escape(task.plan.goal)}")
    for step in task.plan.steps:
        plan.add(f"[bold]{step.kind}[/bold] {escape(step.description)}")
    console.print(plan)
    for number, target in enumerate(task.edit_targets, 1):
        console.print(_target(number, target))
    console.print(Panel(Syntax(task.patch, "diff", theme="ansi_dark", word_wrap=True), title="fix", title_align="left"))
    console.print(_tests("FAIL_TO_PASS", task.FAIL_TO_PASS))
    console.print(_tests("PASS_TO_PASS", task.PASS_TO_PASS))


def show_stats(counts: DatasetCounts) -> None:
    """Everything that `gymforge stats` counts."""
    console = _console()
    console.print(f"{counts.directory}: {counts.tasks} tasks", soft_wrap=True)
    repositories = Table()
    for name in ("repository", "commit", "licence", "sandbox", "tasks", "rejected", "quarantined tests"):
        repositories.add_column(name)
    for one in counts.repositories:
        row = (one.repo, one.commit[:12], one.license_spdx, one.sandbox, one.tasks, one.rejected, one.quarantined)
        repositories.add_row(*map(str, row))
    console.print(repositories)
    for one in counts.repositories:
        if one.fast_path is not None:
            console.print(f"{one.repo}: {_audit(one.fast_path)}")
    console.print("left by the gates, by strategy:" if counts.splits else "yield by strategy:")
    console.print(_yields(counts.yields))
    for title, numbers in (
        ("rejected", counts.rejected),
        ("languages", counts.languages),
        ("domains", counts.domains),
        ("issue styles", counts.issue_styles),
        *([("splits", counts.splits)] if counts.splits else []),
    ):
        console.print(f"{title}: " + (", ".join(f"{name} {number}" for name, number in numbers.items()) or "none"))
    _show_gates(console, counts.gates, counts.not_checked)
    console.print(f"health: {counts.health.told}", soft_wrap=True)
    for run in counts.runs:
        console.print(
            f"run of {run.repo} at {run.commit[:12]}: {run.seconds:.0f} s with {run.workers} workers, "
            f"{run.executions} suite runs, peak {run.peak_memory_bytes / 2**20:.0f} MiB, "
            f"{run.dependency_mode} dependencies"
        )
        if run.judged_by:
            console.print("judged by " + ", ".join(f"{way}: {number}" for way, number in run.judged_by.items()))
        console.print(_seconds(run.stages_s))


def _audit(audit: FastPathAudit) -> str:
    said = f"{audit.audited} candidates audited by whole suites, {audit.disagreements} judged differently"
    return f"{said} ({escape(audit.detail)})" if audit.detail else said


def show_verification(outcome: VerificationOutcome) -> None:
    console = _console()
    for instance_id, findings in outcome.disagreeing.items():
        console.print(f"[red]{escape(instance_id)}[/red]: {len(findings)} findings")
        for finding in findings[:SHOWN_TESTS]:
            console.print(f"  {escape(finding)}", soft_wrap=True)
    for one in outcome.unchecked:
        console.print(
            f"{escape(one.repo)} at {one.commit[:12]}: {len(one.ids)} tasks not checked: {escape(one.reason)}",
            soft_wrap=True,
        )
    where = f" in the {outcome.sandbox} sandbox" if outcome.sandbox else ""
    console.print(f"{outcome.verified} tasks verified{where}, {len(outcome.disagreeing)} disagree.")


def show_probes(probes: Sequence[Probe]) -> None:
    colours = {ProbeStatus.OK: "green", ProbeStatus.WEAKER: "yellow", ProbeStatus.MISSING: "red"}
    table = Table(box=None, pad_edge=False)
    for name in ("part", "status", "found", "what follows"):
        table.add_column(name, overflow="fold")
    for one in probes:
        colour = colours[one.status]
        table.add_row(one.name, f"[{colour}]{one.status}[/{colour}]", escape(one.found), escape(one.consequence))
    _console().print(table)


def _yields(yields: Mapping[str, Mapping[str, int]]) -> Table:
    reasons = sorted({reason for numbers in yields.values() for reason in numbers} - {"accepted"})
    table = Table()
    table.add_column("strategy", no_wrap=True)
    for name in ("accepted", *reasons):
        table.add_column(name.replace("_", " "), justify="right")
    for strategy, numbers in yields.items():
        table.add_row(strategy, *(str(numbers.get(name, 0)) for name in ("accepted", *reasons)))
    totals = (sum(numbers.get(name, 0) for numbers in yields.values()) for name in ("accepted", *reasons))
    table.add_section()
    table.add_row("all", *map(str, totals))
    return table


def _seconds(stages_s: Mapping[str, float]) -> str:
    return "seconds by stage: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages_s.items())


def _target(number: int, target: EditTarget) -> Panel:
    title = (
        f"edit {number}: {target.op} {target.node_kind} in {target.path}:{target.start_line}"
        f"{f' ({target.symbol})' if target.symbol else ''}"
    )
    pair = f"<<<<<<< SEARCH\n{target.search}=======\n{target.replace}>>>>>>> REPLACE"
    return Panel(
        Syntax(pair, target.language, theme="ansi_dark", word_wrap=True), title=escape(title), title_align="left"
    )


def _tests(title: str, tests: Sequence[str]) -> Tree:
    tree = Tree(f"[bold]{title}[/bold] ({len(tests)})")
    for test in tests[:SHOWN_TESTS]:
        tree.add(escape(test))
    if len(tests) > SHOWN_TESTS:
        tree.add(f"and {len(tests) - SHOWN_TESTS} more")
    return tree
