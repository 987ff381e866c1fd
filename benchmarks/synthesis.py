"""Time our synthesis and SWE-smith's own generation on one repository, and compare what they make.

    python benchmarks/synthesis.py https://github.com/mahmoud/boltons --json

SWE-smith runs as shipped: its adapter's `get_entities_from_file` over the repository's source files (the same files
that ours reads, tests excluded), then, as its procedural `generate` does without limits, every registered modifier on
every entity that it can change, each through its own `_process_candidate`: rewrite, difflib patch, two files written.
It has no option for more than one process. Cloning is left out on both sides, and so are imports, but for those of our
second process. Every measurement has a process of its own. Ours is timed with the 13 modifiers that SWE-smith
registers, and with all strategies; a candidate of ours is one that was screened, proven and deduplicated.

The mutants of the timed runs cannot be compared one by one: SWE-smith's modifiers are module-level objects, of which
each draws from one stream of random numbers for all entities, so that a mutant depends on which entities came before.
To compare, a fresh modifier of SWE-smith's, with the random numbers that ours has for that entity and modifier, rewrites
SWE-smith's own entity by SWE-smith's own `modify`, and the change is put into the file as its patches do it. Wherever
the file still parses, and the entity was not already damaged by being cut out and put back unchanged, ours must hold a
candidate of the same modifier with the same syntax tree of the whole file, or have refused it with a reason. `same` and
`refused` count these; the reasons `no_op` and `duplicate` are checked too. Whatever is left is `missing` and listed.
"""

import argparse
import ast
import importlib.util
import io
import json
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
import types
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", help="URL, path or bundle of a repository")
    parser.add_argument("--ref", help="branch, tag or commit; the default branch without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of ours, beside a run with one")
    parser.add_argument("--rounds", type=int, default=3, help="of ours; SWE-smith runs once")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gymforge-benchmark-") as scratch:
        measured = measure(options, Path(scratch))
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        for name, value in measured.items():
            print(f"{name:<28}{value}")
    sys.exit(1 if measured["mutants"]["missing"] else 0)


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    from extractors.acquire import acquire
    from extractors.profile import profile_repository

    checkout = acquire(options.repo, ref=options.ref, cache_dir=scratch / "cache", destination=scratch / "tree")
    profile = profile_repository(checkout.path)
    theirs = apart(shipped, checkout.path, profile, scratch)
    figures = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.platform()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}",
        "repo": f"{checkout.ref.name} {checkout.ref.commit[:12]}",
        "swesmith": theirs.figures(),
    }
    for name, strategies in (("registered", registered()), ("all", None)):
        for workers in (1, options.workers):
            rounds = [
                apart(ours, checkout.path, profile, options.seed, strategies, workers) for _ in range(options.rounds)
            ]
            figures[f"ours, {name}, {workers}"] = summary(rounds, theirs)
    one, more = figures["ours, all, 1"], figures[f"ours, all, {options.workers}"]
    figures["scaling"] = round(one["wall_s"]["median"] / more["wall_s"]["median"], 2)
    figures["mutants"] = apart(compare, checkout.path, profile, options.seed)
    return figures


class Run(NamedTuple):
    candidates: int
    wall_s: float
    cpu_s: float
    """Of all processes, git included."""

    def figures(self) -> dict[str, float]:
        rates = {"per_s": self.candidates / self.wall_s, "per_cpu_s": self.candidates / self.cpu_s}
        return self._asdict() | {name: round(value, 1) for name, value in rates.items()}


