"""The command line: options, exit codes, and which module does the work; heavy modules are imported by commands."""

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flows.interrupt import INTERRUPTED, interruptible
from flows.run import run_flow
from schemas.errors import GymforgeError, InvalidInput, StorageFailed

_EXIT_CODES = """
\b
Exit codes:
  0    done
  1    an unforeseen error (--debug shows where)
  2    wrong option, source, config file or dataset folder
  3    the source cannot be cloned
  4    nothing to build and test was found
  5    dependencies or build failed
  6    the suite does not run on the clean tree
  7    no sandbox can isolate code here
  8    a sandbox broke
  9    verification found disagreements
  10   an optional dependency is missing
  11   a disk is full or may not be written to
  12   a file of the dataset is damaged
  130  interrupted; the same command goes on
"""


_DISK_REFUSES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_IN_THE_WAY = {errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""A folder that cannot be used: of the output, of the cache, or for temporary files."""


class _Group(click.Group):
    """Turns errors of ours into one message and an exit code; a traceback only with `--debug`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for number, argument in enumerate(args, start=1):
            try:
                argument.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"argument {number} is no UTF-8 text: {argument!a}", ctx) from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with interruptible():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = " What was finished is kept; the same command goes on from there."
            _complain(f"Interrupted.{kept if ctx.invoked_subcommand == 'ingest' else ''}")
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # The reader of our output has gone (`| head`): not an error, and nothing more can be said.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the command's end: whatever it is, it is told and gives a code
            if ctx.params.get("debug"):
                traceback.print_exception(error)
            told = _told(error)
            _complain(str(told))
            ctx.exit(told.exit_code)


def _told(error: Exception) -> GymforgeError:
    """What the user is told of an error: its own message, that a disk refused, or that nobody foresaw it."""
    if isinstance(error, GymforgeError):
        return error
    if isinstance(error, OSError) and error.errno in _DISK_REFUSES:
        where = f" {error.filename}" if error.filename else ""
        return StorageFailed(
            f"cannot write{where}: {error.strerror}. Free space (the output folder, the cache folder and the "
            "folder for temporary files need some), then run the same command again: what is finished is kept."
        )
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY and error.filename:
        return StorageFailed(
            f"cannot use {str(error.filename)!r}: {error.strerror}. Remove what is in the way, or name another folder "
            "(--out, GYMFORGE_CACHE_DIR, TMPDIR), then run the same command again."
        )
    return GymforgeError(f"Unforeseen {type(error).__name__}: {error}. Run again with --debug to see where.")


def _complain(message: str) -> None:
    click.echo(f"gymforge: {message}", err=True)


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines, nothing else.")(command)


class _Score(click.FloatRange):
    """A number from 0 to 1; click takes "nan" for one, which no comparison refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if number != number:  # noqa: PLR0124 - only NaN differs from itself
            self.fail(f"{value!r} is no number from 0 to 1.", param, ctx)
        return float(number)


_SCORE = _Score(0, 1)
_DATASET = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
_SANDBOX = click.option(
    "--sandbox",
    type=click.Choice(["auto", "docker", "local"]),
    default="auto",
    show_default=True,
    help="Where untrusted code runs; auto takes Docker when its engine answers.",
)
_WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=None,
    help="Validations at the same time (default: one a core, at most 8). Never changes the result.",
)


@click.group("gymforge", cls=_Group, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks and what Prefect logs.")
@click.version_option(package_name="gymforge")
def main(*, debug: bool) -> None:
    """Turn a Git repository into validated software-engineering tasks.

    \b
    Examples:
      gymforge ingest https://github.com/mahmoud/boltons --max-tasks 50 --out boltons-tasks
      gymforge tasks boltons-tasks
      gymforge verify boltons-tasks --sample 10
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    del debug  # read from the context by the error handling


@main.command()
@click.argument("source")
@click.option("--ref", help="Branch, tag or commit (default: the source's HEAD).")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("gymforge-data"),
    show_default=True,
    help="Dataset folder; a further repository is added to it.",
)
@_SANDBOX
@click.option("--strategies", help="Bug strategies, separated by commas (default: all).")
@click.option("--max-tasks", type=click.IntRange(min=1), help="Stop after so many tasks, evenly over strategies.")
@_WORKERS
@click.option(
    "--seed", type=click.IntRange(-(2**63), 2**63 - 1), default=0, show_default=True, help="Same seed, same shards."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A gymforge.toml that overrides what is found in the repository.",
)
@_json_option
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
        result = run_flow(settings, debug=_debug(ctx))
    if as_json:
        _print_json(result.model_dump(mode="json"))
    else:
        show_result(result)


