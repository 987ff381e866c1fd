"""Check clauses that say that a fix only changes an order: a walk over both trees at once that undoes each exchange."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from extractors.plain_words import IGNORED, MAX_SHOWN, joined
from extractors.replacement_check import label, noun, row, tokens

if TYPE_CHECKING:
    import tree_sitter

_CLAUSES = 5
_NAMED = 3
_ROWS = frozenset({"binary_operator", "boolean_operator", "comparison_operator"})
_FOREIGN = {("attribute", "attribute"), ("keyword_argument", "name")}
"""Where an identifier names no variable: holder and field."""
_ORDER = re.compile(
    r"put \d+ of the \d+ (?:statements?|members?) of .* back in order(?:, so that .*)?"
    r"|swap the two branches of .*|put the operands of \d+ expressions with .* back in order"
)
_OPERANDS = re.compile(r"(?:swap|put) the operands of the .*")

_Place = Callable[[Sequence[tuple[str, "tree_sitter.Node"]]], str]


def speaks_of_order(clause: str) -> bool:
    """Whether a clause says that order is all that changes in the file."""
    return _ORDER.fullmatch(clause) is not None


def may_speak_of_order(clause: str) -> bool:
    """Whether a clause is about the order of one expression, which can be all that changes or one edit of several."""
    return _OPERANDS.fullmatch(clause) is not None


class _Tree:
    """A node with comments left out."""

    def __init__(self, node: "tree_sitter.Node", path: tuple[tuple[str, "tree_sitter.Node"], ...] = ()) -> None:
        self.node = node
        self.path = path or (("", node),)

    @cached_property
    def parts(self) -> list["_Tree"]:
        found = []
        for position, child in enumerate(self.node.children):
            if child.type not in IGNORED:
                field = self.node.field_name_for_child(position) or ""
                found.append(_Tree(child, (*self.path, (field, child))))
        return found

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(text for _, text in tokens(self.node))

    @cached_property
    def branches(self) -> tuple["_Tree", "_Tree"] | None:
        """The bodies of an if statement's last condition and of its else clause."""
        if self.node.type != "if_statement" or self.parts[-1].node.type != "else_clause":
            return None
        clauses = [self, *(part for part in self.parts if part.node.type == "elif_clause")]
        bodies = [part for part in clauses[-1].parts if part.node.type == "block"]
        return bodies[0], self.parts[-1].parts[-1]

    @cached_property
    def clauses(self) -> list["_Tree"]:
        """The parts of an if statement, with those of its clauses in the place of these."""
        return [
            inner
            for part in self.parts
            for inner in (part.parts if part.node.type in {"elif_clause", "else_clause"} else [part])
        ]


def order_violations(
    clauses: Sequence[str], bugged: "tree_sitter.Tree", clean: "tree_sitter.Tree", *, place_of: _Place
) -> Iterator[str]:
    """What is wrong with clauses about order."""
    expected = _expected(_Tree(bugged.root_node), _Tree(clean.root_node), place_of)
    if expected is None:
        yield f"more than the order differs: {'; '.join(clauses)!r}"
        return
    if len(expected) > _CLAUSES:
        expected = [*expected[:_CLAUSES], f"and {len(expected) - _CLAUSES} more"]
    if list(clauses) != expected:
        yield f"the order is said to change by {clauses!r}, and changes by {expected!r}"


def _expected(bugged: _Tree, clean: _Tree, place_of: _Place) -> list[str] | None:
    """What is to be said of two trees that differ in order alone; `None` where they differ in more, or not at all."""
    if bugged.node.has_error or clean.node.has_error:
        return None
    bodies: list[str] = []
    conditions: list[_Tree] = []
    rows: list[_Tree] = []
    todo = [(bugged, clean)]
    while todo:
        old, new = todo.pop()
        if old.words == new.words and old.node.type == new.node.type:
            continue
        if old.node.type != new.node.type or sorted(old.words) != sorted(new.words):
            return None
        if new.node.type in {"block", "module"} and _bag(_statements(old)) == _bag(_statements(new)):
            bodies.append(_said_of_body(old, new))
        elif (
            new.node.type in _ROWS
            and _bag(row(old.node)[0]) == _bag(row(new.node)[0])
            and (sorted(row(old.node)[1]) == sorted(row(new.node)[1]))
        ):
            rows.append(new)
        elif _crossed(old, new):
            assert new.branches is not None, "branches that are crossed exist"
            conditions.append(new)
            todo.extend(reversed(_crosswise(old, new)))
        elif len(old.parts) == len(new.parts) and old.parts:
            todo.extend(reversed(list(zip(old.parts, new.parts, strict=True))))
        else:
            return None
    said = [*bodies, *_said_of_conditions(conditions), *_said_of_rows(rows, place_of)]
    return said or None


