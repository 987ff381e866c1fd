"""Options and arguments that several commands share, and how they print for machines."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from schemas.printable import STEERING

MOST_HOURS = 24 * 365


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for machines, nothing else.")(command)


class _Score(click.FloatRange):
    """A number from 0 to 1; click takes "nan" for one, which no comparison refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if number != number:  # noqa: PLR0124 - only NaN differs from itself
            self.fail(f"{value!r} is no number from 0 to 1.", param, ctx)
        return float(number)


class _Hours(click.FloatRange):
    """A number of hours that ends; click takes "nan" and "inf" for one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number of hours.", param, ctx)
        return float(number)


SCORE = _Score(0, 1)
HOURS = _Hours(min=0, max=MOST_HOURS, min_open=True)
DATASET = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
SANDBOX = click.option(
    "--sandbox",
    type=click.Choice(["auto", "docker", "local"]),
    default="auto",
    show_default=True,
    help="Where untrusted code runs; auto takes Docker when its engine answers.",
)
RERUN_SANDBOX = click.option(
    "--sandbox",
    type=click.Choice(["auto", "docker", "local"]),
    default="auto",
    show_default=True,
    help="Where tasks run again; auto takes the kind in which they were made.",
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
    """Print JSON for machines; what steers a terminal is escaped, as JSON does it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