@main.command()
@click.argument("datasets", metavar="DIR...", nargs=-1, required=True)
@click.option("--repo", help="Only this repository (owner/name).")
@click.option("--strategy", help="Only this bug strategy.")
@click.option("--domain", help="Only tasks with this domain label.")
@click.option("--min-complexity", type=_SCORE, help="Only tasks with at least this score.")
@click.option("--max-complexity", type=_SCORE, help="Only tasks with at most this score.")
@click.option("--where", default="", help="Only tasks for which this holds: a condition in polars' SQL on any column.")
@click.option("--sample", type=click.IntRange(min=1), help="So many of them, drawn by --seed.")
@click.option("--weight", default="", help="With --sample: how much each counts, an expression in polars' SQL.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws another sample.")
@_json_option
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
        _print_json([one.model_dump(mode="json") for one in found])
    else:
        from flows.screens import show_tasks

        show_tasks(found)


@main.command()
@_DATASET
@click.argument("instance_id")
@_json_option
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
        _print_json(task.model_dump(mode="json"))
    else:
        from flows.screens import show_task

        show_task(task)


@main.command()
@_DATASET
@_json_option
def stats(directory: Path, *, as_json: bool) -> None:
    """Count the dataset in DIR: tasks, yield by strategy, rejections by reason, time by stage.

    \b
    Example:
      gymforge stats boltons-tasks
    """  # noqa: D301 - \b is click's mark
    from flows.statistics import count_dataset

    counted = count_dataset(directory)
    if as_json:
        _print_json(counted.model_dump(mode="json"))
    else:
        from flows.screens import show_stats

        show_stats(counted)


@main.command()
@click.argument("datasets", metavar="DIR...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The release's folder; not there yet.")
@click.option(
    "--split", "shares", multiple=True, metavar="NAME=SHARE", help="Splits and shares of repositories (again for each)."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed deals repositories anew.")
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
@click.option("--near", type=float, default=0.95, show_default=True, help="Similarity of duplicates; above 1 for none.")
@_json_option
def release(
    datasets: tuple[str, ...],
    *,
    out: Path,
    shares: tuple[str, ...],
    seed: int,
    licences: tuple[str, ...],
    benchmarks: tuple[str, ...],
    near: float,
    as_json: bool,
) -> None:
    """Make a release of the datasets in DIR...: tasks that pass every gate, by split, in files that never change.

    Gates leave out what has no allowed licence, overlaps with a benchmark, is there already or holds a secret;
    `rejected/` and the manifest say what and why. Repositories are dealt to splits whole, by the hash of their names.

    \b
    Examples:
      gymforge release boltons-tasks attrs-tasks --out tasks-1
      gymforge release boltons-tasks --out tasks-2 --split train=0.8 --split test=0.2 --licence MIT --licence ISC
    """  # noqa: D301 - \b is click's mark
    from flows.release import make_release, release_settings
    from flows.screens import open_progress, show_release

    settings = release_settings(
        datasets, out=out, shares=shares, seed=seed, licences=licences, benchmarks=benchmarks, near=near
    )
    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        manifest = make_release(settings)
    if as_json:
        _print_json(manifest.model_dump(mode="json")["release"])
    else:
        show_release(out, manifest)


@main.command()
@_DATASET
@click.option("--name", default="", help="The dataset's name, for people (default: the folder's).")
def card(directory: Path, *, name: str) -> None:
    """Write the card of the dataset in DIR: README.md, as the hub reads it, and its figures.

    \b
    Example:
      gymforge card tasks-1 --name "Tasks, first release"
    """  # noqa: D301 - \b is click's mark
    from flows.card import make_card

    click.echo(make_card(directory, name=name))


@main.command()
@_DATASET
@click.option("--sample", type=click.IntRange(min=1), help="Verify so many tasks, chosen by hash (default: all).")
@_SANDBOX
@click.option("--source", help="Where to clone the repository from when its environment has to be built again.")
@_WORKERS
@_json_option
@click.pass_context
def verify(ctx: click.Context, /, directory: Path, *, workers: int | None, as_json: bool, **options: Any) -> None:
    """Run finished tasks again, apart from the code that made them.

    Fresh sandboxes, whole suites, git's own `apply`, stock pytest and its JUnit report: the bug must fail exactly
    the recorded tests, the fix none. Exit code 9 when a task does not hold.

    \b
    Example:
      gymforge verify boltons-tasks --sample 30
    """  # noqa: D301 - \b is click's mark
    from flows.reverify import verify_dataset
    from flows.screens import open_progress, show_verification
    from flows.settings import default_workers

    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        outcome = verify_dataset(directory, workers=workers or default_workers(), **options)
    if as_json:
        _print_json(outcome.model_dump(mode="json"))
    else:
        show_verification(outcome)
    if outcome.disagreeing:
        ctx.exit(9)


@main.command()
@_json_option
def doctor(*, as_json: bool) -> None:
    """Say what this machine has and lacks, and what follows from it.

    \b
    Example:
      gymforge doctor
    """  # noqa: D301 - \b is click's mark
    from validation.sandbox.select import probe

    probes = probe()
    if as_json:
        _print_json([one.model_dump(mode="json") for one in probes])
    else:
        from flows.screens import show_probes

        show_probes(probes)


def _debug(ctx: click.Context) -> bool:
    return bool(ctx.find_root().params.get("debug"))


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
