"""Compare the mutants that SWE-smith's modifiers make with ours, one by one.

The mutants of a plain run of each cannot be compared: SWE-smith's modifiers are module-level objects, of which each
draws from one stream of random numbers for all entities, so that a mutant depends on which entities came before. So a
fresh modifier of SWE-smith's, with the random numbers that ours has for that entity and modifier, rewrites SWE-smith's
own entity by SWE-smith's own `modify`, and the change is put into the file as its patches do it. Wherever the file
still parses, and the entity was not already damaged by being cut out and put back unchanged, ours must hold a candidate
of the same modifier with the same syntax tree of the whole file, or have refused it with a reason. `same` and `refused`
count these; the reasons `no_op` and `duplicate` are checked too. Whatever is left is `missing` and listed.
"""

import ast
import importlib.util
import random
import sys
import types
import warnings
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple


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


@lru_cache(maxsize=64)
def tree_of(text: str) -> tuple[str, ...] | None:
    """A key of the syntax tree, positions apart; `None` where it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return None
    lines = text.split("\n")
    # The same text at the same column is the same tree: only what changed is written out.
    known = []
    for one in tree.body:
        first = min([one.lineno, *(item.lineno for item in getattr(one, "decorator_list", []))])
        key = ("\n".join(lines[first - 1 : one.end_lineno]), one.col_offset)
        if key not in DUMPS:
            DUMPS[key] = ast.dump(one)
        known.append(DUMPS[key])
    return tuple(known)


DUMPS: dict[tuple[str, int], str] = {}


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
        if reason in {"no_op", "reformatting"}:
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


def source_files(tree: Path, profile: Any) -> list[Path]:
    left_out = {*profile.excluded, *profile.test_files}
    return [tree / path for path in sorted(profile.source_files) if path not in left_out and path.endswith(".py")]


def registered() -> tuple[str, ...]:
    from synthesis.strategy import strategy_names

    return tuple(name for name in strategy_names() if name != "flip_operators")


def python_adapter() -> types.ModuleType:
    """SWE-smith's module for Python entities, without its siblings, whose grammars may be missing."""
    sys.modules.setdefault("astor", types.ModuleType("astor"))  # only asked for stubs, which nothing here makes
    folder = importlib.util.find_spec("swesmith").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("swesmith_python", Path(folder) / "bug_gen/adapters/python.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
