"""Commands that give a dataset to others: releases, cards, the hub, other tools."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from flows.options import DATASET, RERUN_SANDBOX, WORKERS, json_option, print_json


@click.command()
@click.argument("datasets", metavar="DIR...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The release's folder; not there yet.")
@click.option(
    "--split", "shares", multiple=True, metavar="NAME=SHARE", help="Splits and shares of repositories (again for each)."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed deals repositories anew.")
@click.option("--by-name", is_flag=True, help="Deal forks apart from their origins, as before schema 1.2.")
@click.option(
    "--licence",
    "licences",
    multiple=True,
    metavar="SPDX",
    help="Allow only these licences (default: permissive ones).",
)
@click.option(
    "--benchmark",
    "benchmarks",
    multiple=True,
    metavar="FILE",
    help="Rows of a benchmark (Parquet, JSON lines, CSV) that no task may overlap with.",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Leave out tasks of commits from before this day: what is older may be in benchmarks and models already.",
)
@click.option(
    "--near",
    type=click.FloatRange(0.5),
    default=0.95,
    show_default=True,
    help="Similarity of duplicates; above 1 for none.",
)
@click.option(
    "--health",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Tasks of each dataset to run again before, the least checked first; what does not hold stays out for good.",
)
@RERUN_SANDBOX
@WORKERS
@json_option
def release(
    datasets: tuple[str, ...],
    *,
    out: Path,
    shares: tuple[str, ...],
    seed: int,
    by_name: bool,
    licences: tuple[str, ...],
    benchmarks: tuple[str, ...],
    since: datetime | None,
    near: float,
    health: int,
    sandbox: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Make a release of the datasets in DIR...: tasks that pass every gate, by split, in files that never change.

    Gates leave out what has no allowed licence, overlaps with a benchmark, is there already or holds a secret;
    `rejected/` and the manifest say what and why. Repositories are dealt to splits whole, by the hash of their first
    commits: a fork goes where its origin goes.

    \b
    Examples:
      gymforge release boltons-tasks attrs-tasks --out tasks-1
      gymforge release boltons-tasks --out tasks-2 --split train=0.8 --split test=0.2 --licence MIT --licence ISC
    """  # noqa: D301 - \b is click's mark
    from flows.release import make_release, release_settings
    from flows.screens import open_progress, show_release

    settings = release_settings(
        datasets,
        out=out,
        shares=shares,
        seed=seed,
        by_name=by_name,
        licences=licences,
        benchmarks=benchmarks,
        since=None if since is None else since.date(),
        near=near,
        health=health,
        sandbox=sandbox,
        workers=workers,
    )
    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        manifest = make_release(settings)
    if as_json:
        print_json(manifest.model_dump(mode="json")["release"])
    else:
        show_release(out, manifest)


@click.command()
@DATASET
@click.option("--name", default="", help="The dataset's name, for people (default: the folder's).")
def card(directory: Path, *, name: str) -> None:
    """Write the card of the dataset in DIR: README.md, as the hub reads it, and its figures.

    \b
    Example:
      gymforge card tasks-1 --name "Tasks, first release"
    """  # noqa: D301 - \b is click's mark
    from flows.card import make_card

    click.echo(make_card(directory, name=name))


@click.command()
@DATASET
@click.argument("repo_id", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make the dataset private; one that is there and is not, is refused.")
@click.option("--revision", default="main", show_default=True, help="The branch; made where it is not there.")
@click.option(
    "--dry-run", is_flag=True, help="Check everything that needs no hub, say what belongs there, send nothing."
)
@json_option
def publish(directory: Path, repo_id: str, *, as_json: bool, **options: Any) -> None:
    """Publish the release in DIR as the dataset OWNER/NAME on the hub, in one commit, and read it back.

    The same command again sends what is not there yet, and nothing where all is. The token is HF_TOKEN, or that of
    `hf auth login`. A release that holds secrets or personal data is refused.

    \b
    Examples:
      gymforge publish tasks-1 acme/tasks --dry-run
      gymforge publish tasks-1 acme/tasks --private
      gymforge publish tasks-2 acme/tasks --revision next --json
    """  # noqa: D301 - \b is click's mark
    from flows.publish import publish_release
    from flows.screens import open_progress, show_publication

    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        published = publish_release(directory, repo_id, **options)
    if as_json:
        print_json(published.model_dump(mode="json"))
    else:
        show_publication(published)


@click.command()
@click.argument("directory", metavar="DIR")
@click.option(
    "--format",
    "format_name",
    required=True,
    type=click.Choice(["swebench", "swesmith", "harbor"]),
    help="The tool that is to read it.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The export's folder; not there yet.")
@click.option("--repo", help="Only this repository (owner/name).")
@click.option("--where", default="", help="Only tasks for which this holds: a condition in polars' SQL on any column.")
@click.option(
    "--source", help="Where a repository is now that was ingested from a local path; its tree is written too."
)
@json_option
def export(directory: str, *, out: Path, as_json: bool, **options: Any) -> None:
    """Write the tasks of the dataset or release in DIR as another tool reads them.

    swebench: rows and specifications for swebench 4.1. swesmith: rows, profiles and images for swesmith 0.0.9.
    harbor: a folder a task. Tests that a tool cannot tell of are left out and named, here and in export.json.

    \b
    Examples:
      gymforge export tasks-1 --format swebench --out tasks-1-swebench
      gymforge export tasks-1 --format swesmith --where "split = 'train'" --out tasks-1-swesmith
      gymforge export my-tasks --format harbor --source ../my-project --out my-tasks-harbor
    """  # noqa: D301 - \b is click's mark
    from flows.export import export_tasks
    from flows.screens import open_progress, show_export

    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        summary = export_tasks(directory, out=out, **options)
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        show_export(out, summary)
