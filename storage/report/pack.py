"""Data of a report as scripts, since pages that are opened from a disk may load scripts and nothing else.

A script is one call with two texts: its name, and JSON that is compressed (zlib) and written in base64. So a script
holds no text of a repository's that could be taken for code, and is a fifth as large.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PART_TASKS = 50
"""Tasks in one script; a task's page loads one such script."""
INDEX_TASKS = 2_000
"""Tasks in one script of the gallery's index."""
_LEVEL = 6
_LARGEST_PART = 2_000_000
"""Characters of JSON from which a part ends, however few tasks it has."""


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


class DataFolder:
    """The `data` folder of a site that is being made; holds a part of the tasks at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._views: list[str] = []
        self._ids: list[str] = []
        self._rows: list[Mapping[str, Any]] = []
        self._parts: list[tuple[str, str]] = []
        self.indexes = 0
        self.suites = 0

    def suite(self, tests: Sequence[str]) -> int:
        """Keep the ids of a suite's tests, which many tasks share; returns the suite's number."""
        self._write(f"suite-{self.suites:05d}", tests)
        self.suites += 1
        return self.suites - 1

    def add(self, view: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Keep a task's page and its row of the gallery."""
        self._views.append(_json(view))
        self._ids.append(view["id"])
        if len(self._views) == PART_TASKS or sum(map(len, self._views)) > _LARGEST_PART:
            self._end_part()
        self._rows.append(row)
        if len(self._rows) == INDEX_TASKS:
            self._end_index()

    def close(self) -> None:
        """Write what is left, and in which part which ids are."""
        if self._views:
            self._end_part()
        if self._rows:
            self._end_index()
        self._write("parts", self._parts)

    def _end_part(self) -> None:
        ids = sorted(self._ids, key=lambda one: one.encode("utf-16-be"))  # as scripts compare texts
        self._put(f"tasks-{len(self._parts):05d}", f"[{','.join(self._views)}]")
        self._parts.append((ids[0], ids[-1]))
        self._views, self._ids = [], []

    def _end_index(self) -> None:
        """Rows by column: alike values lie together and compress well, and a column is what a filter looks at."""
        self._write(f"index-{self.indexes:05d}", {name: [row[name] for row in self._rows] for name in self._rows[0]})
        self.indexes += 1
        self._rows = []

    def _write(self, name: str, content: object) -> None:
        self._put(name, _json(content))

    def _put(self, name: str, text: str) -> None:
        packed = base64.b64encode(zlib.compress(text.encode(), _LEVEL)).decode("ascii")
        (self._folder / f"{name}.js").write_text(f'gymforge.receive("{name}", "{packed}");\n', encoding="ascii")
