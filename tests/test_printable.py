"""What strangers wrote steers no terminal."""

import io
import json

import pytest
from click.testing import CliRunner
from rich.table import Table

from flows.artifacts import RunLog
from flows.cli import main
from flows.options import print_json
from flows.screens import _Console, open_progress
from schemas.errors import CloneFailed
from schemas.printable import printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1m a\u202eb \udcff"


def test_what_steers_is_spelt_out_and_lines_and_tabs_stay() -> None:
    assert printable(HOSTILE) == r"\x1b]0;owned\x07\x1b[2J\x9b1m a\u202eb \udcff"
    assert printable("größer\t数\r\n\n") == "größer\t数\n\n"
    assert printable(printable(HOSTILE)) == printable(HOSTILE)


def test_an_error_of_ours_is_printable_wherever_it_goes() -> None:
    assert str(CloneFailed(f"the server says {HOSTILE}")) == f"the server says {printable(HOSTILE)}"


def test_a_screen_shows_names_and_keeps_its_own_colours() -> None:
    output = io.StringIO()
    console = _Console(file=output, width=200, force_terminal=True, highlight=False)
    table = Table("name")
    table.add_row(f"[red]{HOSTILE}[/red]")
    console.print(table)
    shown = output.getvalue()
    assert r"\x1b]0;owned" in shown
    assert "\x1b[31m" in shown
    assert not any(sign in shown for sign in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e"))


def test_progress_shows_what_a_repository_says(capfd: pytest.CaptureFixture[str]) -> None:
    from flows.progress import listener

    with open_progress(quiet=False):
        listener().fact(HOSTILE)
    shown = capfd.readouterr().err
    assert r"\x1b]0;owned" in shown
    assert "\x1b]" not in shown


def test_json_for_machines_is_the_same_value(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"größe": HOSTILE})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"größe": HOSTILE}
    assert "größe" in shown
    assert printable(shown) == shown


def test_a_message_of_the_command_is_printable(tmp_path) -> None:
    ran = CliRunner().invoke(main, ["stats", str(tmp_path / "\x1b[2J")])
    assert (ran.exit_code, r"\x1b[2J" in ran.output, "\x1b" in ran.output) == (2, True, False)


def test_a_line_of_a_runs_log_is_printable() -> None:
    class Lines:
        def info(self, text: str, *values: object) -> None:
            said.append(text % values)

    said: list[str] = []
    log = RunLog(Lines())  # type: ignore[arg-type]
    log.stage("acquire")
    log.fact(HOSTILE)
    log.close()
    (line,) = said
    assert r"\x1b]0;owned" in line
    assert printable(line) == line
