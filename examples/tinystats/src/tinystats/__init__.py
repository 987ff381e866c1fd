"""Small statistics for small tables, without dependencies."""

from tinystats.describe import correlation, mean, median, modes, quantile, stdev, summarize, variance
from tinystats.formatting import align_columns, format_number
from tinystats.histogram import Histogram
from tinystats.online import RunningMean, RunningRange, RunningVariance
from tinystats.parsing import ParseError, Table, parse_table
from tinystats.series import Series, differences, exponential_mean, rolling_mean, windows

__version__ = "0.2.0"

__all__ = [
    "Histogram",
    "ParseError",
    "RunningMean",
    "RunningRange",
    "RunningVariance",
    "Series",
    "Table",
    "align_columns",
    "correlation",
    "differences",
    "exponential_mean",
    "format_number",
    "mean",
    "median",
    "modes",
    "parse_table",
    "quantile",
    "rolling_mean",
    "stdev",
    "summarize",
    "variance",
    "windows",
]
