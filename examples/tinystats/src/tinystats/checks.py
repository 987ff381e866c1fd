"""Checks of arguments that several modules share."""

import functools
import math


def needs_data(at_least=1):
    """Decorate a function of a sequence so that it refuses sequences that are too short."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(values, *args, **kwargs):
            values = list(values)
            if len(values) < at_least:
                plural = "" if at_least == 1 else "s"
                raise ValueError(f"{function.__name__} needs at least {at_least} value{plural}, got {len(values)}")
            return function(values, *args, **kwargs)

        return wrapper

    return decorate


def check_width(width, length=None):
    """Return `width` when it is a positive integer that fits into `length` values."""
    if isinstance(width, bool) or not isinstance(width, int):
        raise TypeError(f"width must be an integer, not {type(width).__name__}")
    if width < 1:
        raise ValueError(f"width must be positive, not {width}")
    if length is not None and width > length:
        raise ValueError(f"width {width} is larger than the number of values ({length})")
    return width


def check_fraction(fraction, name="fraction"):
    """Return `fraction` when it lies between 0 and 1, both included."""
    if math.isnan(fraction) or not 0 <= fraction <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {fraction}")
    return fraction
