"""Time a report of many tasks: making it, and its gallery in a browser.

    python -m benchmarks.report DIR --tasks 50000 --json

The dataset in DIR (`gymforge ingest` makes one) is copied until there are as many tasks as asked for (see
`benchmarks.registry`). `gymforge report` runs on the copy in a process of its own, whose processor time and largest
size are told. Then headless Chromium opens the report from the disk: times are from the first line of the page's
address to what is said, and, for searches, a letter at a time, and filters, from the event to the next frame that is
drawn with the result.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.anchors.results import load, machine
from benchmarks.registry import write_many
from storage.durable import sha256_of
from storage.layout import DatasetLayout
from storage.manifest import read_manifest, write_manifest

QUERIES = ("boltons", "timeout", "returns something unexpected", "class_rm", "no such words here")
DRAWN = """async (change) => {
  const began = performance.now();
  change();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - began;
}"""
TYPE = f"""async (text) => {{
  const field = document.getElementById("query"), drawn = {DRAWN}, found = [];
  for (let size = 1; size <= text.length; size += 1) {{
    found.push(await drawn(() => {{ field.value = text.slice(0, size); field.dispatchEvent(new Event("input")); }}));
  }}
  return found;
}}"""
TICK = f"""async (number) => {{
  const drawn = {DRAWN}, box = document.querySelectorAll("#facets input[type=checkbox]")[number];
  return [await drawn(() => box.click()), await drawn(() => box.click())];
}}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-benchmark-") as scratch:
        found = {"machine": machine(), "load": load(), "tasks": options.tasks}
        folder = Path(scratch) / "dataset"
        last = write_dataset(options.directory, folder, options.tasks)
        found |= make(folder, Path(scratch) / "site")
        found |= browse(Path(scratch) / "site", last, options.chromium)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<24}{value}")


def write_dataset(template: Path, folder: Path, tasks: int) -> str:
    """Fill the folder, with hashes that hold; returns the last id."""
    ids = write_many(template, folder, tasks)
    layout = DatasetLayout(folder)
    manifest = read_manifest(layout)
    hashed = [
        one.model_copy(
            update={"shards": tuple(s.model_copy(update={"sha256": sha256_of(folder / s.path)}) for s in one.shards)}
        )
        for one in manifest.ingestions
    ]
    write_manifest(layout, manifest.model_copy(update={"ingestions": tuple(hashed)}))
    return ids[-1]


def make(folder: Path, out: Path) -> dict[str, Any]:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "from flows.entry import main; main()", "report", str(folder), "--out", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    return {
        "make_s": round(time.perf_counter() - began, 1),
        "make_cpu_s": round(spent.ru_utime + spent.ru_stime, 1),
        "make_peak_mib": round(spent.ru_maxrss / 1024),
        "files": len(sizes),
        "mib": round(sum(sizes) / 2**20, 1),
        "index_mib": round(sum(path.stat().st_size for path in (out / "data").glob("index-*")) / 2**20, 1),
    }


def browse(site: Path, last: str, chromium: str) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        began = time.perf_counter()
        page.goto((site / "tasks.html").as_uri(), wait_until="commit")
        page.wait_for_selector("#results a")
        first_s = time.perf_counter() - began
        page.wait_for_selector("[data-ready]")
        ready_s = time.perf_counter() - began
        typed = [one for query in QUERIES for one in page.evaluate(TYPE, query)]
        ticked = [one for number in range(12) for one in page.evaluate(TICK, number)]
        heap = page.evaluate("performance.memory.usedJSHeapSize")
        began = time.perf_counter()
        page.goto((site / f"task.html?id={last}").as_uri().replace("%3F", "?"), wait_until="commit")
        page.wait_for_selector("[data-ready]")
        task_s = time.perf_counter() - began
        version = browser.version
        browser.close()
    return {
        "chromium": version,
        "first_cards_s": round(first_s, 2),
        "whole_index_s": round(ready_s, 2),
        "letter_ms": spread(typed),
        "filter_ms": spread(ticked),
        "heap_mib": round(heap / 2**20),
        "task_page_s": round(task_s, 2),
    }


def spread(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        "median": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "max": round(ordered[-1], 1),
    }


if __name__ == "__main__":
    main()