def summary(rounds: list[Run], theirs: Run) -> dict[str, Any]:
    found: dict[str, Any] = {"candidates": rounds[0].candidates}
    for name in ("wall_s", "cpu_s"):
        values = [getattr(one, name) for one in rounds]
        found[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    middle = Run(rounds[0].candidates, found["wall_s"]["median"], found["cpu_s"]["median"]).figures()
    base = theirs.figures()
    found |= {name: middle[name] for name in ("per_s", "per_cpu_s")}
    found["times_swesmith_by_wall"] = round(middle["per_s"] / base["per_s"], 1)
    found["times_swesmith_by_cpu"] = round(middle["per_cpu_s"] / base["per_cpu_s"], 1)
    return found


def apart(task: Callable[..., Any], *arguments: object) -> Any:
    """What the task returns in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def timed(work: Callable[[], int]) -> Run:
    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    before, started = cpu(), time.perf_counter()
    count = work()
    return Run(count, round(time.perf_counter() - started, 2), round(cpu() - before, 2))


def registered() -> tuple[str, ...]:
    from synthesis.strategy import strategy_names

    return tuple(name for name in strategy_names() if name != "flip_operators")


def ours(tree: Path, profile: Any, seed: int, strategies: tuple[str, ...] | None, workers: int) -> Run:
    import libcst  # noqa: F401

    import synthesis.swesmith.comparison  # noqa: F401
    from synthesis.generate import generate

    return timed(lambda: len(generate(tree, profile, seed=seed, strategies=strategies, workers=workers).candidates))


def source_files(tree: Path, profile: Any) -> list[Path]:
    left_out = {*profile.excluded, *profile.test_files}
    return [tree / path for path in sorted(profile.source_files) if path not in left_out and path.endswith(".py")]


def shipped(tree: Path, profile: Any, scratch: Path) -> Run:
    os.chdir(scratch)  # its patches and its log folder have relative paths
    from swesmith.bug_gen.procedural import MAP_EXT_TO_MODIFIERS
    from swesmith.bug_gen.procedural.generate import _process_candidate

    read = python_adapter().get_entities_from_file_py

    def work() -> int:
        entities: list[Any] = []
        for path in source_files(tree, profile):
            read(entities, str(path), -1)
        return sum(
            bool(_process_candidate(entity, modifier, scratch / "logs", str(tree)))
            for modifier in MAP_EXT_TO_MODIFIERS[".py"]
            for entity in [one for one in entities if modifier.can_change(one)]
        )

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return timed(work)


def python_adapter() -> types.ModuleType:
    """SWE-smith's module for Python entities, without its siblings, whose grammars may be missing."""
    sys.modules.setdefault("astor", types.ModuleType("astor"))  # only asked for stubs, which nothing here makes
    folder = importlib.util.find_spec("swesmith").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("swesmith_python", Path(folder) / "bug_gen/adapters/python.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def compare(tree: Path, profile: Any, seed: int) -> dict[str, Any]:
    """Every mutant of SWE-smith's that is whole, looked for among ours."""
    from swesmith.bug_gen.procedural import MAP_EXT_TO_MODIFIERS

    from synthesis.generate import generate

    made = generate(tree, profile, seed=seed, strategies=registered())
    counts: Counter[str] = Counter()
    missing: list[str] = []
    for path in source_files(tree, profile):
        name = str(path.relative_to(tree))
        ours = Ours.of(path.read_bytes(), [one for one in made.candidates if one.entity.path == name])
        refused = {(one.strategy, one.entity): one.reason.value for one in made.rejected if one.path == name}
        entities: list[Any] = []
        python_adapter().get_entities_from_file_py(entities, str(path), -1)
        places = dotted_names(ast.parse(path.read_text("utf-8")))
        for entity in entities:
            for modifier in MAP_EXT_TO_MODIFIERS[".py"]:
                strategy = modifier.name.removeprefix("func_pm_")
                dotted, ordinal = places[entity.line_start]
                if not modifier.can_change(entity):
                    continue
                kind, text = mutant(entity, modifier, path, (seed, strategy, name, dotted, ordinal))
                if kind == "whole":
                    kind = ours.verdict(text, strategy, entity.line_start, refused.get((strategy, dotted), "missing"))
                counts[kind] += 1
                if kind == "missing":
                    missing.append(f"{strategy} {name}:{entity.line_start} {dotted}")
    counts["missing"] += 0
    return dict(sorted(counts.items())) | {"list_of_missing": missing}


def mutant(entity: Any, modifier: Any, path: Path, place: tuple[Any, ...]) -> tuple[str, str]:
    """What came of SWE-smith's modifier, and the whole file with its mutant."""
    from synthesis.identity import derive_seed

    fresh = type(modifier)(likelihood=modifier.likelihood)
    fresh.rand = random.Random(derive_seed(*place))
    bug = fresh.modify(entity)
    if bug is None:
        return "none", ""
    text, unchanged = put_back(path, entity, bug.rewrite), put_back(path, entity, entity.src_code)
    if tree_of(text) is None:
        return "broken: the file does not parse", ""
    if tree_of(unchanged) != tree_of(path.read_text("utf-8")):
        return "broken: cutting it out changes the entity", ""
    return "whole", text


def put_back(path: Path, entity: Any, source: str) -> str:
    """The file with a new entity, as SWE-smith's patches make it."""
    lines = path.read_text("utf-8").splitlines(keepends=True)
    indent = " " * entity.indent_level * entity.indent_size
    new = [indent + row if row.strip() else row for row in source.splitlines(keepends=True)]
    last = lines[entity.line_end - 1]
    new[-1] = new[-1].rstrip("\n") + "\n" * (len(last) - len(last.rstrip("\n")))
    return "".join([*lines[: entity.line_start - 1], *new, *lines[entity.line_end :]])


def tree_of(text: str) -> str | None:
    """A key of the syntax tree, positions apart."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.dump(ast.parse(text))
        except (SyntaxError, ValueError):
            return None


class Ours(NamedTuple):
    """Our candidates of one file."""

    clean: str
    by_place: dict[tuple[str, int], list[str]]
    """Files that a strategy makes of the entity whose `def` or `class` stands in that line."""

    @classmethod
    def of(cls, clean: bytes, candidates: list[Any]) -> "Ours":
        from extractors.diff import apply_patch

        made: dict[tuple[str, int], list[str]] = {}
        for one in candidates:
            # The span starts with the decorators.
            lines = clean.decode().split("\n")
            line = one.entity.span.start_line
            while not lines[line - 1].lstrip().startswith(("def ", "class ", "async ")):
                line += 1
            made.setdefault((one.strategy, line), []).append(apply_patch(clean, one.bug_patch).decode())
        return cls(clean.decode(), made)

    def verdict(self, text: str, strategy: str, line: int, reason: str) -> str:
        wanted = tree_of(text)
        if wanted in {tree_of(one) for one in self.by_place.get((strategy, line), ())}:
            return "same"
        if reason == "no_op" or reason == "reformatting":
            return f"refused: {reason}" if wanted == tree_of(self.clean) else "missing"
        if reason == "duplicate":
            every = {tree_of(one) for several in self.by_place.values() for one in several}
            return "refused: duplicate" if wanted in every else "missing"
        return "missing" if reason == "missing" else f"refused: {reason}"


def dotted_names(tree: ast.Module) -> dict[int, tuple[str, int]]:
    """Line of a `def` or `class` to its dotted name, and how many of that name stand above it."""
    found: dict[int, tuple[str, int]] = {}
    seen: Counter[str] = Counter()

    def visit(parent: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[child.lineno] = (prefix + child.name, seen[prefix + child.name])
                seen[prefix + child.name] += 1
                visit(child, f"{prefix}{child.name}.")
            elif not isinstance(child, ast.expr):
                visit(child, prefix)

    visit(tree, "")
    return found


if __name__ == "__main__":
    main()
