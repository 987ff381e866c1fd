"""Make the pictures of a report, and of a card where there is one, in `docs/images` again, in headless Chromium.

    python -m benchmarks.screenshots DIR [--task INSTANCE_ID] [--out docs/images]

The dataset or release in DIR is what is shown; its folder's name is on the pictures. Without --task, the page is that
of the task of median complexity, which is on the overview too. The card is the folder's README.md,
turned into HTML plainly. The same dataset, browser and fonts give the same pictures.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flows.card import card_facts
from flows.report import make_report
from storage.layout import DatasetLayout

SIZE = {"width": 1280, "height": 1000}
_COLOURS = 128
_STYLE = """body { font: 16px/1.5 "DejaVu Sans", sans-serif; margin: 2em; overflow-wrap: anywhere; }
img { max-width: 49%; }
table { border-collapse: collapse; } th, td { border: 1px solid #ccc; padding: .2em .8em; text-align: left; }
pre { background: #f5f5f5; padding: 1em; overflow: hidden; }"""
_ABOVE = 40
"""Points of what stands before a part that is shown, so that it is seen to be one."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, metavar="DIR")
    parser.add_argument("--task", metavar="INSTANCE_ID")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    asked = parser.parse_args(arguments)
    example = card_facts(DatasetLayout(asked.dataset), name=asked.dataset.resolve().name).example
    task = asked.task or (example.instance_id if example else None)
    if task is None:
        parser.error(f"{asked.dataset} has no task to show")
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch, "site")
        make_report(asked.dataset, out=site)
        for name, image in take(site, task).items():
            path = asked.out / f"report-{name}.png"
            path.write_bytes(_small(image))
            print(f"{path}: {path.stat().st_size:,} bytes")
    card = asked.dataset / "README.md"
    if card.is_file():
        path = asked.out / "card.png"
        path.write_bytes(_small(take_card(card)))
        print(f"{path}: {path.stat().st_size:,} bytes")


def take(site: Path, task: str) -> dict[str, bytes]:
    """The overview, and a task's page from its edits on, as PNG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport=SIZE)
        page.goto((site / "index.html").as_uri())
        overview = page.screenshot()
        page.goto(f"{(site / 'task.html').as_uri()}?id={task}")
        page.wait_for_selector("[data-ready] #edits")
        top = f"document.getElementById('edits').getBoundingClientRect().top - {_ABOVE}"
        page.evaluate(f"window.scrollBy({{top: {top}, behavior: 'instant'}})")
        shown = page.screenshot()
        browser.close()
    return {"overview": overview, "task": shown}


def take_card(card: Path) -> bytes:
    """The top of a card, without its YAML, as PNG."""
    from markdown import markdown
    from playwright.sync_api import sync_playwright

    text = card.read_text(encoding="utf-8").split("\n---\n", 1)[-1]
    body = markdown(text, extensions=["tables", "fenced_code"])
    base = f'<base href="{card.resolve().as_uri()}">'
    with sync_playwright() as player, tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, "card.html")
        made.write_text(f"<meta charset=utf-8>{base}<style>{_STYLE}</style>{body}", encoding="utf-8")
        browser = player.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport=SIZE)
        page.goto(made.as_uri())
        image = page.screenshot()
        browser.close()
    return image


def _small(image: bytes) -> bytes:
    """With few colours: pages have few, and pictures stay in the history for good."""
    from PIL import Image

    data = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
        data, "png", optimize=True
    )
    return data.getvalue()


if __name__ == "__main__":
    main()
