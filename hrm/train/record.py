"""What a run tells of itself: a row a step as Parquet, a picture of the curves, events, and a sign of life."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DatasetDamaged
from storage.durable import refusals_named, write_whole

_METRICS, _PICTURE, _EVENTS, _HEARTBEAT = "metrics.parquet", "curves.png", "events.jsonl", "heartbeat.json"
_BEAT_S = 5.0
_DRAW_S = 30.0


class Row(NamedTuple):
    """One optimizer step."""

    step: int
    """From 1."""
    loss: float
    """What is minimised: tokens, plan, pointer and halting, mean over segments."""
    token_loss: float
    """Nats a token of the responses, in the last segment; so are the others."""
    bits_per_byte: float
    """Of the responses' text."""
    accuracy: float
    """Share of the responses' tokens that are the likeliest."""
    edit_accuracy: float
    """Share of examples all of whose edit tokens are."""
    line_accuracy: float
    """Share of examples whose line the pointer finds first."""
    pointer_loss: float
    plan_loss: float
    halt_loss: float
    segments: float
    """Segments after which the model would have stopped, in the mean."""
    gradient_norm: float
    lr: float
    epoch: int
    phase: int
    tokens: int
    """Tokens that were read, prompts included."""
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """How fast it went."""
        return self.tokens / self.seconds if self.seconds else 0.0


class Record:
    """The files in a run's folder that say how it goes."""

    def __init__(self, run: Path, *, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock
        self._beaten = self._drawn = float("-inf")
        self.rows: list[Row] = []

    def go_back(self, step: int) -> None:
        """Forget the rows behind a step."""
        self.rows = [row for row in self.rows if row.step <= step]

    def read(self) -> None:
        """Take over the rows that an earlier process wrote.

        Raises:
            DatasetDamaged: they cannot be read.
        """
        path = self._run / _METRICS
        try:
            self.rows = [Row(**row) for row in pq.read_table(path).to_pylist()] if path.exists() else []
        except (pa.ArrowException, OSError, TypeError) as error:
            raise DatasetDamaged(f"{path} cannot be read: {error}. Delete it: the curve begins anew") from error

    def write(self, *, is_last: bool) -> None:
        """Bring the metrics up to date, and the picture where it is older than half a minute or the last.

        Raises:
            StorageFailed: the file system refused.
        """
        if not self.rows:
            return
        columns = {name: [getattr(row, name) for row in self.rows] for name in Row._fields}
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="zstd")
        write_whole(self._run / _METRICS, buffer.getvalue())
        if is_last or self._clock() - self._drawn >= _DRAW_S:
            self._drawn = self._clock()
            write_whole(self._run / _PICTURE, picture_of(self.rows))

    def beat(self, *, force: bool = False) -> None:
        """Say that the run is alive, every few seconds: whoever watches reads the time and the step."""
        if force or self._clock() - self._beaten >= _BEAT_S:
            self._beaten = self._clock()
            last = self.rows[-1] if self.rows else None
            said = {"time": self._beaten, "step": last.step if last else 0, "loss": last.loss if last else None}
            write_whole(self._run / _HEARTBEAT, (json.dumps(said) + "\n").encode())

    def tell(self, event: str, **facts: object) -> None:
        """Keep what happened that is no step."""
        path = self._run / _EVENTS
        with refusals_named(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": self._clock(), "event": event, **facts}) + "\n")


def picture_of(rows: list[Row]) -> bytes:
    """The curves of a run, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = (
        ("loss", {"all": "loss", "tokens": "token_loss", "pointer": "pointer_loss", "plan": "plan_loss"}),
        ("bits a byte of the responses", {"": "bits_per_byte"}),
        ("share that is right", {"tokens": "accuracy", "edits": "edit_accuracy", "line": "line_accuracy"}),
        ("tokens a second", {"": "tokens_per_s"}),
        ("segments used", {"": "segments"}),
        ("learning rate", {"": "lr"}),
    )
    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    steps = [row.step for row in rows]
    for axes, (title, curves) in zip(figure.subplots(2, 3).flat, panels, strict=True):
        for label, name in curves.items():
            axes.plot(steps, [getattr(row, name) for row in rows], label=label, linewidth=1)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(visible=True, alpha=0.3)
        if len(curves) > 1:
            axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()
