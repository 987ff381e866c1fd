"""Commands that learn from datasets, and say what was learnt."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.options import RERUN_SANDBOX, json_option, print_json
from schemas.printable import printable

if TYPE_CHECKING:
    from hrm.train.record import Row

_EVERY = 10
"""Steps between two lines of progress."""


@click.command()
@click.argument("datasets", metavar="DIR...", nargs=-1, required=True)
@click.option("--preset", default="tiny", show_default=True, help="Size and schedule: tiny, small or base.")
@click.option(
    "--model",
    type=click.Choice(["hrm-edit", "no-high", "transformer", "transformer-compute"]),
    default="hrm-edit",
    show_default=True,
    help="The model, or what it is compared with.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The run's folder.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Steps in all; the schedule ends with them.")
@click.option(
    "--resume", is_flag=True, help="Go on from the newest checkpoint in the run's folder, where there is one."
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A TOML file that overrides the preset, in tables [model], [train] and [layout].",
)
@click.option("--where", default="", help="Only tasks for which this holds: a condition in polars' SQL.")
@click.option("--weight", default="", help="How often each is seen in an epoch: an expression in polars' SQL.")
@click.option("--source", "sources", multiple=True, help="Where a repository is that was ingested from a local path.")
@json_option
def train(datasets: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Train a model on the tasks of the datasets in DIR..., or on one folder of examples.

    Needs the extra `train`. A run that was stopped goes on with --resume, to the same curve. With several processes:
    torchrun --no-python --nproc-per-node 2 gymforge train ...

    \b
    Examples:
      gymforge train boltons-tasks --preset tiny --out run
      gymforge train tasks-1 --where "split = 'train'" --preset small --config run.toml --out run
      gymforge train my-tasks --weight "CASE WHEN stage = 'multi_file' THEN 2 ELSE 1 END" --out run
      gymforge train my-tasks --source ../my-project --out run --resume
    """  # noqa: D301 - \b is click's mark
    from flows.train import train_model

    def report(row: "Row") -> None:
        if row.step % _EVERY == 0 or row.step == 1:
            click.echo(
                f"step {row.step}  loss {row.loss:.3f}  bits/byte {row.bits_per_byte:.3f}  "
                f"accuracy {row.accuracy:.3f}  line {row.line_accuracy:.3f}  segments {row.segments:.2f}  "
                f"{row.tokens_per_s:,.0f} tokens/s",
                err=True,
            )

    def say(text: str) -> None:
        click.echo(text, err=True)

    def nothing(_: object) -> None:
        pass

    quiet = {"report": nothing, "say": nothing} if as_json else {"report": report, "say": say}
    outcome = train_model(datasets, **options, **quiet)
    if as_json:
        print_json(outcome.model_dump(mode="json"))
    else:
        click.echo(
            f"{outcome.run}: {outcome.parameters:,} parameters, {outcome.steps} steps on {outcome.examples} examples, "
            f"{outcome.bits_per_byte:.3f} bits a byte, line found {outcome.line_accuracy:.3f}"
        )


@click.command("evaluate-model")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("datasets", metavar="DIR...", nargs=-1, required=True)
@click.option(
    "--against", multiple=True, type=click.Path(path_type=Path), help="Another run, asked about the same tasks."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder [default: RUN/evaluation].")
@click.option("--where", default="", help="Only tasks for which this holds: a condition in polars' SQL.")
@click.option("--sample", type=click.IntRange(min=1), help="So many of them, by their hashes.")
@click.option(
    "--attempts",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Responses to draw for each task, judged by running its tests: pass@1 and pass@k.",
)
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), default=0.8, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=8), default=256, show_default=True, help="Of a response.")
@click.option("--int8", is_flag=True, help="Ask the model with its weights in eight bits as well.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws responses, tasks and intervals.")
@RERUN_SANDBOX
@click.option("--source", "sources", multiple=True, help="Where a repository is that was ingested from a local path.")
@json_option
def evaluate_model(*, as_json: bool, **options: Any) -> None:
    """Say what the model in RUN is worth, by tasks of the datasets in DIR... that it has not learnt from.

    Needs the extra `train`; with --attempts also a sandbox. Tables, picture and all numbers are written to a folder.
    An evaluation that was stopped goes on with the same command.

    \b
    Examples:
      gymforge evaluate-model run my-tasks --where "split = 'test'"
      gymforge evaluate-model run my-tasks --against transformer-run --attempts 4 --sample 200
      gymforge evaluate-model run my-tasks --int8 --json
    """  # noqa: D301 - \b is click's mark
    from flows.evaluate import EvaluationAsked
    from flows.evaluate import evaluate_model as evaluate
    from flows.screens import open_progress

    with open_progress(quiet=as_json or not sys.stderr.isatty()):
        found = evaluate(EvaluationAsked.model_validate(options))
    if as_json:
        print_json(found)
    else:
        from hrm.evaluation.results import table_of

        click.echo(printable(table_of(found)))
