"""The script that makes the pictures in the docs makes them all, of a size that a repository can hold."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.screenshots import SIZE, main
from schemas.tasks import TaskInstance

pytestmark = [pytest.mark.slow, pytest.mark.browser]
DOCS = Path(__file__).parents[2] / "docs"


def shown_on(*pages: Path) -> set[str]:
    return {name for page in pages for name in re.findall(r"\(images/([^)]+)\)", page.read_text())}


def test_every_picture_of_the_docs_is_made(
    tmp_path: Path,
    make_task: Callable[..., TaskInstance],
    write_dataset: Callable[[Path, TaskInstance], None],
) -> None:
    write_dataset(tmp_path / "tasks", make_task(1))
    (tmp_path / "tasks" / "README.md").write_text(
        "---\nlicense: mit\n---\n\n# Tasks\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    main([str(tmp_path / "tasks"), "--out", str(tmp_path / "images")])
    made = {path.name for path in (tmp_path / "images").iterdir()}
    assert made == shown_on(DOCS / "report.md", DOCS / "releases.md")
    assert shown_on(*DOCS.rglob("*.md")) == {path.name for path in (DOCS / "images").iterdir()}
    for name in made:
        path = tmp_path / "images" / name
        with Image.open(path) as image:
            assert image.size == (SIZE["width"], SIZE["height"])
            assert len(image.convert("RGB").getcolors(2**16) or ()) > 10, "something is on it"
        assert path.stat().st_size < 150_000
