"""Quality gates of a release: each says which tasks stay out, and why. A new one is a file and a row in the table."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from schemas.manifest import GateRules
from task_registry.gates.gate import Facts, Finding, Gate, GateSettings, facts_of_text

GATES = MappingProxyType(
    {
        "health": "task_registry.gates.health:check",
        "licence": "task_registry.gates.licences:check",
        "contamination": "task_registry.gates.contamination:check",
        "duplicate": "task_registry.gates.duplicates:check",
        "secret": "task_registry.gates.secrets:check",
        "personal_data": "task_registry.gates.personal_data:check",
    }
)
"""Name to function, in the order in which they are asked: a task that one keeps out is not shown to the next."""

BLOCKING = ("secret", "personal_data")
"""Gates whose findings must not be given away, whatever else holds."""

__all__ = [
    "BLOCKING",
    "GATES",
    "Facts",
    "Finding",
    "Gate",
    "GateSettings",
    "facts_of_text",
    "gate",
    "not_asked",
    "rules_of",
]


def not_asked(tasks: Sequence[Facts], settings: GateSettings) -> dict[str, str]:
    """Gates that have nothing to go by, or not all that they could, and what they lack."""
    lacking = {}
    if not settings.benchmarks:
        dates = "; only the dates of commits were looked at" if settings.since else ""
        lacking["contamination"] = f"no benchmark's list was named{dates}"
    if not any(task.checks for task in tasks):
        lacking["health"] = "no task has been run again since it was made"
    return lacking


def rules_of(settings: GateSettings) -> GateRules:
    """What the gates go by, as a release records it.

    Raises:
        InvalidInput: a benchmark's list cannot be read.
    """
    from task_registry.gates import contamination, duplicates

    return GateRules(
        licences=settings.licences,
        benchmarks=tuple(contamination.list_of(Path(path)) for path in settings.benchmarks),
        since=settings.since,
        overlap_words=contamination.NGRAM,
        overlap_share=contamination.SHARE,
        near=settings.near,
        near_words=duplicates.SHINGLE,
    )


def gate(name: str) -> Gate:
    """The gate with a name of the table."""
    module, _, function = GATES[name].partition(":")
    found: Gate = getattr(import_module(module), function)
    return found
