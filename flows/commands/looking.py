"""Commands that look at a dataset."""

import sys
from pathlib import Path
from typing import Any

import click

from flows.options import DATASET, SCORE, json_option, print_json


@click.command()
@click.argument("datasets", metavar="DIR...", nargs=-1, required=True)
@click.option("--repo", help="Only this repository (owner/name).")
@click.option("--strategy", help="Only this bug strategy.")
@click.option("--domain", help="Only tasks with this domain label.")
@click.option("--min-complexity", type=SCORE, help="Only tasks with at least this score.")
@click.option("--max-complexity", type=SCORE, help="Only tasks with at most this score.")
@click.option("--where", default="", help="Only tasks for which this holds: a condition in polars' SQL on any column.")
@click.option("--sample", type=click.IntRange(min=1), help="So many of them, drawn by --seed.")
@click.option("--weight", default="", help="With --sample: how much each counts, an expression in polars' SQL.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws another sample.")
@json_option
def tasks(datasets: tuple[str, ...], *, as_json: bool, **conditions: Any) -> None:
    """List the tasks of the datasets in DIR..., folders or URLs that fsspec knows (s3://bucket/tasks).

    Beside the columns of the shards, conditions may name `domains` (labels), `stage` (of a curriculum) and `split`.

    \b
    Examples:
      gymforge tasks boltons-tasks --strategy op_change --min-complexity 0.3
      gymforge tasks boltons-tasks attrs-tasks --where "language = 'python' AND complexity.score > 0.5"
      gymforge tasks boltons-tasks --where "'parsing' = ANY(domains)" --sample 20 --weight complexity.score
      gymforge tasks boltons-tasks --json | jq -r '.[].instance_id'
    """  # noqa: D301 - \b is click's mark
    from flows.listing import list_tasks

    found = list_tasks(datasets, **conditions)
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
    else:
        from flows.screens import show_tasks

        show_tasks(found)


@click.command()
@DATASET
@click.argument("instance_id")
@json_option
def show(directory: Path, instance_id: str, *, as_json: bool) -> None:
    """Show one task: issue text, plan, edit targets, diff and tests.

    \b
    Example:
      gymforge show boltons-tasks mahmoud__boltons.967864f8.op_change__0123456789
    """  # noqa: D301 - \b is click's mark
    from storage.manifest import open_for_reading
    from task_registry import get_task

    open_for_reading(directory)
    task = get_task(directory, instance_id)
    if as_json:
        print_json(task.model_dump(mode="json"))
    else:
        from flows.screens import show_task

        show_task(task)


@click.command()
@DATASET
@json_option
def stats(directory: Path, *, as_json: bool) -> None:
    """Count the dataset in DIR: tasks, yield by strategy, rejections by reason, time by stage.

    \b
    Example:
      gymforge stats boltons-tasks
    """  # noqa: D301 - \b is click's mark
    from flows.statistics import count_dataset

    counted = count_dataset(directory)
    if as_json:
        print_json(counted.model_dump(mode="json"))
    else:
        from flows.screens import show_stats

        show_stats(counted)


@click.command()
@DATASET
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The report's folder: new, empty, or an earlier report.  [DIR/report]",
)
@json_option
def report(directory: Path, *, out: Path | None, as_json: bool) -> None:
    """Write a static site that shows the dataset or release in DIR: plots, a gallery of tasks, a page a task.

    It opens from disk (index.html), needs no server and loads nothing from elsewhere. An earlier report is replaced
    when the new one is whole.

    \b
    Examples:
      gymforge report boltons-tasks
      gymforge report tasks-1 --out site --json
    """  # noqa: D301 - \b is click's mark
    from flows.report import make_report
    from flows.screens import open_progress

    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        site = make_report(directory, out=out)
    if as_json:
        print_json({**site._asdict(), "page": str(site.page)})
    else:
        click.echo(site.page)
