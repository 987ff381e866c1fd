"""The command line: describe, histogram and rolling."""

import argparse
import sys
from pathlib import Path

from tinystats.describe import summarize
from tinystats.formatting import align_columns, format_number
from tinystats.histogram import Histogram
from tinystats.parsing import parse_table
from tinystats.series import rolling_mean


def build_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="tinystats", description="Small statistics for small tables.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__)
        command.add_argument("file", help="a table as text; - reads standard input")
        command.add_argument("--column", required=True)
        command.add_argument("--digits", type=int, default=2)
        if name == "histogram":
            command.add_argument("--bins", type=int)
        if name == "rolling":
            command.add_argument("--width", type=int, default=3)
    return parser


def read_text(name):
    """Return the text of a file, or of standard input for `-`."""
    if name == "-":
        return sys.stdin.read()
    return Path(name).read_text(encoding="utf-8")


def describe(numbers, options):
    """Print a summary of one column."""
    summary = summarize(numbers)
    rows = [(name, format_number(value, options.digits)) for name, value in summary._asdict().items()]
    outliers = sum(1 for number in numbers if summary.is_outlier(number))
    if outliers:
        rows.append(("outliers", outliers))
    return align_columns(rows, right=(1,))


def histogram(numbers, options):
    """Print a histogram of one column."""
    return Histogram.of(numbers, options.bins).render(width=20)


def rolling(numbers, options):
    """Print the rolling mean of one column."""
    return [format_number(value, options.digits) for value in rolling_mean(numbers, options.width)]


COMMANDS = {"describe": describe, "histogram": histogram, "rolling": rolling}


def main(arguments=None):
    """Run the command line; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        numbers = parse_table(read_text(options.file)).numbers(options.column)
        if not numbers:
            raise ValueError(f"column {options.column!r} holds no numbers")
        lines = COMMANDS[options.command](numbers, options)
    except (OSError, ValueError, KeyError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"tinystats: {message}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0
