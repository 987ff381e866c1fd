"""The whole of synthesis on small trees."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

import synthesis.generate
from extractors.diff import apply_patch
from schemas.code import CandidateRejection
from schemas.errors import InvalidInput
from schemas.repo import InstallSpec, Language, RepoProfile
from synthesis.generate import generate
from synthesis.strategy import STRATEGIES, Rewrite, StrategyError, strategy_names

ROOT = Path(synthesis.generate.__file__).parents[1]

MODULE = """\
import os


class Account(dict):
    \"\"\"Money.

At column 0.
    \"\"\"

    limit = 10

    def add(self, amount, note=None):
        # Refuse what is too much.
        if amount > self.limit and not note:
            raise ValueError(amount)
        else:  # fine
            total = self.get("total", 0) + amount * 2

        for key in sorted(self):
            if key == note or key in self:
                total = total - 1
        self["total"] = total
        return total

    def clear_all(self):
        while self:
            self.popitem()
        return not self and 1 < 2

    async def sync(self, source):
        async for item in source:
            if item >= 1 and item != 3:
                self.add(item + 1)
        with os.scandir(".") as entries:
            return [entry for entry in entries]


def mean(values, weights=()):
    total = 0
    for index, value in enumerate(values):
        if weights and index < len(weights):
            total += value * weights[index]
        else:
            total += value
    return total / len(values) if values else 0.0
