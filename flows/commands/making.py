"""Commands that make tasks: from a repository, from many, and on a schedule."""

import sys
from pathlib import Path
from typing import Any

import click

from flows.options import HOURS, RAY, SANDBOX, WORKERS, is_debug, json_option, print_json
from flows.run import run_ingestion, run_refresh
from schemas.errors import InvalidInput, Unfinished


@click.command()
@click.argument("source")
@click.option("--ref", help="Branch, tag or commit (default: the source's HEAD).")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("gymforge-data"),
    show_default=True,
    help="Dataset folder; a further repository is added to it.",
)
@SANDBOX
@click.option("--strategies", help="Bug strategies, separated by commas (default: all).")
@click.option("--max-tasks", type=click.IntRange(min=1), help="Stop after so many tasks, evenly over strategies.")
@WORKERS
@RAY
@click.option(
    "--seed", type=click.IntRange(-(2**63), 2**63 - 1), default=0, show_default=True, help="Same seed, same shards."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A gymforge.toml that overrides what is found in the repository.",
)
@json_option
@click.pass_context
def ingest(
    ctx: click.Context, /, *, strategies: str | None, workers: int | None, as_json: bool, **options: Any
) -> None:
    """Turn the repository at SOURCE into tasks.

    SOURCE is an https or ssh URL, a local path, a file:// URL or a git bundle. A run that was stopped goes on where
    it was when the same command is given again.

    \b
    Examples:
      gymforge ingest ../my-project --out my-tasks
      gymforge ingest https://github.com/python-attrs/attrs --ref 25.3.0 --max-tasks 100
      gymforge ingest project.bundle --strategies op_change,remove_cond --sandbox local --json
      gymforge ingest https://github.com/mahmoud/boltons --ray 10.0.0.1:6379
    """  # noqa: D301 - \b is click's mark
    from flows.preflight import refuse_bad_settings
    from flows.screens import open_progress, show_result
    from flows.settings import IngestSettings, default_workers

    chosen = None if strategies is None else tuple(name.strip() for name in strategies.split(",") if name.strip())
    if chosen == ():
        raise InvalidInput("--strategies names none. Leave it out for all of them.")
    settings = IngestSettings(strategies=chosen, workers=workers or default_workers(), **options)
    refuse_bad_settings(settings)
    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        result = run_ingestion(settings, debug=is_debug(ctx))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_result(result)


@click.command()
@click.argument("repositories", metavar="LIST")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("gymforge-data"),
    show_default=True,
    help="Dataset folder that all of them are added to.",
)
@click.option("--where", default="", help="With a dataset as LIST: only repositories of tasks for which this holds.")
@SANDBOX
@click.option("--max-tasks", type=click.IntRange(min=1), help="Of each repository, where LIST says nothing else.")
@WORKERS
@RAY
@click.option("--seed", type=click.IntRange(-(2**63), 2**63 - 1), default=0, help="Same seed, same shards.")
@click.option("--hours", type=HOURS, help="At most so long for each; the next run goes on.")
@json_option
@click.pass_context
def refresh(ctx: click.Context, /, repositories: str, *, as_json: bool, out: Path, **options: Any) -> None:
    """Ingest what is new in the repositories of LIST, one after the other.

    LIST is a TOML or CSV file (docs/schedules.md), or a dataset: then its repositories. A commit that the dataset
    holds costs a look at its source; a repository that fails stops no other. Exit code 15 when some failed.

    \b
    Examples:
      gymforge refresh repositories.toml --out tasks --max-tasks 100
      gymforge refresh tasks --where "complexity.score > 0.5" --out tasks --hours 2
    """  # noqa: D301 - \b is click's mark
    from flows.preflight import refuse_bad_ground
    from flows.repositories import read_repositories
    from flows.screens import open_progress, show_refresh
    from flows.settings import default_cache_dir

    read_repositories(repositories, where=options["where"])
    refuse_bad_ground(out, sandbox=options["sandbox"], cache_dir=default_cache_dir(), ray=options["ray"])
    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        parameters = options | {"out": str(out)}
        result = run_refresh(repositories, cache_dir=default_cache_dir(), debug=is_debug(ctx), **parameters)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        show_refresh(result)
    if not result.is_complete:
        raise Unfinished(f"{result.told}. The same command tries again what is not done.")


@click.command()
@click.argument("prefect_file", metavar="FILE", type=click.Path(path_type=Path), default=Path("prefect.yaml"))
@json_option
def deploy(prefect_file: Path, *, as_json: bool) -> None:
    """Register the schedules of FILE (default: prefect.yaml) on the Prefect server that PREFECT_API_URL names.

    Work pools are made where they are missing, and the server is told to end runs whose process is gone. A worker
    does the work: `prefect worker start --pool gymforge`.

    \b
    Example:
      PREFECT_API_URL=http://127.0.0.1:4200/api gymforge deploy
    """  # noqa: D301 - \b is click's mark
    from flows.deploy import deploy as register

    deployed = register(prefect_file)
    if as_json:
        print_json(deployed.model_dump(mode="json"))
    else:
        for name in deployed.deployments:
            click.echo(name)
