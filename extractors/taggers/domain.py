"""What a task is about: labels of a closed list, each with a score and its evidence."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple
from weakref import WeakKeyDictionary

from packaging.requirements import InvalidRequirement
from packaging.utils import canonicalize_name

from extractors.index import RepoIndex
from extractors.python_project.requirements import read_requirement
from extractors.taggers.domain_signals import DOMAINS, IMPORT_NAMES, OTHER, TEST_DEPENDENCIES, Signals
from extractors.tree import parse_ini, parse_toml, table
from schemas.errors import ProfileFailed
from schemas.tasks import DomainLabel

VERSION = "1"

IMPORT_STRONG = 0.55
IMPORT_WEAK = 0.25
PACKAGE_SHARE = 0.5
"""A module that all source files import counts this much of what it counts in the changed file; fewer, less."""
DEPENDENCY = 0.35
CLASSIFIER = 0.35
KEYWORD = 0.2
FILE_TOKEN = 0.45
FOLDER_TOKEN = 0.2
LEAST_SCORE = 0.3
"""Labels below this are not given."""
MOST_LABELS = 5
MOST_EVIDENCE = 8
_LEAST_WEIGHT = 0.05

_SUFFIXES = ("utils", "util", "helpers", "helper", "lib", "tools")
_WORD = re.compile(r"[a-z]+|[A-Z][a-z]*|[0-9]+")
_SETUP_CLASSIFIER = re.compile(rb"""["']((?:Topic|Framework|Environment|Intended Audience) :: [^"'\n]{1,200})["']""")


class Evidence(NamedTuple):
    """One thing that speaks for a label."""

    weight: float
    text: str
    """`kind:value`."""


class _Package(NamedTuple):
    """What is the same for all tasks of a repository."""

    imports: dict[str, float]
    """Module to the share of source files that import it."""
    dependencies: tuple[str, ...]
    classifiers: tuple[str, ...]
    keywords: tuple[str, ...]


_PACKAGES: WeakKeyDictionary[RepoIndex, _Package] = WeakKeyDictionary()


def tag_domain(path: str, index: RepoIndex) -> tuple[DomainLabel, ...]:
    """The domains of a changed file, highest score first, then by label; `other` alone where nothing speaks for any."""
    if index not in _PACKAGES:
        _PACKAGES[index] = _describe(index)
    package, imports = _PACKAGES[index], index.imports(path)
    found: list[DomainLabel] = []
    strongest = 0.0
    for label, signals in DOMAINS.items():
        evidence = sorted(_evidence(signals, path, imports, package), key=lambda item: (-item.weight, item.text))
        score = combine([item.weight for item in evidence])
        strongest = max(strongest, score)
        if score >= LEAST_SCORE:
            texts = tuple(dict.fromkeys(item.text for item in evidence))[:MOST_EVIDENCE]
            found.append(DomainLabel(label=label, score=score, evidence=texts))
    found.sort(key=lambda item: (-item.score, item.label))
    return tuple(found[:MOST_LABELS]) or (DomainLabel(label=OTHER, score=round(1.0 - strongest, 2), evidence=()),)


def combine(weights: list[float]) -> float:
    """The score of a label: the chance that not all of its evidence misleads, `1 - (1-w1)(1-w2)...`; two decimals."""
    missing = 1.0
    for weight in sorted(weights):
        missing *= 1.0 - weight
    return round(1.0 - missing, 2)


def _evidence(signals: Signals, path: str, imports: tuple[str, ...], package: _Package) -> Iterator[Evidence]:
    listed = {name for module in imports if (name := _listed(module, signals))}
    for name in listed:
        yield Evidence(IMPORT_STRONG if name in signals.strong else IMPORT_WEAK, f"import:{name}")
    shares: dict[str, float] = {}
    for module, share in package.imports.items():
        name = _listed(module, signals)
        if name and name not in listed:
            shares[name] = max(share, shares.get(name, 0.0))
    for name, share in shares.items():
        weight = PACKAGE_SHARE * share * (IMPORT_STRONG if name in signals.strong else IMPORT_WEAK)
        if weight >= _LEAST_WEIGHT:
            yield Evidence(weight, f"package-import:{name}")
    for name in package.dependencies:
        if _listed(IMPORT_NAMES.get(name, name.replace("-", "_")), signals) in signals.strong:
            yield Evidence(DEPENDENCY, f"dependency:{name}")
    yield from _topic_evidence(signals, package)
    yield from _path_evidence(signals, path)


def _topic_evidence(signals: Signals, package: _Package) -> Iterator[Evidence]:
    matching = [item for item in package.classifiers if item.startswith(signals.topics)] if signals.topics else []
    # A classifier that a longer entry of another label covers belongs to that label alone.
    yield from (Evidence(CLASSIFIER, f"classifier:{item}") for item in matching if _owned(item, signals))
    yield from (Evidence(KEYWORD, f"keyword:{word}") for word in package.keywords if _words(word) & signals.tokens)


def _path_evidence(signals: Signals, path: str) -> Iterator[Evidence]:
    place = PurePosixPath(path)
    stem = place.parent.name if place.stem == "__init__" else place.stem
    if _words(stem) & signals.tokens:
        yield Evidence(FILE_TOKEN, f"path:{place.name if place.stem != '__init__' else f'{stem}/{place.name}'}")
    for folder in place.parts[:-1]:
        if folder != stem and _words(folder) & signals.tokens:
            yield Evidence(FOLDER_TOKEN, f"path:{folder}/")


def _owned(classifier: str, signals: Signals) -> bool:
    length = max(len(topic) for topic in signals.topics if classifier.startswith(topic))
    every = (topic for other in DOMAINS.values() for topic in other.topics if classifier.startswith(topic))
    return length == max(map(len, every))


def _listed(module: str, signals: Signals) -> str:
    """The module itself or the nearest one above it that the label lists; empty where none is."""
    while module and module not in signals.strong and module not in signals.weak:
        module = module.rpartition(".")[0]
    return module


def _words(name: str) -> frozenset[str]:
    """Words of a file's or folder's name: `cacheutils` and `test_cache.py` both speak of `cache`."""
    found: set[str] = set()
    for match in _WORD.findall(name):
        word = match.lower()
        found.add(word)
        found.update(word.removesuffix(suffix) for suffix in _SUFFIXES if word.endswith(suffix) and word != suffix)
    return frozenset(found)


def _describe(index: RepoIndex) -> _Package:
    counts: dict[str, int] = {}
    for path in index.source_files:
        for module in index.imports(path):
            counts[module] = counts.get(module, 0) + 1
    total = max(1, len(index.source_files))
    classifiers, keywords = _declared(index)
    return _Package(
        imports={module: counts[module] / total for module in sorted(counts)},
        dependencies=tuple(sorted(_dependency_names(index.profile.install.requirements) - TEST_DEPENDENCIES)),
        classifiers=classifiers,
        keywords=keywords,
    )


def _dependency_names(requirements: tuple[str, ...]) -> set[str]:
    names: set[str] = set()
    for text in requirements:
        try:
            names.add(canonicalize_name(read_requirement(text).name))
        except InvalidRequirement:
            continue  # The profile's reader judges requirements; one that it kept and cannot be read is no evidence.
    return names


def _declared(index: RepoIndex) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Classifiers and keywords of the build metadata, each sorted; a file that cannot be read declares none."""
    classifiers: set[str] = set()
    keywords: set[str] = set()
    try:
        project = table(parse_toml(_text(index, "pyproject.toml"), path="pyproject.toml"), "project")
    except ProfileFailed:
        project = {}
    classifiers.update(_strings(project.get("classifiers")))
    keywords.update(_strings(project.get("keywords")))
    try:
        parser = parse_ini(_text(index, "setup.cfg"), path="setup.cfg")
    except ProfileFailed:
        parser = parse_ini("", path="setup.cfg")
    classifiers.update((parser.get("metadata", "classifiers", fallback="") or "").splitlines())
    keywords.update(re.split(r"[,\n]", parser.get("metadata", "keywords", fallback="") or ""))
    setup = _text(index, "setup.py").encode()
    classifiers.update(match.decode() for match in _SETUP_CLASSIFIER.findall(setup))
    return tuple(sorted(filter(None, map(str.strip, classifiers)))), tuple(
        sorted(filter(None, map(str.strip, keywords)))
    )


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _text(index: RepoIndex, path: str) -> str:
    try:
        return index.source(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