"""


def profile(*paths, **changes):
    return RepoProfile(
        language=Language.PYTHON,
        source_files=tuple(sorted(paths)),
        install=InstallSpec(project=False),
        test_command=("python", "-m", "pytest"),
        provenance={},
        **({"test_files": ()} | changes),
    )


def write(tree, **files):
    for name, content in files.items():
        (tree / f"{name}.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    return profile(*(f"{name}.py" for name in files))


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder


def test_one_and_four_workers_give_the_same(tree, monkeypatch):
    monkeypatch.setattr(synthesis.generate, "_PROCESS_BYTES", 1000)
    monkeypatch.setattr(synthesis.generate, "_PIECE_BYTES", 500)
    facts = write(tree, one=MODULE * 2, two=MODULE.replace("mean", "average"), three=MODULE.replace("+", "-"))
    chosen = ["op_change", "remove_cond", "ctrl_shuffle"]
    made = generate(tree, facts, seed=5, strategies=chosen, workers=4)
    assert made == generate(tree, facts, seed=5, strategies=chosen, workers=1)
    assert made.candidates


def test_a_bug_made_twice_by_two_pieces_of_a_file_is_kept_once(tree, monkeypatch):
    monkeypatch.setattr(synthesis.generate, "_PROCESS_BYTES", 100)
    monkeypatch.setattr(synthesis.generate, "_PIECE_BYTES", 100)
    source = "def outer(a):\n    def inner(b):\n        return b > a or b < 2\n    return inner\n"
    facts = write(tree, one=source, two=source)
    for seed in range(20):
        parts, whole = (
            generate(tree, facts, seed=seed, strategies=["flip_operators"], workers=workers) for workers in (2, 1)
        )
        assert parts == whole
        if CandidateRejection.DUPLICATE in {one.reason for one in whole.rejected}:
            return
    pytest.fail("no bug was made twice")


def test_another_seed_gives_other_bugs(tree):
    facts = write(tree, one=MODULE)
    first, second = (generate(tree, facts, seed=seed, strategies=["op_change", "flip_operators"]) for seed in (1, 2))
    assert {one.bug_patch for one in first.candidates} != {one.bug_patch for one in second.candidates}


def test_a_strategy_makes_the_same_bugs_alone_and_in_company(tree):
    facts = write(tree, one=MODULE)
    together = generate(tree, facts, seed=1)
    alone = generate(tree, facts, seed=1, strategies=["remove_cond"])
    assert {one.bug_patch for one in alone.candidates} == {
        one.bug_patch for one in together.candidates if one.strategy == "remove_cond"
    }


def test_a_file_gives_the_same_bugs_whatever_stands_beside_it(tree):
    write(tree, one=MODULE, two=MODULE)
    both = generate(tree, profile("one.py", "two.py"), seed=1, strategies=["op_swap"])
    single = generate(tree, profile("one.py"), seed=1, strategies=["op_swap"])
    assert {one for one in both.candidates if one.entity.path == "one.py"} == set(single.candidates)


def test_every_strategy_finds_something(tree):
    facts = write(tree, one=MODULE, two=MODULE.replace("total", "whole"))
    made = [generate(tree, facts, seed=seed) for seed in range(6)]
    found = {one.strategy for result in made for one in result.candidates}
    dropped = {one.strategy for result in made for one in result.rejected}
    assert found | dropped >= set(strategy_names()) - {"op_break_chains", "class_rm_base"}


def test_patches_apply_with_git_and_change_one_file(tree):
    facts = write(tree, one=MODULE.replace("\n", "\r\n"), two=MODULE.rstrip("\n"), three=MODULE.replace("    ", "\t"))
    made = generate(tree, facts, seed=3)
    assert len(made.candidates) > 40
    for candidate in made.candidates[:25]:
        path = tree / candidate.entity.path
        clean = path.read_bytes()
        subprocess.run(
            ["git", "apply", "-"], cwd=tree, input=candidate.bug_patch.encode(), check=True, capture_output=True
        )
        assert path.read_bytes() == apply_patch(clean, candidate.bug_patch) != clean
        path.write_bytes(clean)
        assert candidate.bug_patch.count("diff --git") == 1


def test_patches_carry_section_headers(tree):
    facts = write(tree, one=MODULE)
    made = generate(tree, facts, seed=3, strategies=["op_change", "flip_operators"])
    hunks = [line for one in made.candidates for line in one.bug_patch.split("\n") if line.startswith("@@")]
    assert hunks
    assert all("def " in line or "class " in line for line in hunks)


def test_ids_do_not_clash_for_equal_functions_in_two_files(tree):
    from synthesis.identity import instance_id

    facts = write(tree, one=MODULE, two=MODULE)
    made = generate(tree, facts, seed=3)
    ids = [instance_id("o/r", "0" * 40, one.strategy, one.bug_patch) for one in made.candidates]
    assert len(set(ids)) == len(ids)


def test_a_cap_keeps_variety(tree):
    facts = write(tree, one=MODULE, two=MODULE)
    made = generate(tree, facts, seed=3)
    strategies = {one.strategy for one in made.candidates}
    assert {one.strategy for one in made.candidates[: len(strategies)]} == strategies
    assert Counter(one.entity.path for one in made.candidates[:8]) == {"one.py": 4, "two.py": 4}


def test_an_unknown_strategy_names_the_allowed_ones(tree):
    with pytest.raises(InvalidInput, match="no bug strategy is called nonsense; choose from class_rm_base, "):
        generate(tree, profile(), seed=1, strategies=["op_change", "nonsense"])


def test_no_strategy_is_refused(tree):
    with pytest.raises(InvalidInput, match="no bug strategy was given"):
        generate(tree, profile(), seed=1, strategies=[])


def test_no_worker_is_refused(tree):
    with pytest.raises(InvalidInput, match="workers must be at least 1"):
        generate(tree, profile(), seed=1, workers=0)


def test_excluded_and_test_files_are_left_alone(tree):
    write(tree, one=MODULE, two=MODULE, three=MODULE)
    facts = profile("one.py", "two.py", "three.py", excluded={"two.py": "generated"}, test_files=("three.py",))
    assert {one.entity.path for one in generate(tree, facts, seed=1).candidates} == {"one.py"}


@pytest.mark.parametrize(
    "content",
    [
        "# coding: latin-1\nx = 'é'\n".encode("latin-1"),
        "x = 'é'\n".encode("latin-1"),
        b"print 'python 2'\n",
        b"x = 1\0\n",
    ],
)
def test_a_file_that_cannot_be_read_is_a_rejection_and_no_error(tree, content):
    facts = write(tree, one=content, two=MODULE)
    made = generate(tree, facts, seed=1, strategies=["op_change"])
    (rejection,) = (one for one in made.rejected if one.path == "one.py")
    assert "cannot be read" in rejection.detail
    assert made.candidates


class Proposes:
    """A strategy that gives fixed rewrites for functions called `f`, or fails."""

    generator = "tests==1"

    def __init__(self, name, *texts, error=None):
        self.name, self._texts, self._error = name, texts, error

    def applies_to(self, entity):
        return True

    def propose(self, entity, *, rng):
        if self._error:
            raise StrategyError(self._error)
        return [Rewrite(text, "") for text in self._texts]


@pytest.fixture
def table(monkeypatch):
    """Lets a test put strategies of its own into the table."""

    def put(*strategies):
        for one in strategies:
            monkeypatch.setattr(sys.modules[__name__], one.name, one, raising=False)
            monkeypatch.setitem(STRATEGIES, one.name, f"{__name__}:{one.name}")
        return [one.name for one in strategies]

    return put


def test_the_first_of_two_equal_bugs_is_kept(tree, table):
    facts = write(tree, one="def f(a):\n    return a + 1\n")
    bug = "def f(a):\n    return a - 1\n"
    made = generate(tree, facts, seed=1, strategies=table(Proposes("first", bug), Proposes("second", bug)))
    assert [one.strategy for one in made.candidates] == ["first"]
    assert [(one.strategy, one.reason, one.detail) for one in made.rejected] == [
        ("second", CandidateRejection.DUPLICATE, "same file as first in f")
    ]


def test_a_failing_strategy_is_a_rejection_with_its_message(tree, table):
    facts = write(tree, one="def f(a):\n    return a + 1\n")
    made = generate(tree, facts, seed=1, strategies=table(Proposes("broken", error="ZeroDivisionError: unlucky")))
    (rejection,) = made.rejected
    assert (rejection.reason, rejection.detail) == (CandidateRejection.STRATEGY_FAILED, "ZeroDivisionError: unlucky")


def test_a_candidate_says_where_it_comes_from(tree):
    facts = write(tree, one=MODULE)
    made = generate(tree, facts, seed=1, strategies=["ctrl_invert_if"])
    one = next(one for one in made.candidates if one.entity.name == "mean")
    assert one.explanation == "The if-else conditions may be out of order, or the bodies are inverted."
    assert (one.entity.span.start_line, one.entity.complexity) == (38, 5)
    assert 0 <= one.seed < 2**63


INTERRUPTED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from schemas.repo import InstallSpec, RepoProfile
import synthesis.generate
from synthesis.generate import generate
synthesis.generate._PROCESS_BYTES = 1
if __name__ == "__main__":
    tree = Path(sys.argv[1])
    profile = RepoProfile(language="python", source_files=tuple(sorted(p.name for p in tree.iterdir())), test_files=(),
                          install=InstallSpec(project=False), test_command=("x",), provenance={})
    print("started", flush=True)
    try:
        generate(tree, profile, seed=1, workers=2)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def alive_in_group(group: int) -> list[str]:
    """Command lines of the processes of a group; those that only wait for being reaped do not count."""
    found = []
    for one in psutil.process_iter():
        try:
            if os.getpgid(one.pid) == group and one.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(one.cmdline()))
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


@pytest.fixture
def working(tree, tmp_path):
    """A process that synthesizes together with another one for a long while."""
    write(tree, **{f"m{number}": MODULE.replace("mean", f"mean{number}") * 90 for number in range(4)})
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script), str(tree), str(ROOT)],
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        )
    assert process.stdout.readline() == "started\n"
    deadline = time.monotonic() + 60
    while not workers_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def workers_of(group: int) -> list[str]:
    return [line for line in alive_in_group(group) if "spawn_main" in line]


def nobody_is_left(group: int) -> bool:
    deadline = time.monotonic() + 20
    while alive_in_group(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    return alive_in_group(group) == []


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.1, 3.0])
def test_an_interrupt_ends_all_workers_without_a_traceback(working, tmp_path, after_s):
    time.sleep(after_s)
    os.killpg(working.pid, signal.SIGINT)
    output, _ = working.communicate(timeout=30)
    assert output == "interrupted\n"
    assert nobody_is_left(working.pid)
    assert (tmp_path / "errors").read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 3.0])
def test_workers_of_a_killed_process_do_not_outlive_it(working, after_s):
    time.sleep(after_s)
    working.kill()
    working.wait()
    assert nobody_is_left(working.pid)


def test_importing_synthesis_is_light():
    code = "import sys, json; import synthesis.generate; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"swesmith", "libcst", "prefect", "pyarrow", "docker", "git"} & set(json.loads(done.stdout))


def test_seeds_are_not_taken_from_the_global_generator(tree):
    facts = write(tree, one=MODULE)
    random.seed(1)
    state = random.getstate()
    generate(tree, facts, seed=1, strategies=["op_change"])
    assert random.getstate() == state


def test_every_strategy_is_documented():
    text = (ROOT / "docs" / "strategies.md").read_text()
    assert [name for name in strategy_names() if f"| `{name}` |" not in text] == []


def test_every_reason_is_documented():
    text = (ROOT / "docs" / "strategies.md").read_text()
    assert [reason for reason in CandidateRejection if f"| `{reason}` |" not in text] == []
