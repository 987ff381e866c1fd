"""Domain labels: the closed list, the evidence, the order."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.index import RepoIndex
from extractors.taggers import domain
from extractors.taggers.domain import combine, tag_domain
from extractors.taggers.domain_signals import DOMAINS, LABELS, OTHER
from schemas.repo import InstallSpec, Language, RepoProfile
from schemas.reports import CoverageMap

DOCS = Path(__file__).parents[2] / "docs" / "tags.md"


def make_index(root: Path, files: dict[str, str], requirements: tuple[str, ...] = ()) -> RepoIndex:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    profile = RepoProfile(
        language=Language.PYTHON,
        source_files=tuple(sorted(path for path in files if path.startswith("src/"))),
        test_files=(),
        install=InstallSpec(project=True, requirements=requirements),
        test_command=("pytest",),
        provenance={},
    )
    return RepoIndex(root, profile, CoverageMap(tests=(), lines={}, import_lines={}))


def labels_of(
    root: Path, path: str, files: dict[str, str], requirements: tuple[str, ...] = ()
) -> dict[str, tuple[str, ...]]:
    return {item.label: item.evidence for item in tag_domain(path, make_index(root, files, requirements))}


def test_documented_labels_are_those_of_the_code():
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", DOCS.read_text(), flags=re.MULTILINE)
    table = dict(rows[: len(LABELS)])
    assert list(table) == list(LABELS)
    assert {label: table[label] for label in DOMAINS} == {label: signals.meaning for label, signals in DOMAINS.items()}


@pytest.mark.parametrize(
    ("evidence", "weights"),
    [
        ("import:numpy", (domain.IMPORT_STRONG, domain.IMPORT_WEAK)),
        ("path:series.py", (domain.FILE_TOKEN,)),
        ("path:stats/", (domain.FOLDER_TOKEN,)),
        ("dependency:numpy", (domain.DEPENDENCY,)),
        ("classifier:Topic :: ...", (domain.CLASSIFIER,)),
        ("keyword:plot", (domain.KEYWORD,)),
    ],
)
def test_documented_weights_are_those_of_the_code(evidence, weights):
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{evidence}` |"))
    assert tuple(map(float, re.findall(r"0\.\d+", row.split("|")[2]))) == weights


@pytest.mark.parametrize(
    ("path", "text", "label", "evidence"),
    [
        ("src/a.py", "import numpy as np\n", "scientific-computing", "import:numpy"),
        ("src/a.py", "from numpy.linalg import norm\n", "scientific-computing", "import:numpy"),
        ("src/a.py", "def f():\n    import sqlite3\n", "databases", "import:sqlite3"),
        ("src/series.py", "", "scientific-computing", "path:series.py"),
        ("src/cacheutils.py", "", "collections-algorithms", "path:cacheutils.py"),
        ("src/json/__init__.py", "", "serialization", "path:json/__init__.py"),
    ],
)
def test_changed_file_speaks_for_a_label(tmp_path, path, text, label, evidence):
    assert evidence in labels_of(tmp_path, path, {path: text})[label]


def test_dependencies_speak_for_a_label(tmp_path):
    found = labels_of(
        tmp_path, "src/a.py", {"src/a.py": ""}, ("Pillow>=9; python_version > '3'", "not a requirement !")
    )
    assert found == {"graphics": ("dependency:pillow",)}


def test_test_runners_say_nothing_about_the_domain(tmp_path):
    found = labels_of(tmp_path, "src/a.py", {"src/a.py": ""}, ("pytest", "hypothesis>=6", "coverage[toml]"))
    assert list(found) == [OTHER]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[project]\nname = "a"\nclassifiers = ["Topic :: Database :: Front-Ends"]\n'),
        ("setup.cfg", "[metadata]\nclassifiers =\n    Topic :: Database :: Front-Ends\n"),
        ("setup.py", "raise SystemExit\nsetup(classifiers=['Topic :: Database :: Front-Ends'])\n"),
    ],
)
def test_classifiers_are_read_and_never_run(tmp_path, name, text):
    found = labels_of(tmp_path, "src/a.py", {"src/a.py": "", name: text})
    assert found == {"databases": ("classifier:Topic :: Database :: Front-Ends",)}


def test_classifier_speaks_for_the_label_with_the_longest_match_alone(tmp_path):
    topic = "Topic :: Scientific/Engineering :: Artificial Intelligence"
    found = labels_of(
        tmp_path, "src/a.py", {"src/a.py": "", "pyproject.toml": f'[project]\nclassifiers = ["{topic}"]\n'}
    )
    assert found == {"machine-learning": (f"classifier:{topic}",)}


@pytest.mark.parametrize("text", ["[project\n", "[project]\nclassifiers = 3\n", "project = 1\n", "a = " + "[" * 5_000])
def test_broken_metadata_is_no_evidence(tmp_path, text):
    files = {"src/a.py": "", "pyproject.toml": text, "setup.cfg": "no section\n", "setup.py": "(("}
    assert list(labels_of(tmp_path, "src/a.py", files)) == [OTHER]


def test_imports_of_the_other_files_count_less_than_those_of_the_changed_one(tmp_path):
    files = {f"src/{name}.py": "import socket\nimport socketserver\nimport smtplib\n" for name in "bcd"}
    index = make_index(tmp_path, {"src/a.py": "", **files})
    (changed,) = tag_domain("src/b.py", index)
    (other,) = tag_domain("src/a.py", index)
    assert (changed.label, other.label) == ("networking", "networking")
    assert other.score < changed.score
    assert other.evidence == ("package-import:smtplib", "package-import:socket", "package-import:socketserver")


def test_other_stands_alone_where_nothing_speaks(tmp_path):
    (label,) = tag_domain("src/a.py", make_index(tmp_path, {"src/a.py": "import os.path\n"}))
    assert (label.label, label.evidence) == (OTHER, ())
    assert label.score == pytest.approx(0.75)


def test_labels_are_sorted_by_score_and_then_by_name(tmp_path):
    text = "import numpy, socket, sqlite3, datetime, flask, argparse, zipfile, re\n"
    found = tag_domain("src/query.py", make_index(tmp_path, {"src/query.py": text}))
    assert found[0].label == "databases"
    assert [(-item.score, item.label) for item in found] == sorted((-item.score, item.label) for item in found)
    assert len(found) == domain.MOST_LABELS


def test_every_listed_word_is_lower_case_and_of_letters():
    words = {word for signals in DOMAINS.values() for word in signals.tokens}
    assert {word for word in words if not re.fullmatch(r"[a-z0-9]+", word)} == set()


def test_no_module_is_strong_and_weak_for_the_same_label():
    assert [label for label, signals in DOMAINS.items() if signals.strong & signals.weak] == []


weights = st.lists(st.floats(min_value=0, max_value=1), max_size=12)


@given(weights)
def test_scores_are_between_zero_and_one_and_free_of_order(values):
    assert 0.0 <= combine(values) <= 1.0
    assert combine(values) == combine(values[::-1])


@given(weights, st.floats(min_value=0, max_value=1))
def test_more_evidence_never_lowers_a_score(values, more):
    assert combine(values) <= combine([*values, more])
