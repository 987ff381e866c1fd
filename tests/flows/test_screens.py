"""What the screens show while a run goes on."""

from io import StringIO

from rich.console import Console
from rich.progress import Progress

from flows.screens import _Bar


def test_bar_never_runs_past_its_total() -> None:
    with Progress(console=Console(file=StringIO())) as progress:
        bar = _Bar(progress)
        bar.stage("validate", total=2)
        seen = []
        for _ in range(4):
            bar.advance()
            seen.append(progress.tasks[-1].completed)
    assert seen == [1, 2, 2, 2]


def test_bar_without_a_total_counts_every_step() -> None:
    with Progress(console=Console(file=StringIO())) as progress:
        bar = _Bar(progress)
        bar.stage("synthesize")
        for _ in range(3):
            bar.advance()
        assert progress.tasks[-1].completed == 3
