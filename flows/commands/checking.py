"""Commands that check: finished tasks, and this machine."""

import sys
from pathlib import Path
from typing import Any

import click

from flows.options import DATASET, RERUN_SANDBOX, WORKERS, json_option, print_json
from schemas.errors import Unfinished, VerificationFailed


@click.command()
@DATASET
@click.option("--sample", type=click.IntRange(min=1), help="So many tasks, the least checked first (default: all).")
@RERUN_SANDBOX
@click.option("--source", help="Where to clone the repository from when its environment has to be built again.")
@click.option("--record", is_flag=True, help="Keep the outcome with the dataset: releases leave out what did not hold.")
@click.option("--quarantined", is_flag=True, help="Only tasks that did not hold and that releases leave out.")
@WORKERS
@json_option
@click.pass_context
def verify(ctx: click.Context, /, directory: Path, *, workers: int | None, as_json: bool, **options: Any) -> None:
    """Run finished tasks again, apart from the code that made them.

    Fresh sandboxes, whole suites, git's own `apply`, stock pytest and its JUnit report: the bug must fail exactly
    the recorded tests, the fix none. Exit code 9 when a task does not hold, 15 when some could not be checked.
    What --record keeps is certain: a task that does not hold is run twice, and the clean tree must be what it was.

    \b
    Examples:
      gymforge verify boltons-tasks --sample 30
      gymforge verify boltons-tasks --sample 30 --record
      gymforge verify boltons-tasks --quarantined --record
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
        ctx.exit(VerificationFailed.exit_code)
    if outcome.unchecked:
        raise Unfinished(f"{outcome.left_over} tasks could not be checked. The first: {outcome.unchecked[0].reason}")


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
