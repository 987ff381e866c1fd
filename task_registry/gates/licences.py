"""Keep out tasks of repositories whose licence is not allowed, or not known; by SPDX expressions."""

from collections.abc import Mapping, Sequence
from functools import cache

from schemas.errors import MissingExtra
from task_registry.gates.gate import Facts, Finding, GateSettings


def check(tasks: Sequence[Facts], settings: GateSettings) -> Mapping[str, Finding]:
    """See `Gate`. Reasons: `unknown` (no licence, or none that is certain), `not_allowed`."""
    allowed = frozenset(settings.licences)

    @cache
    def finding(expression: str) -> Finding | None:
        if expression in {"", "NONE", "NOASSERTION"} - allowed:
            return Finding("unknown", "the repository has no licence that is certain")
        return None if is_allowed(expression, allowed) else Finding("not_allowed", expression)

    return {task.instance_id: found for task in tasks if (found := finding(task.license_spdx)) is not None}


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether an SPDX expression can be met by allowed licences alone: of `OR` one side will do, of `AND` both must.

    An exception (`WITH`) only ever allows more. What is no expression is not allowed.

    Raises:
        MissingExtra: license-expression is not installed.
    """
    try:
        from license_expression import ExpressionError, ExpressionParseError, get_spdx_licensing
    except ImportError as error:
        raise MissingExtra(
            "license-expression is not installed. Licences are read with it: pip install 'gymforge[release]'."
        ) from error
    if expression in allowed:
        return True
    try:
        parsed = get_spdx_licensing().parse(expression)
    except (ExpressionError, ExpressionParseError):
        return False
    return parsed is not None and _holds(parsed, allowed)


def _holds(part: object, allowed: frozenset[str]) -> bool:
    from license_expression import AND, OR, LicenseWithExceptionSymbol

    if isinstance(part, OR):
        return any(_holds(one, allowed) for one in part.args)
    if isinstance(part, AND):
        return all(_holds(one, allowed) for one in part.args)
    if isinstance(part, LicenseWithExceptionSymbol):
        return _holds(part.license_symbol, allowed)
    return str(part) in allowed