def _bag(things: Sequence[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    return Counter(things)


def _statements(body: _Tree) -> list[tuple[str, ...]]:
    return [part.words for part in body.parts if part.node.is_named]


def _crossed(old: _Tree, new: _Tree) -> bool:
    """Whether each branch has the words of the other one, and not its own."""
    if old.branches is None or new.branches is None or len(old.clauses) != len(new.clauses):
        return False
    (a, b), (c, d) = ([sorted(body.words) for body in tree] for tree in (old.branches, new.branches))
    return (a, b) == (d, c) and a != b


def _crosswise(old: _Tree, new: _Tree) -> list[tuple[_Tree, _Tree]]:
    assert old.branches is not None and new.branches is not None, "branches that are crossed exist"  # noqa: PT018
    others = {old.branches[0].node.id: new.branches[1], old.branches[1].node.id: new.branches[0]}
    return [(a, others.get(a.node.id, b)) for a, b in zip(old.clauses, new.clauses, strict=True)]


def _said_of_body(old: _Tree, new: _Tree) -> str:
    one, two = _statements(old), _statements(new)
    owner = new.node.parent
    word, where = "statement", "module"
    if owner is not None and owner.type in {"function_definition", "class_definition"}:
        word, where = ("member", "class") if owner.type == "class_definition" else ("statement", "body")
    elif owner is not None:
        where = f"{noun(owner)} {label(owner)}".rstrip()
    number = f"{len(two)} {word}{'s' * (len(two) != 1)}"
    said = f"put {len(two) - _kept(one, two)} of the {number} of the {where} back in order"
    late = [name for name in _assigned_first(new) if name not in _assigned_first(old)]
    if not late:
        return said
    names = [f"`{name}`" for name in late[:_NAMED]] + ([f"{len(late) - _NAMED} more"] if len(late) > _NAMED else [])
    verb = "is assigned before it is used" if len(late) == 1 else "are assigned before they are used"
    return f"{said}, so that {joined(names)} {verb}"


def _kept(one: Sequence[tuple[str, ...]], two: Sequence[tuple[str, ...]]) -> int:
    """How many statements can stay: the longest rising run of their places, each place given out once."""
    places: dict[tuple[str, ...], list[int]] = {}
    for position, words in enumerate(two):
        places.setdefault(words, []).append(position)
    ends: list[int] = []
    for words in one:
        # Equal statements may each take any of their places: later ones first, so that one takes one place.
        for position in reversed(places[words]):
            slot = bisect_left(ends, position)
            ends[slot : slot + 1] = [position]
    return len(ends)


def _assigned_first(body: _Tree) -> list[str]:
    """Names whose first statement in a body assigns them, and does not read them."""
    known: set[str] = set()
    found: list[str] = []
    for statement in (part for part in body.parts if part.node.is_named):
        inner = statement.parts[0] if statement.node.type == "expression_statement" else statement
        fields = {part.path[-1][0]: part for part in inner.parts}
        if inner.node.type == "assignment" and {"left", "right"} <= fields.keys():
            read = _identifiers(fields["right"])
            left = fields["left"]
            targets = [left] if left.node.type == "identifier" else []
            targets = left.parts if left.node.type == "pattern_list" else targets
            names = [part.words[0] for part in targets if part.node.type == "identifier"]
            found.extend(name for name in dict.fromkeys(names) if name not in read | known and len(name) <= MAX_SHOWN)
        known |= _identifiers(statement)
    return found


def _identifiers(tree: _Tree) -> set[str]:
    if tree.node.type == "identifier":
        field, holder = tree.path[-1][0], tree.path[-2][1] if len(tree.path) > 1 else None
        foreign = holder is not None and (holder.type, field) in _FOREIGN
        return set() if foreign else {"".join(tree.words)}
    return {name for part in tree.parts for name in _identifiers(part)}


def _said_of_conditions(conditions: Sequence[_Tree]) -> list[str]:
    if len(conditions) != 1:
        return [f"swap the two branches of {len(conditions)} if statements"] if conditions else []
    (condition,) = conditions
    assert condition.branches is not None, "a condition with exchanged branches has branches"
    holder = condition.branches[0].node.parent
    word = "elif" if holder is not None and holder.type == "elif_clause" else "if"
    shown = label(holder).removeprefix("on `").removesuffix("`") if holder is not None else ""
    return [f"swap the two branches of {f'`{word} {shown}`' if shown else f'the {word} statement'}"]


def _said_of_rows(rows: Sequence[_Tree], place_of: _Place) -> list[str]:
    if not rows:
        return []
    if len(rows) > 1:
        signs = list(dict.fromkeys(f"`{sign}`" for expression in rows for sign in row(expression.node)[1]))
        more = [f"{len(signs) - _NAMED} more"] if len(signs) > _NAMED else []
        return [f"put the operands of {len(rows)} expressions with {joined([*signs[:_NAMED], *more])} back in order"]
    (only,) = rows
    two = len(row(only.node)[0]) == 2
    said = f"{'swap' if two else 'put'} the operands of the {noun(only.node)}{'' if two else ' back in order'}"
    return [f"{said} {place_of(only.path)}".rstrip()]
