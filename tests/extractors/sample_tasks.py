"""Real tasks of the bundled sample package: mutants, their test results and the coverage of its suite.

The sample is this project's own code, so its tests run here as they are. One process runs everything: it forks a
child for each tree.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from extractors.diff import make_patch
from extractors.edits import edit_targets
from extractors.facts import TaskFacts
from extractors.index import RepoIndex
from extractors.syntax import definitions
from schemas.code import Candidate, CodeEntity, EntityKind, Span
from schemas.repo import InstallSpec, Language, RepoProfile
from schemas.reports import CoverageMap, TestFailure
from schemas.tasks import EditTarget

SAMPLE = Path(__file__).parents[2] / "examples" / "tinystats"

RUNNER = """
import json, os, sys, pathlib
import pytest

class Recorder:
    def __init__(self, source):
        self.source, self.lines, self.imported, self.current = source, {}, {}, None
        self.outcomes, self.failures = {}, {}
    def trace(self, frame, event, argument):
        path = frame.f_code.co_filename
        if not path.startswith(self.source):
            return None
        place = (os.path.relpath(path), frame.f_lineno)
        if event == "line":
            if self.current is None:
                self.imported[place] = True
            else:
                self.lines.setdefault(place, {})[self.current] = True
        return self.trace
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.current = item.nodeid
        result = yield
        self.current = None
        return result
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.when == "call" or report.failed:
            self.outcomes[report.nodeid] = report.outcome
        if report.failed:
            self.failures[report.nodeid] = [report.when, call.excinfo.typename]
        return report
    def pytest_collectreport(self, report):
        if report.failed:
            self.failures[report.nodeid] = ["collect", "ImportError"]

for tree in sys.argv[2:]:
    pid = os.fork()
    if pid == 0:
        os.chdir(tree)
        sys.path.insert(0, os.path.join(tree, "src"))
        recorder = Recorder(os.path.join(tree, "src"))
        if tree == sys.argv[2]:
            sys.settrace(recorder.trace)
        options = ["-q", "-p", "no:cacheprovider", "--assert=plain", "--continue-on-collection-errors", *(f"tests/test_{name}.py" for name in ("series", "cli", "online"))]
        sys.stdout = open(os.devnull, "w")
        pytest.main(options, plugins=[recorder])
        sys.settrace(None)
        lines = [[path, line, sorted(tests)] for (path, line), tests in sorted(recorder.lines.items())]
        pathlib.Path(sys.argv[1], os.path.basename(tree) + ".json").write_text(json.dumps(
            {"outcomes": recorder.outcomes, "failures": recorder.failures, "lines": lines,
             "imported": sorted(recorder.imported)}))
        os._exit(0)
    os.waitpid(pid, 0)
