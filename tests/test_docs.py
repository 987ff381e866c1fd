"""What the documentation shows is run: Python code on a real dataset, commands against the command line's own parser."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from flows.cli import main
from schemas.tasks import TaskInstance

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def fences(page: Path, language: str) -> Iterator[str]:
    # Longer fences hold quoted examples (an issue text with code in it), not code to run.
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        before = page.read_text()[: match.start()]
        if len(re.findall(r"^````", before, re.MULTILINE)) % 2 == 0:
            yield match.group(1)


PYTHON = [(page, code) for page in PAGES for code in fences(page, "python")]
COMMANDS = sorted(
    {
        line.removeprefix("$ ").removeprefix(".venv/bin/").split("#")[0].strip()
        for page in PAGES
        for block in fences(page, "console")
        for line in block.splitlines()
        if re.match(r"\$ (\.venv/bin/)?gymforge ", line)
    }
)
TARGETS = sorted(
    {
        match.group(1)
        for page in PAGES
        for match in re.finditer(r"`make ([a-z-]+)`|^\$ make ([a-z-]+)", page.read_text(), re.MULTILINE)
        if match.group(1)
    }
)


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[f"{page.stem}-{n}" for n, (page, _) in enumerate(PYTHON)])
def test_python_code_in_the_docs_runs(
    page: Path,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_task: Callable[[], TaskInstance],
    write_dataset: Callable[[Path, TaskInstance], None],
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("my-tasks", "DIR"):
        write_dataset(tmp_path / name, make_task())
    monkeypatch.chdir(tmp_path)
    import datasets
    import duckdb
    import polars  # noqa: ICN001 - the name that the docs use

    import task_registry

    names = {"polars": polars, "datasets": datasets, "duckdb": duckdb, "task_registry": task_registry}
    exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_in_the_docs_are_understood(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    subcommand = main.commands[name]
    subcommand.make_context(name, arguments, parent=click.Context(main))


def test_the_docs_show_commands_and_code() -> None:
    assert len(COMMANDS) >= 4
    assert len(PYTHON) >= 3


@pytest.mark.parametrize("target", TARGETS)
def test_make_targets_in_the_docs_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
