"""Options and arguments that several commands share, and how they print for machines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines, nothing else.")(command)


class _Score(click.FloatRange):
    """A number from 0 to 1; click takes "nan" for one, which no comparison refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if number != number:  # noqa: PLR0124 - only NaN differs from itself
            self.fail(f"{value!r} is no number from 0 to 1.", param, ctx)
        return float(number)


SCORE = _Score(0, 1)
DATASET = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
SANDBOX = click.option(
    "--sandbox",
    type=click.Choice(["auto", "docker", "local"]),
    default="auto",
    show_default=True,
    help="Where untrusted code runs; auto takes Docker when its engine answers.",
)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=None,
    help="Validations at the same time on this machine (default: one a core, at most 8). Never changes the result.",
)


RAY = click.option(
    "--ray",
    metavar="ADDRESS",
    help="Validate on this Ray cluster (HOST:PORT or ray://HOST:PORT) instead, one candidate a core.",
)


def is_debug(ctx: click.Context) -> bool:
    """Whether tracebacks were asked for."""
    return bool(ctx.find_root().params.get("debug"))


def print_json(value: object) -> None:
    """Print JSON for machines."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
