"""Commands that check: finished tasks, and this machine."""

import sys
from pathlib import Path
from typing import Any

import click

from flows.options import DATASET, SANDBOX, WORKERS, json_option, print_json


@click.command()
@DATASET
@click.option("--sample", type=click.IntRange(min=1), help="So many tasks, the least checked first (default: all).")
@SANDBOX
@click.option("--source", help="Where to clone the repository from when its environment has to be built again.")
@click.option("--record", is_flag=True, help="Keep the outcome with the dataset: releases leave out what did not hold.")
@WORKERS
@json_option
@click.pass_context
def verify(ctx: click.Context, /, directory: Path, *, workers: int | None, as_json: bool, **options: Any) -> None:
    """Run finished tasks again, apart from the code that made them.

    Fresh sandboxes, whole suites, git's own `apply`, stock pytest and its JUnit report: the bug must fail exactly
    the recorded tests, the fix none. Exit code 9 when a task does not hold.

    \b
    Example:
      gymforge verify boltons-tasks --sample 30
      gymforge verify boltons-tasks --sample 30 --record
    """  # noqa: D301 - \b is click's mark
    from flows.reverify import verify_dataset
    from flows.screens import open_progress, show_verification
    from flows.settings import default_workers

    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        outcome = verify_dataset(directory, workers=workers or default_workers(), **options)
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    else:
        show_verification(outcome)
    if outcome.disagreeing:
        ctx.exit(9)


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Say what this machine has and lacks, and what follows from it.

    \b
    Example:
      gymforge doctor
    """  # noqa: D301 - \b is click's mark
    from validation.sandbox.select import probe

    probes = probe()
    if as_json:
        print_json([one.model_dump(mode="json") for one in probes])
    else:
        from flows.screens import show_probes

        show_probes(probes)
