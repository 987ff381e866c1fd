"""Which interpreter a repository gets: one that it supports, and not one that its authors could not know."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from types import MappingProxyType

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from schemas.errors import EnvironmentFailed
from validation.sandbox.protocol import Interpreter

CPYTHON_RELEASES = MappingProxyType(
    {
        (3, 6): date(2016, 12, 23),
        (3, 7): date(2018, 6, 27),
        (3, 8): date(2019, 10, 14),
        (3, 9): date(2020, 10, 5),
        (3, 10): date(2021, 10, 4),
        (3, 11): date(2022, 10, 24),
        (3, 12): date(2023, 10, 2),
        (3, 13): date(2024, 10, 7),
        (3, 14): date(2025, 10, 7),
    }
)
"""Day of the first final release of each minor version (PEPs 494, 537, 569, 596, 619, 664, 693, 719, 745)."""

OLDEST_SUPPORTED = (3, 6)


def choose_interpreter(
    interpreters: Sequence[Interpreter],
    *,
    requires_python: str = "",
    cutoff: datetime | None = None,
    exact_version: str | None = None,
    preferred_minor: tuple[int, int] | None = None,
) -> Interpreter:
    """The newest interpreter that the repository supports; with a cutoff, the newest of those released by then.

    One of `preferred_minor` comes before newer ones, so that sandboxes with different choices agree on one.

    Where none of them was out at the cutoff, the oldest that the repository supports. `exact_version` (of a recorded
    environment) takes that very version.

    Raises:
        EnvironmentFailed: none fits; the message names what is needed and what is there.
    """
    found = ", ".join(interpreter.version for interpreter in interpreters) or "none"
    if exact_version is not None:
        for interpreter in interpreters:
            if interpreter.version == exact_version:
                return interpreter
        message = f"needs exactly Python {exact_version}; the sandbox has {found}"
        raise EnvironmentFailed(f"{message}. Use a sandbox that has it (--sandbox docker with a matching base image)")
    try:
        supported = SpecifierSet(requires_python)
    except InvalidSpecifier as error:
        message = f"requires-python {requires_python!r} is not a PEP 440 specifier"
        raise EnvironmentFailed(f"{message}. Give one in gymforge.toml: [install] requires_python") from error
    fitting = sorted(
        (
            interpreter
            for interpreter in interpreters
            if _minor(interpreter) >= OLDEST_SUPPORTED
            and not Version(interpreter.version).is_prerelease
            and supported.contains(interpreter.version)
        ),
        key=lambda interpreter: (_minor(interpreter) == preferred_minor, Version(interpreter.version)),
        reverse=True,
    )
    if not fitting:
        message = f"needs Python {requires_python or '>=3.6'}; the sandbox has {found}"
        raise EnvironmentFailed(f"{message}. Install one that fits, or override [install] requires_python")
    if cutoff is None:
        return fitting[0]
    day = cutoff.astimezone(UTC).date()
    known_then = (interpreter for interpreter in fitting if _released(interpreter) <= day)
    return next(known_then, fitting[-1])


def _minor(interpreter: Interpreter) -> tuple[int, int]:
    version = Version(interpreter.version)
    return version.major, version.minor


def _released(interpreter: Interpreter) -> date:
    minor = _minor(interpreter)
    if minor in CPYTHON_RELEASES:
        return CPYTHON_RELEASES[minor]
    # Newer than the table: one a year since 3.9 (PEP 602), so never earlier than the last row.
    last_minor, last_day = max(CPYTHON_RELEASES.items())
    return last_day.replace(year=last_day.year + max(0, minor[1] - last_minor[1]))
