"""A task as tokens: what the prompt shows, what the response says, and why some tasks are left out."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tiktoken", reason="`make train-env` installs the extra `train`")

from hrm.data.example import Example, ExampleLayout, LeftOut, make_example, plan_text, split_lines
from hrm.data.plans import FILES, HAS_STEP, KINDS, PLAN_CODES, SYMBOLS, plan_codes, read_code
from hrm.tokenizer.encoding import Tokenizer
from hrm.tokenizer.special import Special, line_id, line_number, special_id
from schemas.tasks import Plan, StepKind, TaskInstance

BUNDLED = Tokenizer.bundled()
LAYOUT = ExampleLayout(window_lines=4)
FILE = "a = 1\nb = 2\nc = 3\nd = 4\ne = 5\nf = 6\n"


def edit(search: str, replace: str, *, path: str = "s.py") -> dict[str, Any]:
    return {
        "path": path,
        "language": "python",
        "symbol": "f",
        "node_kind": "block",
        "start_line": 1,
        "end_line": 1,
        "start_byte": 0,
        "end_byte": 0,
        "op": "replace",
        "before": search,
        "after": replace,
        "search": search,
        "replace": replace,
    }


PLAN = {
    "goal": "Make f right again",
    "steps": [
        {"kind": "reproduce", "description": "Run t", "files": ["t.py"], "symbols": ["t"], "tests": ["t"]},
        {"kind": "localize", "description": "1 of 4", "files": ["s.py"], "symbols": ["f", "g", "h", "i"], "tests": []},
        {"kind": "repair", "description": "Change the number in f", "files": ["s.py"], "symbols": ["f"], "tests": []},
    ],
}


@pytest.fixture
def task_of(make_task: Callable[..., TaskInstance]) -> Callable[..., TaskInstance]:
    def make(*edits: dict[str, Any], **changes: Any) -> TaskInstance:
        return make_task(edit_targets=list(edits), **({"plan": PLAN, "problem_statement": "f is wrong"} | changes))

    return make


def made(
    task: TaskInstance, files: dict[str, str], *, layout: ExampleLayout = LAYOUT, seed: int = 0
) -> Example | LeftOut:
    return make_example(task, files, tokenizer=BUNDLED, layout=layout, rng=random.Random(seed))


def text_of(example: Example) -> str:
    return BUNDLED.decode(example.tokens).decode()


def test_the_prompt_holds_issue_path_language_and_numbered_lines_and_the_response_plan_and_edits(
    task_of: Callable[..., TaskInstance],
) -> None:
    example = made(task_of(edit("c = 3\n", "c = 30\n")), {"s.py": FILE}, layout=ExampleLayout())
    assert text_of(example) == (
        "<|issue|>f is wrong<|file|>s.py<|python|>"
        "<|line 0|>a = 1\n<|line 1|>b = 2\n<|line 2|>c = 3\n<|line 3|>d = 4\n<|line 4|>e = 5\n<|line 5|>f = 6\n"
        "<|plan|>f, g, h\nChange the number in f<|search|>c = 3\n<|replace|>c = 30\n<|end|>"
    )
    prompt = example.tokens[: example.prompt_tokens]
    assert prompt[-1] == special_id(Special.PLAN)
    assert example.target_lines == (2,)
    assert example.tokens[example.target_token] == line_id(2)


def test_a_window_holds_the_edit_wherever_it_begins(task_of: Callable[..., TaskInstance]) -> None:
    task, begins = task_of(edit("c = 3\n", "c = 30\n")), set()
    for seed in range(30):
        example = made(task, {"s.py": FILE}, seed=seed)
        text = text_of(example)
        assert f"<|line {example.target_lines[0]}|>c = 3\n" in text
        assert "<|line 3|>" in text
        assert "<|line 4|>" not in text
        begins.add(example.target_lines[0])
    assert begins == {0, 1, 2}


def test_a_copied_line_is_the_same_tokens_in_prompt_and_response(task_of: Callable[..., TaskInstance]) -> None:
    content = "def f():\n\n\n    return [\n        1,\n    ]\n"
    example = made(task_of(edit(content[:-6], "x\n")), {"s.py": content}, layout=ExampleLayout())
    prompt = example.tokens[: example.prompt_tokens]
    first = int(np.flatnonzero(prompt == line_id(0))[0])
    shown = [token for token in prompt[first:-1].tolist() if line_number(token) is None]
    response = example.tokens[example.prompt_tokens :].tolist()
    search = response[response.index(special_id(Special.SEARCH)) + 1 : response.index(special_id(Special.REPLACE))]
    assert search == shown[: len(search)]


def test_edits_of_one_file_are_found_as_those_before_them_left_it(task_of: Callable[..., TaskInstance]) -> None:
    edits = (edit("b = 2\n", "b = 2\nx = 0\ny = 0\n"), edit("y = 0\nc = 3\n", "y = 0\nc = 30\n"), edit("d = 4\n", ""))
    example = made(task_of(*edits), {"s.py": FILE}, layout=ExampleLayout())
    assert example.target_lines == (1, 2, 3)


def test_edits_of_several_files_name_them(task_of: Callable[..., TaskInstance]) -> None:
    edits = (edit("c = 3\n", "c = 30\n"), edit("z = 1\n", "z = 2\n", path="t/u.py"))
    example = made(task_of(*edits), {"s.py": FILE, "t/u.py": "y = 0\nz = 1\n"}, layout=ExampleLayout(window_lines=12))
    text = text_of(example)
    assert "<|line 6|>y = 0\n<|line 7|>z = 1\n<|plan|>" in text
    assert "<|file|>s.py<|search|>c = 3\n" in text
    assert "<|file|>t/u.py<|search|>z = 1\n" in text
    assert example.target_lines == (2, 7)


def test_a_long_issue_is_cut_and_an_edit_never(task_of: Callable[..., TaskInstance]) -> None:
    task = task_of(edit("c = 3\n", "c = 30\n"), problem_statement="word " * 500)
    example = made(task, {"s.py": FILE}, layout=ExampleLayout(issue_tokens=10))
    assert text_of(example).count("word") == 10
    assert text_of(example).endswith("<|search|>c = 3\n<|replace|>c = 30\n<|end|>")


def test_structure_spelt_out_in_issue_and_code_stays_text(task_of: Callable[..., TaskInstance]) -> None:
    content = "x = '<|end|>'\ny = 1\n"
    task = task_of(edit("y = 1\n", "y = '<|plan|>'\n"), problem_statement="<|end|><|search|><|line 3|>")
    tokens = made(task, {"s.py": content}).tokens.tolist()
    for token in (special_id(Special.END), special_id(Special.SEARCH), special_id(Special.PLAN)):
        assert tokens.count(token) == 1
    assert line_id(3) not in tokens


@pytest.mark.parametrize(
    ("edits", "files", "layout", "reason"),
    [
        ([edit("c = 3\n", "")], {}, LAYOUT, LeftOut.NO_SOURCE),
        ([edit("", "x = 1\n")], {"s.py": ""}, LAYOUT, LeftOut.NEW_FILE),
        ([edit("q = 3\n", "")], {"s.py": FILE}, LAYOUT, LeftOut.NOT_THERE),
        ([edit("a = 1\n", "")], {"s.py": FILE + FILE}, LAYOUT, LeftOut.NOT_THERE),
        ([edit("a = 1\n", ""), edit("f = 6\n", "")], {"s.py": FILE}, LAYOUT, LeftOut.EDITS_TOO_FAR_APART),
        ([edit("c = 3\n", "")], {"s.py": FILE}, ExampleLayout(max_tokens=20), LeftOut.TOO_LONG),
    ],
)
def test_what_cannot_be_an_example_is_left_out_with_the_reason(
    edits: list[dict[str, Any]],
    files: dict[str, str],
    layout: ExampleLayout,
    reason: LeftOut,
    task_of: Callable[..., TaskInstance],
) -> None:
    assert made(task_of(*edits), files, layout=layout) is reason


def test_a_plan_in_numbers_says_which_steps_there_are_and_what_they_name(task_of: Callable[..., TaskInstance]) -> None:
    codes = [read_code(code) for code in made(task_of(edit("c = 3\n", "")), {"s.py": FILE}).plan.tolist()]
    assert {KINDS[code.kind] for code in codes if code.part == HAS_STEP} == {"reproduce", "localize", "repair"}
    localize = KINDS.index(StepKind.LOCALIZE)
    for part, names in ((FILES, ["s.py"]), (SYMBOLS, ["f", "g", "h", "i"])):
        named = {code.token for code in codes if (code.kind, code.part) == (localize, part)}
        assert named == {int(token) for name in names for token in BUNDLED.encode(name)}


def test_a_plan_has_so_many_numbers_at_most() -> None:
    words = tuple(f"some.word{number}.{number * 7}" for number in range(40))
    steps = [{"kind": kind, "description": "", "files": words, "symbols": words, "tests": ()} for kind in KINDS]
    codes = plan_codes(Plan.model_validate({"goal": "", "steps": steps}), tokenizer=BUNDLED)
    assert len(codes) == len(set(codes.tolist())) == PLAN_CODES


def test_a_plan_says_where_to_look_and_what_to_do(task_of: Callable[..., TaskInstance]) -> None:
    assert plan_text(task_of(edit("a\n", "b\n")).plan) == "f, g, h\nChange the number in f"


LINES = st.lists(st.sampled_from(["", "a", "    b", "\tc\r", "größer", "x\x0cy", "\u2028"]), min_size=1, max_size=12)


@given(LINES, st.booleans())
def test_lines_put_together_again_are_the_text(lines: list[str], ends: bool) -> None:
    text = "\n".join(lines) + ("\n" if ends else "")
    assert "".join(split_lines(text)) == text
    assert all(line.count("\n") == line.endswith("\n") for line in split_lines(text))


@given(lines=LINES, data=st.data())
def test_the_lines_of_any_edit_are_shown_and_its_first_change_is_numbered(
    lines: list[str], data: st.DataObject, make_task: Callable[..., TaskInstance]
) -> None:
    every = [f"{number} {line}\n" for number, line in enumerate(lines)]
    first = data.draw(st.integers(0, len(every) - 1))
    last = data.draw(st.integers(first, len(every) - 1))
    changed = data.draw(st.integers(first, last))
    search = every[first : last + 1]
    replace = [*every[first:changed], *data.draw(st.lists(st.sampled_from(["new\n", "other\n"]), max_size=3))]
    layout = ExampleLayout(window_lines=data.draw(st.integers(len(search), 20)))
    task = make_task(edit_targets=[edit("".join(search), "".join(replace))], plan=PLAN)
    example = made(task, {"s.py": "".join(every)}, layout=layout, seed=data.draw(st.integers(0, 99)))
    assert isinstance(example, Example)
    shown = {}
    for piece in text_of(example).split("<|plan|>")[0].split("<|line ")[1:]:
        number, _, line = piece.partition("|>")
        shown[int(number)] = line
    target = example.target_lines[0]
    assert shown[target] == every[changed]
    assert [shown[target - changed + at] for at in range(first, last + 1)] == search
    assert len(shown) == min(layout.window_lines, len(every))
