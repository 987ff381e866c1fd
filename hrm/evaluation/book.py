"""Scores as they come, a line each, so that an evaluation that was stopped goes on."""

import json
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from hrm.evaluation.scores import Score
from storage.durable import refusals_named, write_whole


class ScoreBook:
    """A file of scores of one model, asked in one way; another one's are not taken over."""

    def __init__(self, path: Path, identity: str) -> None:
        """`identity`: of all that a score depends on beside its task.

        Raises:
            StorageFailed: the file system refused.
        """
        self._path = path
        self.scores: dict[str, Score] = {}
        """By instance id."""
        header = json.dumps({"identity": identity})
        with refusals_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
        if lines[:1] == [header]:
            self._take_over(lines[1:])
        # What was cut off in the middle is not kept.
        kept = [header, *(one.model_dump_json() for one in self.scores.values())]
        write_whole(path, "".join(f"{line}\n" for line in kept).encode())
        with refusals_named(path):
            self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, score: Score) -> None:
        """Keep a score.

        Raises:
            StorageFailed: the file system refused.
        """
        self.scores[score.instance_id] = score
        with refusals_named(self._path):
            self._file.write(score.model_dump_json() + "\n")
            self._file.flush()

    def _take_over(self, lines: list[str]) -> None:
        for line in lines:
            try:
                score = Score.model_validate_json(line)
            except ValidationError:
                continue
            self.scores[score.instance_id] = score
