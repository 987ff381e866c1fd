"""The command line: its commands, exit codes, and what is said of errors; heavy modules are imported by commands."""

import errno
import os
import sys
import traceback
from typing import Any

import click

from flows.commands import checking, giving, learning, looking, making
from flows.interrupt import INTERRUPTED, interruptible
from schemas.errors import GymforgeError, StorageFailed
from schemas.printable import printable

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
  13   the hub cannot be reached, refuses, or does not hold what was sent
  14   what was to be published holds secrets or personal data
  15   some of several repositories failed or could not be checked, or their time was up
  16   a model's loss is no number or grows, whatever was tried
  130  interrupted; the same command goes on
"""


_DISK_REFUSES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_IN_THE_WAY = {errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""A folder that cannot be used: of the output, of the cache, or for temporary files."""


_KEEPS = {"ingest", "refresh", "publish", "train", "evaluate-model"}
"""Commands that go on where they were stopped."""


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
            _complain(f"Interrupted.{kept if ctx.invoked_subcommand in _KEEPS else ''}")
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
    click.echo(f"gymforge: {printable(message)}", err=True)


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


for _command in (
    making.ingest,
    making.refresh,
    making.deploy,
    looking.tasks,
    looking.show,
    looking.stats,
    looking.report,
    giving.release,
    giving.card,
    giving.publish,
    giving.export,
    learning.train,
    learning.evaluate_model,
    checking.verify,
    checking.doctor,
):
    main.add_command(_command)