"""

MUTANTS = {
    "bounds": ("src/tinystats/series.py", "while start + width <= length:", "while start + width < length:"),
    "bounds_step": ("src/tinystats/series.py", "        start += step\n", "        start -= step\n        break\n"),
    "inverted": ("src/tinystats/series.py", "    if lag < 1:\n", "    if not lag < 1:\n"),
    "operands": ("src/tinystats/series.py", "max(window) - min(window)", "min(window) - max(window)"),
    "missing": ("src/tinystats/series.py", "    current = None\n", ""),
    "runs": ("src/tinystats/series.py", "found[-1][1] + 1", "found[-1][1] + 2"),
    "method": ("src/tinystats/series.py", "    def __len__(self):\n        return len(self._values)\n\n", ""),
    "import": ("src/tinystats/series.py", "from itertools import pairwise\n", "from itertools import pairwize\n"),
    "loop": (
        "src/tinystats/series.py",
        "    for start, end in _bounds(len(values), width, step):\n        yield tuple(values[start:end])\n",
        "    yield tuple(values)\n",
    ),
    "shuffled": (
        "src/tinystats/series.py",
        (
            "    current = None\n"
            "    for value in values:\n"
            "        current = value if current is None else alpha * value + (1 - alpha) * current\n"
            "        yield current\n"
        ),
        (
            "    for value in values:\n"
            "        current = value if current is None else alpha * value + (1 - alpha) * current\n"
            "        yield current\n"
            "    current = None\n"
        ),
    ),
    "branches": (
        "src/tinystats/series.py",
        "            found[-1] = (value, found[-1][1] + 1)\n        else:\n            found.append((value, 1))\n",
        "            found.append((value, 1))\n        else:\n            found[-1] = (value, found[-1][1] + 1)\n",
    ),
}


class SampleTask(NamedTuple):
    name: str
    facts: TaskFacts
    targets: tuple[EditTarget, ...]


def build(folder):
    """The index of the sample, and one task for each mutant that a test catches."""
    trees = {"clean": _copy(folder / "clean")}
    for name, (path, clean, bugged) in MUTANTS.items():
        trees[name] = _copy(folder / name)
        text = (trees[name] / path).read_text()
        assert text.count(clean) == 1, name
        (trees[name] / path).write_text(text.replace(clean, bugged))
    results = folder / "results"
    results.mkdir()
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }
    subprocess.run([sys.executable, "-c", RUNNER, results, *trees.values()], env=environment, check=True, timeout=120)
    reports = {name: json.loads((results / f"{name}.json").read_text()) for name in trees}
    baseline = reports["clean"]
    assert baseline["outcomes"]
    assert set(baseline["outcomes"].values()) == {"passed"}
    index = RepoIndex(trees["clean"], _profile(trees["clean"]), _coverage(baseline))
    return index, tuple(_task(name, trees, reports[name], baseline) for name in MUTANTS)


def _copy(target):
    shutil.copytree(SAMPLE, target, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis"))
    return target


def _profile(tree):
    files = {
        kind: tuple(sorted(str(path.relative_to(tree)) for path in (tree / kind).rglob("*.py")))
        for kind in ("src", "tests")
    }
    return RepoProfile(
        language=Language.PYTHON,
        source_files=files["src"],
        test_files=files["tests"],
        install=InstallSpec(project=True),
        test_command=("python", "-m", "pytest"),
        provenance={},
    )


def _coverage(report):
    tests = tuple(sorted(report["outcomes"]))
    position = {test: number for number, test in enumerate(tests)}
    lines, imported = {}, {}
    for path, line, names in report["lines"]:
        lines.setdefault(path, {})[line] = tuple(position[name] for name in names)
    for path, line in report["imported"]:
        imported.setdefault(path, []).append(line)
    return CoverageMap(tests=tests, lines=lines, import_lines={path: tuple(found) for path, found in imported.items()})


def _task(name, trees, report, baseline):
    path = MUTANTS[name][0]
    clean, bugged = ((trees[tree] / path).read_bytes() for tree in ("clean", name))
    lost = [test for test in baseline["outcomes"] if report["outcomes"].get(test) != "passed"]
    targets = edit_targets(path, bugged, clean)
    first = definitions(clean, Language.PYTHON)[0]
    entity = CodeEntity(
        path=path,
        name=first.name,
        kind=EntityKind.FUNCTION,
        span=Span(**first.span.model_dump()),
        language=Language.PYTHON,
        complexity=1,
    )
    assert lost, f"no test catches {name}"
    return SampleTask(
        name,
        TaskFacts(
            candidate=Candidate(
                strategy=name, entity=entity, bug_patch=make_patch(path, clean, bugged), explanation=name, seed=1
            ),
            clean=clean,
            bugged=bugged,
            fix_patch=make_patch(path, bugged, clean),
            fail_to_pass=tuple(sorted(lost)),
            pass_to_pass=tuple(sorted(set(baseline["outcomes"]) - set(lost))),
            failures={
                test: TestFailure(phase=phase, exception=kind) for test, (phase, kind) in report["failures"].items()
            },
        ),
        targets,
    )
