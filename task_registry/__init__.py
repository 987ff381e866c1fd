"""Find and play tasks: `load_tasks` reads one folder, `Registry` many datasets; imports are made at first use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from task_registry.catalog import (
        TaskQuery,
        TaskSummary,
        count_tasks,
        get_task,
        load_rejected,
        load_tasks,
        query_tasks,
        summarize_tasks,
    )
    from task_registry.registry import Registry

__all__ = [
    "Registry",
    "TaskQuery",
    "TaskSummary",
    "count_tasks",
    "get_task",
    "load_rejected",
    "load_tasks",
    "query_tasks",
    "summarize_tasks",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"task_registry.{'registry' if name == 'Registry' else 'catalog'}"), name)
