"""Fixes that only put things back in order are told as that, and the checker finds what is wrong with such a claim."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.change_syntax import describe_fix
from extractors.edits import edit_targets
from extractors.repair_check import repair_violations

CLEAN = """\
class Box:
    size = 1

    def area(self):
        return self.size * 2

    area_of = area


def load(path, limit):
    \"\"\"Read it.\"\"\"
    lines = open(path)
    found, rest = [], None
    for line in lines:
        # Short ones stay.
        if len(line) < limit and line:
            found.append(line)
        elif line.strip():
            rest = line + "-" + str(limit - 1)
        else:
            break
        print(line)
    if rest:
        found.append(rest)
    else:
        found.clear()
    return found
"""


def sentence(bugged, clean=CLEAN):
    """The repair sentence without its place, and what the checker finds wrong with it."""
    one, two = bugged.encode(), clean.encode()
    targets = edit_targets("load.py", one, two)
    fix = describe_fix(targets, one, two)
    rest = [f"and {sum(clause.changes for clause in fix[5:])} more"] if fix[5:] else []
    clauses = "; ".join([*(clause.text for clause in fix[:5]), *rest])
    lines = sum(max(len(target.before.splitlines()), len(target.after.splitlines())) for target in targets)
    edits = f"{len(targets)} edit{'s' * (len(targets) != 1)}"
    size = f" ({edits}, {lines} line{'s' * (lines != 1)})"
    return clauses, tuple(repair_violations(clauses + size, targets, bugged=one, clean=two)), size, targets


def swapped(text, one, two):
    assert text.count(one) == text.count(two) == 1
    return text.replace(one, "\0").replace(two, one).replace("\0", two)


LINES = "    lines = open(path)\n"
FOUND = "    found, rest = [], None\n"
STAY = "            found.append(line)\n"
REST = '            rest = line + "-" + str(limit - 1)\n'
BREAK = "            break\n"
LAST = "        found.append(rest)\n"
CLEAR = "        found.clear()\n"

ORDERS = [
    (swapped(CLEAN, LINES, FOUND), "put 1 of the 6 statements of the body back in order"),
    (
        CLEAN.replace(FOUND, "").replace("    return found\n", FOUND + "    return found\n"),
        (
            "put 1 of the 6 statements of the body back in order, so that `found` and `rest` are assigned before they "
            "are used"
        ),
    ),
    (
        CLEAN.replace("    size = 1\n\n", "").replace("    area_of = area\n", "    area_of = area\n    size = 1\n"),
        "put 1 of the 3 members of the class back in order",
    ),
    (swapped(CLEAN, LAST, CLEAR), "swap the two branches of `if rest`"),
    (swapped(CLEAN, REST, BREAK), "swap the two branches of `elif line.strip()`"),
    (swapped(swapped(CLEAN, REST, BREAK), LAST, CLEAR), "swap the two branches of 2 if statements"),
    (
        CLEAN.replace("len(line) < limit and line", "line and len(line) < limit"),
        "swap the operands of the `and` expression in the condition of the if statement",
    ),
    (
        CLEAN.replace("len(line) < limit", "limit < len(line)").replace("self.size * 2", "2 * self.size"),
        "put the operands of 2 expressions with `*` and `<` back in order",
    ),
]


@pytest.mark.parametrize(("bugged", "expected"), ORDERS)
def test_wrong_order_is_named(bugged, expected):
    said, violations, _, _ = sentence(bugged)

    assert said == expected
    assert violations == ()


@pytest.mark.parametrize(("bugged", "expected"), ORDERS)
def test_changed_claim_of_order_is_found(bugged, expected):
    _, _, size, targets = sentence(bugged)
    for word in re.finditer(r"\d+|`[^`]+`|\w+", expected):
        other = str(int(word[0]) + 1) if word[0].isdigit() else "`zebra`" if word[0].startswith("`") else "zebra"
        wrong = expected[: word.start()] + other + expected[word.end() :]
        assert tuple(repair_violations(wrong + size, targets, bugged=bugged.encode(), clean=CLEAN.encode())), wrong


@pytest.mark.parametrize(("bugged", "_"), ORDERS)
def test_order_is_not_claimed_where_a_token_changed_as_well(bugged, _):
    changed = bugged.replace("def load(path, limit)", "def load(path, limits)")
    said, violations, size, targets = sentence(changed)

    assert violations == ()
    for _, claim in ORDERS[:6]:
        wrong = repair_violations(claim + size, targets, bugged=changed.encode(), clean=CLEAN.encode())
        assert claim not in said
        assert tuple(wrong)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_shuffle_of_a_body_is_one_true_claim(data):
    parts = [
        LINES,
        FOUND,
        "    print(path)\n",
        "    path = str(path)\n",
        "    lines = list(lines)\n",
        "    print(path)\n",
    ]
    order = data.draw(st.permutations(parts))
    clean, bugged = ("def load(path):\n" + "".join(body) for body in (parts, order))
    if bugged == clean:
        return
    said, violations, _, _ = sentence(bugged, clean)

    assert re.match(r"put [1-5] of the 6 statements of the body back in order", said)
    assert violations == ()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_mix_of_exchanges_is_told_truly(data):
    bugged = CLEAN
    for one, two in ((LINES, FOUND), (REST, BREAK), (LAST, CLEAR), (STAY, REST), (LINES, BREAK)):
        if data.draw(st.booleans()):
            bugged = swapped(bugged, one, two)
    for one, two in (("self.size * 2", "2 * self.size"), ("limit - 1", "1 - limit"), ("- 1", "- 2"), (" and line", "")):
        if data.draw(st.booleans()):
            bugged = bugged.replace(one, two)
    if bugged != CLEAN:
        assert sentence(bugged)[1] == ()
