"""What a fix does to the syntax tree, in words: which node changes, how, and where it stands."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from extractors.edit_sides import (
    EditSides,
    TreeRange,
    label_of,
    noun_of,
    parent_of,
    row_of,
    sides_of,
    text_of,
    token_texts,
    tokens_of,
    unwrapped,
)
from extractors.edits import holding_node
from extractors.plain_words import (
    INNER_FIELDS,
    ITEM_WORDS,
    SITES,
    TRANSPARENT,
    counted,
    field_word,
    indefinite,
    joined,
    plural,
    shown,
    token_word,
)
from extractors.reordered import describe_order
from schemas.tasks import EditOp, EditTarget

if TYPE_CHECKING:
    import tree_sitter

MAX_ITEMS = 3
"""Most things of one kind that a clause names; more are counted."""
MAX_KINDS = 4
"""Most kinds of things that a clause counts; the rest is counted together."""


class Clause(NamedTuple):
    """A part of the repair sentence."""

    text: str
    changes: int
    """How many changes it tells of."""


def describe_fix(targets: Sequence[EditTarget], bugged: bytes, clean: bytes) -> tuple[Clause, ...]:
    """The clauses of a fix: what stands in the wrong order where that is all, else what each edit does."""
    ordered = describe_order(bugged, clean, targets[0].language) if targets else ()
    if ordered:
        told = (f"{text} {_around(node)}".rstrip() if node is not None else text for text, node in ordered)
        return tuple(Clause(text, 1) for text in told)
    return _describe_edits(sides_of(targets, bugged, clean))


def _describe_edits(edits: Sequence[EditSides]) -> tuple[Clause, ...]:
    """One clause for the pieces restored or removed at one place, for each move, and for each replacement."""
    groups: dict[tuple[str, ...], list[int]] = {}
    texts: dict[tuple[str, ...], str] = {}
    done: set[int] = set()
    for number, edit in enumerate(edits):
        if number in done:
            continue
        partner = next((other for other in range(number + 1, len(edits)) if _moves(edit, edits[other])), None)
        if partner is not None and partner not in done:
            done.add(partner)
            groups[("move", str(number))] = [number, partner]
            texts["move", str(number)] = f"{_move(edit)} {place(edit)}".rstrip()
        elif edit.target.op is EditOp.REPLACE or not _nodes_within(_side(edit)):
            groups[("edit", str(number))] = [number]
            texts["edit", str(number)] = f"{_action(edit)} {place(edit)}".rstrip()
        else:
            groups.setdefault((edit.target.op, place(edit)), []).append(number)
    clauses = [
        texts.get(key) or f"{_pooled([edits[number] for number in numbers])} {key[1]}".rstrip()
        for key, numbers in groups.items()
    ]
    # Neighbours that say the same are said once.
    runs = ((text, len(list(same))) for text, same in groupby(clauses))
    return tuple(Clause(f"{text}, {count} times" if count > 1 else text, count) for text, count in runs)


def place(edit: EditSides) -> str:
    """Where an edit stands: the nearest statement, call or expression around it, and by which field it hangs there.

    Empty in the body of a definition, which the sentence names already.
    """
    side = _side(edit)
    node = holding_node(side.root, side.start, side.end, properly=edit.target.op is not EditOp.REPLACE)
    return _around(node, own=edit.target.op is not EditOp.REPLACE)


def _around(node: "tree_sitter.Node", *, own: bool = False) -> str:
    field = ""
    if not own:
        field, node = parent_of(node) or ("", node)
    while not (node.type.endswith(SITES) and node.type not in TRANSPARENT):
        up = parent_of(node)
        if up is None:
            return "at the top level"
        field, node = up
    if node.type in {"function_definition", "class_definition", "decorated_definition"}:
        return "" if not field or field == "body" else f"in the {field_word(field)}"
    noun = noun_of(node)
    if field and field not in INNER_FIELDS:
        return f"in the {field_word(field)} of the {noun}"
    return f"in the {noun} {''.join(label_of(node))}".rstrip()


def _side(edit: EditSides) -> TreeRange:
    return edit.before if edit.target.op is EditOp.DELETE else edit.after


def _move(edit: EditSides) -> str:
    down = edit.target.op is EditOp.DELETE
    nodes = _nodes_within(_side(edit))
    what = _the(nodes, "") if nodes else f"the {_lines(_side(edit).text)}"
    return f"move {what} {'down' if down else 'up'}"


def _pooled(edits: Sequence[EditSides]) -> str:
    nodes = [node for edit in edits for node in _nodes_within(_side(edit))]
    if edits[0].target.op is EditOp.INSERT:
        return f"restore {_the(nodes, 'missing ')}"
    return f"remove {_the(nodes, '')}"


def _the(nodes: Sequence["tree_sitter.Node"], adjective: str) -> str:
    """The things by kind, counted; by name as well where they are few and of one kind."""
    counts = Counter(noun_of(node) for node in nodes)
    if len(counts) == 1:
        noun = noun_of(nodes[0])
        number = "" if len(nodes) == 1 else f"{len(nodes)} "
        labels = [label_of(node) for node in nodes]
        known = len(nodes) <= MAX_ITEMS and all(quoted for _, quoted in labels)
        names = f" {labels[0][0]}{joined([quoted for _, quoted in labels])}" if known else ""
        return f"the {number}{adjective}{noun if len(nodes) == 1 else plural(noun)}{names}"
    parts = [indefinite(noun) if count == 1 else counted(count, noun) for noun, count in counts.items()]
    rest = sum(list(counts.values())[MAX_KINDS:])
    return joined([*parts[:MAX_KINDS], *([f"{rest} more"] if rest else [])])


def _action(edit: EditSides) -> str:
    if edit.target.op is EditOp.INSERT:
        return f"restore {_lines(edit.after.text)}"
    if edit.target.op is EditOp.DELETE:
        return f"remove {_lines(edit.before.text)}"
    if not (edit.before.is_node and edit.after.is_node):
        old, new = shown(edit.before.text), shown(edit.after.text)
        if old and new:
            return f"change {old} to {new}"
        return f"rewrite {_lines(edit.before.text)} as {_lines(edit.after.text)}"
    inner = unwrapped(edit.before.node), unwrapped(edit.after.node)
    if token_texts(inner[0]) == token_texts(inner[1]):
        return _replacement(edit.before.node, edit.after.node)
    return _replacement(*inner)


def _replacement(old: "tree_sitter.Node", new: "tree_sitter.Node") -> str:
    noun, new_noun = noun_of(old), noun_of(new)
    if old.type == new.type:
        return _one_token(old, new) or _items(old, new) or _run(old, new)
    if _contains(new, old):
        return f"put the {noun} back into {indefinite(new_noun)}"
    if _contains(old, new):
        return f"take the {new_noun} out of the {noun}"
    if noun != new_noun:
        return f"replace the {noun} by {indefinite(new_noun)}"
    return _run(old, new)


def _one_token(old: "tree_sitter.Node", new: "tree_sitter.Node") -> str:
    one, two = tokens_of(old), tokens_of(new)
    changed = [pair for pair in zip(one, two, strict=False) if text_of(pair[0]) != text_of(pair[1])]
    if len(one) != len(two) or len(changed) != 1:
        return ""
    before, after = changed[0]
    word, quoted, new_quoted = token_word(before.type, text_of(before)), shown(text_of(before)), shown(text_of(after))
    if word != token_word(after.type, text_of(after)) or not (quoted and new_quoted):
        return ""
    return f"change the {word} from {quoted} to {new_quoted}"


def _items(old: "tree_sitter.Node", new: "tree_sitter.Node") -> str:
    """What happens to a row of things, where it only gains, loses or exchanges some."""
    (items, signs), (new_items, new_signs) = row_of(old), row_of(new)
    one, two = ([token_texts(item) for item in row] for row in (items, new_items))
    if old.type not in ITEM_WORDS or one == two:
        return ""
    base = (up := parent_of(new)) is not None and up[0] == "superclasses"
    noun = "class" if base else ITEM_WORDS[old.type]
    if _is_part(one, two) and _is_part(signs, new_signs):
        return f"restore the {_named_items(_surplus(one, two, new_items), f'missing {noun}')}"
    if _is_part(two, one) and _is_part(new_signs, signs):
        return f"remove the {_named_items(_surplus(two, one, items), noun)}"
    if sorted(one) == sorted(two) and sorted(signs) == sorted(new_signs):
        row = f"{plural(noun)} of the {noun_of(new)}"
        return f"swap the {row}" if len(one) == 2 else f"put the {row} back in order"
    return ""


def _named_items(items: Sequence["tree_sitter.Node"], noun: str) -> str:
    quoted = [shown(text_of(item)) for item in items]
    names = f" {joined(quoted)}" if len(items) <= MAX_ITEMS and all(quoted) else ""
    return f"{noun if len(items) == 1 else f'{len(items)} {plural(noun)}'}{names}"


def _is_part(part: Sequence[object], whole: Sequence[object]) -> bool:
    """Whether `part` is what is left of `whole` when some of it is taken away."""
    rest = iter(whole)
    return len(part) <= len(whole) and all(item in rest for item in part)


def _surplus(
    part: Sequence[object], whole: Sequence[object], nodes: Sequence["tree_sitter.Node"]
) -> list["tree_sitter.Node"]:
    found: list[tree_sitter.Node] = []
    position = 0
    for item, node in zip(whole, nodes, strict=True):
        if position < len(part) and part[position] == item:
            position += 1
        else:
            found.append(node)
    return found


def _run(old: "tree_sitter.Node", new: "tree_sitter.Node") -> str:
    """The run of tokens that differs, quoted where it is short."""
    one, two = tokens_of(old), tokens_of(new)
    a, b = [text_of(token) for token in one], [text_of(token) for token in two]
    shorter = min(len(a), len(b))
    head = next((number for number in range(shorter) if a[number] != b[number]), shorter)
    tail = next((number for number in range(shorter - head) if a[-1 - number] != b[-1 - number]), shorter - head)
    lost, gained = (
        shown((side.text or b"")[run[0].start_byte - side.start_byte : run[-1].end_byte - side.start_byte].decode())
        if run
        else None
        for side, run in ((old, one[head : len(one) - tail]), (new, two[head : len(two) - tail]))
    )
    noun = noun_of(new)
    if lost and gained:
        return f"change {lost} to {gained} in the {noun}"
    if lost is None and gained:
        return f"restore the missing {gained} in the {noun}"
    if gained is None and lost:
        return f"remove {lost} from the {noun}"
    return f"rewrite the {noun} of {counted(len(one), 'token')} as one of {len(two)}"


def _nodes_within(side: TreeRange) -> list["tree_sitter.Node"]:
    """The outermost named nodes, comments apart, of which a range consists; a body stands for its statements."""
    found: list[tree_sitter.Node] = []
    stack = [side.root]
    while stack:
        node = stack.pop()
        inside = node.is_named and side.start <= node.start_byte < node.end_byte <= side.end
        if inside and node.type != "block":
            if node.type != "comment":
                found.append(unwrapped(node))
        elif node.start_byte < side.end and node.end_byte > side.start:
            stack.extend(reversed(node.children))
    return found


def _moves(one: EditSides, other: EditSides) -> bool:
    deleted, inserted = (one, other) if one.target.op is EditOp.DELETE else (other, one)
    return (deleted.target.op, inserted.target.op) == (EditOp.DELETE, EditOp.INSERT) and (
        deleted.before.text == inserted.after.text
    )


def _contains(outer: "tree_sitter.Node", inner: "tree_sitter.Node") -> bool:
    """Whether a node of the kind and text of `inner` stands below `outer`."""
    stack = list(outer.children)
    while stack:
        node = stack.pop()
        if node.type == inner.type and node.text == inner.text:
            return True
        stack.extend(node.children)
    return False


def _lines(text: str) -> str:
    return counted(text.removesuffix("\n").count("\n") + 1, "line")
