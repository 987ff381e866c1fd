"""Fixes that only put things back in order: statements, branches of a condition, operands; found by comparing trees."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from extractors.edit_sides import label_of, noun_of, row_of, text_of, token_texts
from extractors.plain_words import CHAINS, IGNORED, counted, joined, shown
from extractors.syntax import parse

if TYPE_CHECKING:
    import tree_sitter

    from schemas.repo import Language

MAX_NAMES = 3
"""Most names and operators that a clause about order spells out."""
MAX_COMPARED = 20_000
"""Most pairs of nodes that are compared before a fix counts as more than a new order."""
_BODIES = frozenset({"block", "module"})
_ROWS = CHAINS | {"comparison_operator"}
_FOREIGN_NAMES = {"attribute": "attribute", "keyword_argument": "name"}


class _Shuffled(NamedTuple):
    """A body whose statements stand in another order."""

    before: "tree_sitter.Node"
    after: "tree_sitter.Node"


class _Swapped(NamedTuple):
    """A condition in the clean file whose two branches were exchanged."""

    holder: "tree_sitter.Node"


class _Operands(NamedTuple):
    """An expression of the clean file whose operands stand in another order."""

    after: "tree_sitter.Node"


_Finding = _Shuffled | _Swapped | _Operands


class _OtherChange(Exception):
    pass


def describe_order(
    bugged: bytes, clean: bytes, language: "Language"
) -> tuple[tuple[str, "tree_sitter.Node | None"], ...]:
    """Clauses, with the node of the clean file whose place is still to be told; none where more than order differs."""
    before, after = parse(bugged, language).root_node, parse(clean, language).root_node
    if before.has_error or after.has_error:
        return ()
    try:
        findings = _Comparison().compare(before, after)
    except _OtherChange:
        return ()
    clauses: list[tuple[str, tree_sitter.Node | None]] = [
        (_shuffled(item), None) for item in findings if isinstance(item, _Shuffled)
    ]
    swapped = [item.holder for item in findings if isinstance(item, _Swapped)]
    operands = [item.after for item in findings if isinstance(item, _Operands)]
    if swapped:
        clauses.append((_swapped(swapped), None))
    if operands:
        clauses.append((_operands(operands), operands[0] if len(operands) == 1 else None))
    return tuple(clauses)


class _Comparison:
    """One comparison of two trees, from the top down."""

    def __init__(self) -> None:
        self._left = MAX_COMPARED

    def compare(self, before: "tree_sitter.Node", after: "tree_sitter.Node") -> list[_Finding]:
        """What stands in another order.

        Raises:
            _OtherChange: something else differs as well.
        """
        self._left -= 1
        if before.text == after.text and before.type == after.type:
            return []
        old, new = token_texts(before), token_texts(after)
        if before.type == after.type and old == new:
            return []
        # The same tokens in another order: whatever else was changed has changed them.
        if self._left < 0 or before.type != after.type or Counter(old) != Counter(new):
            raise _OtherChange
        if before.type in _BODIES and _same_parts(parts_of(before), parts_of(after)):
            return [_Shuffled(before, after)]
        if before.type in _ROWS and _same_row(before, after):
            return [_Operands(after)]
        if before.type == "if_statement":
            return self._conditions(before, after)
        return self._all(_children(before), _children(after))

    def _all(self, old: Sequence["tree_sitter.Node"], new: Sequence["tree_sitter.Node"]) -> list[_Finding]:
        if len(old) != len(new) or not old:
            raise _OtherChange
        return [finding for pair in zip(old, new, strict=True) for finding in self.compare(*pair)]

    def _conditions(self, before: "tree_sitter.Node", after: "tree_sitter.Node") -> list[_Finding]:
        old, new = branches_of(before), branches_of(after)
        try:
            return self._all(_children(before), _children(after))
        except _OtherChange:
            if old is None or new is None:
                raise
        swapped = {old[0].id: new[1], old[1].id: new[0]}
        one, two = _flat(before), _flat(after)
        if len(one) != len(two):
            raise _OtherChange
        found: list[_Finding] = [_Swapped(_holder(new[0]))]
        for a, b in zip(one, two, strict=True):
            found.extend(self.compare(a, swapped.get(a.id, b)))
        return found


def branches_of(node: "tree_sitter.Node") -> tuple["tree_sitter.Node", "tree_sitter.Node"] | None:
    """The last conditional body of an if statement and the body of its else clause."""
    last = node.children[-1]
    bodies = [
        body
        for clause in (node, *node.children_by_field_name("alternative"))
        if (body := clause.child_by_field_name("consequence")) is not None
    ]
    other = last.child_by_field_name("body") if last.type == "else_clause" else None
    return (bodies[-1], other) if other is not None and bodies else None


def parts_of(body: "tree_sitter.Node") -> list["tree_sitter.Node"]:
    """The statements of a body."""
    return [child for child in body.named_children if child.type not in IGNORED]


def _holder(body: "tree_sitter.Node") -> "tree_sitter.Node":
    assert body.parent is not None, "a branch belongs to a condition"
    return body.parent


def _flat(node: "tree_sitter.Node") -> list["tree_sitter.Node"]:
    """The children of an if statement, those of its clauses in their place."""
    return [
        inner
        for child in _children(node)
        for inner in (_children(child) if child.type in {"elif_clause", "else_clause"} else [child])
    ]


def _children(node: "tree_sitter.Node") -> list["tree_sitter.Node"]:
    return [child for child in node.children if child.type not in IGNORED]


def _same_parts(old: Sequence["tree_sitter.Node"], new: Sequence["tree_sitter.Node"]) -> bool:
    return sorted(map(token_texts, old)) == sorted(map(token_texts, new))


def _same_row(before: "tree_sitter.Node", after: "tree_sitter.Node") -> bool:
    (old, signs), (new, new_signs) = row_of(before), row_of(after)
    return _same_parts(old, new) and sorted(signs) == sorted(new_signs)


def _shuffled(item: _Shuffled) -> str:
    old, new = parts_of(item.before), parts_of(item.after)
    owner = item.after.parent
    if owner is None:
        noun, where = "statement", "module"
    elif owner.type == "class_definition":
        noun, where = "member", "class"
    elif owner.type == "function_definition":
        noun, where = "statement", "body"
    else:
        noun, where = "statement", " ".join(filter(None, (noun_of(owner), "".join(label_of(owner)))))
    moved = len(new) - _longest_kept([token_texts(part) for part in old], [token_texts(part) for part in new])
    text = f"put {moved} of the {counted(len(new), noun)} of the {where} back in order"
    names = _late_names(old, new)
    if not names:
        return text
    names = [*names[:MAX_NAMES], *([f"{len(names) - MAX_NAMES} more"] if len(names) > MAX_NAMES else [])]
    verb, who = ("is", "it is") if len(names) == 1 else ("are", "they are")
    return f"{text}, so that {joined(names)} {verb} assigned before {who} used"


def _longest_kept(old: Sequence[tuple[str, ...]], new: Sequence[tuple[str, ...]]) -> int:
    """Length of the longest common subsequence: how many parts can stay where they are."""
    best = [0] * (len(new) + 1)
    for part in old:
        diagonal = 0
        for number, other in enumerate(new, start=1):
            above = best[number]
            best[number] = diagonal + 1 if part == other else max(above, best[number - 1])
            diagonal = above
    return best[-1]


def _late_names(old: Sequence["tree_sitter.Node"], new: Sequence["tree_sitter.Node"]) -> list[str]:
    """Names that the right order assigns before another statement uses them, and the wrong order after."""
    found: dict[str, None] = {}
    for name in (name for part in new for name in _assigned(part)):
        if _is_early(name, new) and not _is_early(name, old) and shown(name):
            found[shown(name)] = None
    return list(found)


def _is_early(name: str, parts: Sequence["tree_sitter.Node"]) -> bool:
    """Whether the first statement that mentions a name assigns it."""
    first = next(part for part in parts if name in _names(part))
    return name in _assigned(first)


def _assigned(part: "tree_sitter.Node") -> list[str]:
    """Names that a statement assigns and does not read."""
    inner = part.named_children[0] if part.type == "expression_statement" and part.named_children else part
    left, right = inner.child_by_field_name("left"), inner.child_by_field_name("right")
    if inner.type != "assignment" or left is None or right is None:
        return []
    targets = [left] if left.type == "identifier" else left.named_children if left.type == "pattern_list" else []
    read = _names(right)
    return [text_of(target) for target in targets if target.type == "identifier" and text_of(target) not in read]


def _names(node: "tree_sitter.Node") -> frozenset[str]:
    """Variables that a node mentions."""
    found: set[str] = set()
    stack = [node]
    while stack:
        item = stack.pop()
        if item.type == "identifier":
            found.add(text_of(item))
        # The name of an attribute or of a keyword is no variable.
        other = item.child_by_field_name(_FOREIGN_NAMES.get(item.type, ""))
        stack.extend(child for child in item.children if child != other)
    return frozenset(found)


def _swapped(holders: Sequence["tree_sitter.Node"]) -> str:
    if len(holders) > 1:
        return f"swap the two branches of {len(holders)} if statements"
    word = "elif" if holders[0].type == "elif_clause" else "if"
    _, condition = label_of(holders[0])
    return f"swap the two branches of {f'`{word} {condition[1:]}' if condition else f'the {word} statement'}"


def _operands(rows: Sequence["tree_sitter.Node"]) -> str:
    if len(rows) == 1:
        verb = "swap the operands" if len(row_of(rows[0])[0]) == 2 else "put the operands"
        back = "" if verb.startswith("swap") else " back in order"
        return f"{verb} of the {noun_of(rows[0])}{back}"
    signs = list(dict.fromkeys(f"`{sign}`" for row in rows for sign in row_of(row)[1]))
    signs = [*signs[:MAX_NAMES], *([f"{len(signs) - MAX_NAMES} more"] if len(signs) > MAX_NAMES else [])]
    return f"put the operands of {len(rows)} expressions with {joined(signs)} back in order"
