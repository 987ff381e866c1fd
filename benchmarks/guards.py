"""Remove each guard in turn from a copy of the sources, and see that the tests which hold it fail.

A guard is an entry of `benchmarks/guards/*.toml`: the file and the exact text that holds it, what stands there once it
is gone, and the tests that must then fail. A test that does not fail holds nothing. The same tests must pass on the
untouched copy, so that a failure says something.

    python benchmarks/guards.py --area hostile
    python benchmarks/guards.py --only "processes are limited" --json

The exit code is 1 where a test passed without its guard, or failed with it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "benchmarks" / "guards"
_LIMIT_S = 1800


class Edit(NamedTuple):
    file: str
    find: str
    replace: str


class Guard(NamedTuple):
    area: str
    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def main() -> None:
    options = parse()
    guards = [
        guard
        for guard in read_guards()
        if (not options.area or guard.area in options.area) and (not options.only or guard.name in options.only)
    ]
    if not guards:
        sys.exit("no guard of that name")
    found = list(check(guards))
    faults = [one for one in found if one["fault"]]
    if options.json:
        print(json.dumps({"guards": len(found), "faults": len(faults), "found": found}, indent=2))
    else:
        for one in found:
            print(f"{'FAULT' if one['fault'] else 'held':<6}{one['area']}: {one['name']}  {one['fault']}")
    sys.exit(1 if faults else 0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--area", action="append", help="only this table, by the name of its file")
    parser.add_argument("--only", action="append", help="only this guard")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def read_guards() -> Iterator[Guard]:
    """Every entry of every table, checked against the sources.

    Raises:
        ValueError: the text of a guard does not occur exactly once in its file.
    """
    for table in sorted(TABLES.glob("*.toml")):
        for entry in tomllib.loads(table.read_text(encoding="utf-8"))["guard"]:
            edits = tuple(Edit(**edit) for edit in entry.get("edits") or [_single(entry)])
            for edit in edits:
                if (ROOT / edit.file).read_text(encoding="utf-8").count(edit.find) != 1:
                    raise ValueError(f"{table.name}, {entry['name']!r}: its text is not once in {edit.file}")
            yield Guard(table.stem, entry["name"], edits, tuple(entry["tests"]))


def _single(entry: dict[str, Any]) -> dict[str, str]:
    return {name: entry[name] for name in ("file", "find", "replace")}


def check(guards: Sequence[Guard]) -> Iterator[dict[str, str]]:
    """Each guard's area and name, and what is wrong with its tests: empty where they hold it."""
    tests = sorted({test for guard in guards for test in guard.tests})
    with copy_of_sources() as copy:
        sound = run(copy, tests)
        for guard in guards:
            unsound = [test for test in guard.tests if sound.get(test) != "passed"]
            with removed(copy, guard.edits):
                outcomes = run(copy, guard.tests)
            moved = {test for test in guard.tests if outcomes.get(test) == "failed"}
            unmoved = [f"{test} {outcomes.get(test, 'did not run')}" for test in guard.tests if test not in moved]
            faults = [f"with the guard: {test} {sound.get(test, 'did not run')}" for test in unsound]
            faults += [f"without it: {test}" for test in unmoved]
            yield {"area": guard.area, "name": guard.name, "fault": "; ".join(faults)}
            print(f"{guard.area}: {guard.name}: {'; '.join(faults) or 'held'}", file=sys.stderr, flush=True)


@contextmanager
def copy_of_sources() -> Iterator[Path]:
    """The checkout's own files, in a folder that the tests import from; downloads and environments are shared."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    with tempfile.TemporaryDirectory(prefix="gymforge-guards-") as folder:
        copy = Path(folder)
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).exists():  # a file that is deleted and not yet committed is still listed
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
        (copy / "build").mkdir(exist_ok=True)
        (ROOT / "build" / "test-cache").mkdir(parents=True, exist_ok=True)
        (copy / "build" / "test-cache").symlink_to(ROOT / "build" / "test-cache")
        yield copy


@contextmanager
def removed(copy: Path, edits: Iterable[Edit]) -> Iterator[None]:
    whole = {edit.file: (copy / edit.file).read_text(encoding="utf-8") for edit in edits}
    try:
        for edit in edits:
            path = copy / edit.file
            path.write_text(path.read_text(encoding="utf-8").replace(edit.find, edit.replace), encoding="utf-8")
        yield
    finally:
        for name, text in whole.items():
            (copy / name).write_text(text, encoding="utf-8")


def run(copy: Path, tests: Sequence[str]) -> dict[str, str]:
    """Run the tests in the copy; test to `passed`, `failed`, `skipped` or `error` (it could not even start)."""
    report = copy / "guards.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-o"]
    command += ["junit_family=xunit1", *tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=copy, env=environment, check=False, capture_output=True, timeout=_LIMIT_S)
    if not report.exists():
        return {}
    outcomes: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        test = f"{case.get('file')}::{case.get('name')}"
        for tag in ("failure", "error", "skipped"):
            if case.find(tag) is not None:
                outcomes[test] = {"failure": "failed"}.get(tag, tag)
                break
        else:
            outcomes.setdefault(test, "passed")
    return outcomes


if __name__ == "__main__":
    main()
