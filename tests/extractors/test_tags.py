"""Tags of whole tasks: what a fix touches, and the versions that are recorded."""

from pathlib import Path

import pytest

from extractors.diff import make_patch
from extractors.facts import TaskFacts
from extractors.index import RepoIndex
from extractors.taggers.complexity import PARTS, UNKNOWN_DISTANCE, score
from extractors.tags import tag_task
from schemas.code import Candidate, CodeEntity, EntityKind, Span
from schemas.repo import InstallSpec, Language, RepoProfile
from schemas.reports import CoverageMap
from schemas.tasks import Tags

CLEAN = '''"""Rolling statistics."""
import math

WIDTH = 2


class Series:
    limit = 10

    def clip(self, value):
        if value > self.limit:
            return self.limit

        return value


def rolling_mean(values, width):
    return [sum(part) / width for part in _windows(values, width)]


def _windows(values, width):
    start = 0
    while start + width <= len(values):
        if width and start >= 0:
            yield values[start : start + width]
        start += 1
'''
TESTS = "from series import rolling_mean\n\ndef test_even():\n    assert rolling_mean([1, 2], 2) == [1.5]\n"
TEST = "tests/test_series.py::test_even"
DOCS = Path(__file__).parents[2] / "docs" / "tags.md"


def lines_of(*texts: str) -> dict[int, tuple[int, ...]]:
    lines = CLEAN.splitlines()
    return {next(number for number, line in enumerate(lines, 1) if text in line): (0,) for text in texts}


def tag(root: Path, *changes: tuple[str, str], path: str = "series.py") -> Tags:
    """Tags of the task whose bug makes these replacements in the clean file."""
    (root / "tests").mkdir(exist_ok=True)
    (root / path).write_text(CLEAN)
    (root / "tests" / "test_series.py").write_text(TESTS)
    bugged = CLEAN
    for old, new in changes:
        assert bugged.count(old) == 1
        bugged = bugged.replace(old, new)
    profile = RepoProfile(
        language=Language.PYTHON,
        source_files=(path,),
        test_files=("tests/test_series.py",),
        install=InstallSpec(project=False),
        test_command=("pytest",),
        provenance={},
    )
    executed = lines_of("return [sum(part)", "start = 0", "while start")
    index = RepoIndex(root, profile, CoverageMap(tests=(TEST,), lines={path: executed}, import_lines={}))
    entity = CodeEntity(
        path=path,
        name="rolling_mean",
        kind=EntityKind.FUNCTION,
        span=Span(start_line=1, end_line=1, start_byte=0, end_byte=1),
        language=Language.PYTHON,
        complexity=1,
    )
    facts = TaskFacts(
        candidate=Candidate(strategy="s", entity=entity, bug_patch="", explanation="", seed=0),
        clean=CLEAN.encode(),
        bugged=bugged.encode(),
        fix_patch=make_patch(path, bugged.encode(), CLEAN.encode()),
        fail_to_pass=(TEST,),
        pass_to_pass=(),
        failures={},
    )
    return tag_task(facts, index)


def test_expression_change_is_measured_on_its_function(tmp_path):
    complexity = tag(tmp_path, ("<= len(values)", "< len(values)")).complexity
    assert complexity.model_dump(exclude={"score"}) == {
        "cyclomatic": 4,
        "cognitive": 4,
        "nesting": 2,
        "lines": 6,
        "changed_lines": 1,
        "files": 1,
        "functions": 1,
        "call_distance": 2,
    }


def test_score_is_that_of_the_documented_formula(tmp_path):
    complexity = tag(tmp_path, ("<= len(values)", "< len(values)")).complexity
    expected = 0.2 * 3 / 8 + 0.25 * 4 / 12 + 0.1 * 2 / 4 + 0.1 * 6 / 36 + 0.15 * 1 / 5 + 0.1 * 2 / 4
    assert complexity.score == round(expected, 4)
    assert complexity.score == score(**complexity.model_dump(exclude={"score"}))


def test_documented_formula_is_that_of_the_code():
    text = DOCS.read_text()
    rows = [f"| `{name}` | {part.weight:.2f} | {part.half:g} | {part.least} |" for name, part in PARTS.items()]
    assert "\n".join(rows) in text
    assert f"A null `call_distance` counts as {UNKNOWN_DISTANCE}." in text


def test_removed_line_counts_for_the_function_that_it_stood_in(tmp_path):
    complexity = tag(tmp_path, ("        start += 1\n", "        start += 1\n        start += 1\n")).complexity
    assert (complexity.functions, complexity.cyclomatic, complexity.changed_lines) == (1, 4, 1)


def test_missing_function_is_measured_as_the_fix_adds_it(tmp_path):
    method = CLEAN[CLEAN.index("    def clip") : CLEAN.index("\n\ndef rolling_mean")]
    complexity = tag(tmp_path, (method, "")).complexity
    assert (complexity.functions, complexity.cyclomatic, complexity.lines) == (1, 2, 4)


def test_two_functions_are_counted_and_the_highest_measured(tmp_path):
    complexity = tag(tmp_path, ("/ width for", "* width for"), ("<= len(values)", "< len(values)")).complexity
    assert (complexity.functions, complexity.cyclomatic, complexity.changed_lines) == (2, 4, 2)
    assert complexity.call_distance == 1


@pytest.mark.parametrize(("old", "new"), [("WIDTH = 2", "WIDTH = 3"), ("    limit = 10", "    limit = 11")])
def test_change_outside_functions_touches_none(tmp_path, old, new):
    complexity = tag(tmp_path, (old, new)).complexity
    assert (complexity.functions, complexity.lines, complexity.changed_lines) == (0, 1, 1)
    assert complexity.call_distance is None


def test_change_that_no_test_reaches_has_no_call_distance(tmp_path):
    assert tag(tmp_path, ("value > self.limit", "value < self.limit")).complexity.call_distance is None


def test_language_and_domain_come_with_their_evidence(tmp_path):
    tags = tag(tmp_path, ("WIDTH = 2", "WIDTH = 3"))
    assert tags.language is Language.PYTHON
    assert [(item.label, item.evidence) for item in tags.domain] == [
        ("scientific-computing", ("path:series.py", "import:math"))
    ]


def test_tagger_versions_are_sorted_and_name_the_grammar(tmp_path):
    versions = tag(tmp_path, ("WIDTH = 2", "WIDTH = 3")).tagger_versions
    assert list(versions) == sorted(versions)
    names = [item.partition("==")[0] for item in versions]
    assert names == ["gymforge-complexity", "gymforge-domain", "tree-sitter-python", "tree-sitter"]


def test_tags_are_the_same_from_a_fresh_index(tmp_path):
    change = ("<= len(values)", "< len(values)")
    assert tag(tmp_path, change) == tag(tmp_path, change)


def test_file_of_no_known_language_is_refused(tmp_path):
    with pytest.raises(LookupError, match=r"notes\.txt"):
        tag(tmp_path, ("WIDTH = 2", "WIDTH = 3"), path="notes.txt")
