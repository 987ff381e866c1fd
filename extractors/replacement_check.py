"""Check what a plan says of one node that takes another's place; names of nodes, found again."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from extractors.plain_words import (
    ATOMS,
    CHAINS,
    IGNORED,
    ITEM_WORDS,
    LABEL_FIELDS,
    MAX_SHOWN,
    TRANSPARENT,
    indefinite,
    joined,
    plain,
    plural,
    token_word,
)

if TYPE_CHECKING:
    import tree_sitter

_NAMED = 3
_RUN = re.compile(r"(?:change `([^`]+)` to|(?:restore the missing)|remove) `([^`]+)` (?:in|from) the (.+)")


def sentence_holds(action: str, before: "tree_sitter.Node", after: "tree_sitter.Node") -> bool:
    """Whether a sentence about two nodes, of which the second took the first one's place, is true of them."""
    old, new = unwrap(before), unwrap(after)
    if tokens(old) == tokens(new):
        old, new = before, after
    if old.type != new.type:
        true = {f"replace the {noun(old)} by {indefinite(noun(new))}"} if noun(old) != noun(new) else set()
        if _text(old) in _texts_below(new):
            true.add(f"put the {noun(old)} back into {indefinite(noun(new))}")
        if _text(new) in _texts_below(old):
            true.add(f"take the {noun(new)} out of the {noun(old)}")
    else:
        true = {*_token_sentences(old, new), *_row_sentences(old, new)}
    one, two = len(tokens(old)), len(tokens(new))
    true.add(f"rewrite the {noun(new)} of {one} token{'s' * (one != 1)} as one of {two}")
    return action in true or _run_holds(action, old, new)


def _token_sentences(old: "tree_sitter.Node", new: "tree_sitter.Node") -> Iterator[str]:
    pairs = [pair for pair in zip(tokens(old), tokens(new), strict=False) if pair[0][1] != pair[1][1]]
    if len(tokens(old)) == len(tokens(new)) and len(pairs) == 1:
        words = {token_word(kind, text) for kind, text in pairs[0]}
        if len(words) == 1:
            yield f"change the {words.pop()} from `{pairs[0][0][1]}` to `{pairs[0][1][1]}`"


def _row_sentences(old: "tree_sitter.Node", new: "tree_sitter.Node") -> Iterator[str]:
    if old.type not in ITEM_WORDS:
        return
    (items, signs), (new_items, new_signs) = row(old), row(new)
    holder = new.parent
    base = holder is not None and holder.child_by_field_name("superclasses") == new
    thing = "class" if base else ITEM_WORDS[old.type]
    if _taken_away(new_items, items) is not None and _taken_away(new_signs, signs) is not None:
        yield f"restore the {_things(_taken_away(new_items, items) or [], new, f'missing {thing}')}"
    if _taken_away(items, new_items) is not None and _taken_away(signs, new_signs) is not None:
        yield f"remove the {_things(_taken_away(items, new_items) or [], old, thing)}"
    if Counter(items) == Counter(new_items) and Counter(signs) == Counter(new_signs) and items != new_items:
        whole = f"{plural(thing)} of the {noun(new)}"
        yield f"swap the {whole}" if len(items) == 2 else f"put the {whole} back in order"


def _taken_away(whole: Sequence[object], part: Sequence[object]) -> list[int] | None:
    """Positions to take out of `whole` so that `part` is left; `None` where that cannot be."""
    left = list(part)
    out = []
    for number, item in enumerate(whole):
        if left and left[0] == item:
            left.pop(0)
        else:
            out.append(number)
    return None if left else out


def _things(positions: Sequence[int], node: "tree_sitter.Node", thing: str) -> str:
    texts = [_text(_row_nodes(node)[0][number]) for number in positions]
    names = f" {joined([f'`{text}`' for text in texts])}" if len(texts) <= _NAMED and all(map(_short, texts)) else ""
    return (thing if len(texts) == 1 else f"{len(texts)} {plural(thing)}") + names


def _run_holds(action: str, old: "tree_sitter.Node", new: "tree_sitter.Node") -> bool:
    """Whether putting one quoted piece in the place of another turns the first text into the second one."""
    match = _RUN.fullmatch(action)
    if match is None or match[3] != noun(new):
        return False
    pieces = {"c": (match[1], match[2]), "res": ("", match[2]), "rem": (match[2], "")}
    lost, gained = (_squeezed(part or "") for part in next(v for k, v in pieces.items() if action.startswith(k)))
    one, two = _squeezed("".join(text for _, text in tokens(old))), _squeezed("".join(text for _, text in tokens(new)))
    linking = " from the " if action.startswith("rem") else " in the "
    return linking in action and any(
        one[position : position + len(lost)] == lost and one[:position] + gained + one[position + len(lost) :] == two
        for position in range(len(one) + 1)
    )


def _squeezed(text: str) -> str:
    return "".join(text.replace("\\\n", "").split())


def unwrap(node: "tree_sitter.Node") -> "tree_sitter.Node":
    """The one thing in a node that adds nothing to it."""
    while node.type in TRANSPARENT and len(node.named_children) == 1:
        (node,) = node.named_children
    return node


def noun(node: "tree_sitter.Node") -> str:
    """What a node is called."""
    node = unwrap(node)
    node = node.child_by_field_name("definition") or node
    if node.type in CHAINS:
        sign = next((child for child in node.children if not child.is_named), None)
        return f"`{_text(sign)}` expression" if sign is not None else plain(node.type)
    if node.type != "function_definition":
        return plain(node.type)
    kinds: list[str] = []
    while node.parent is not None:
        node = node.parent
        kinds.append(node.type)
    outer = [kind for kind in kinds if kind not in {"block", "decorated_definition"}]
    return "method" if outer[:1] == ["class_definition"] else "function"


def label(node: "tree_sitter.Node") -> str:
    """What tells a node from others of its kind, with its preposition; empty where nothing short does."""
    node = unwrap(node)
    node = node.child_by_field_name("definition") or node
    field, preposition = LABEL_FIELDS.get(node.type, (None, ""))
    for position, child in enumerate(node.children):
        if field is not None and node.field_name_for_child(position) == field:
            return f"{preposition}`{_text(child)}`" if _short(_text(child)) else ""
    return ""


def tokens(node: "tree_sitter.Node") -> list[tuple[str, str]]:
    """Kind and text of each token."""
    if node.type in IGNORED:
        return []
    if not node.children or not node.is_named or node.type in ATOMS:
        return [(node.type, _text(node))]
    return [token for child in node.children for token in tokens(child)]


def row(node: "tree_sitter.Node") -> tuple[list[tuple[str, ...]], list[str]]:
    """The things in a row as token texts, and what stands between them."""
    items, signs = _row_nodes(node)
    return [tuple(text for _, text in tokens(item)) for item in items], [_text(sign) for sign in signs]


def _row_nodes(node: "tree_sitter.Node") -> tuple[list["tree_sitter.Node"], list["tree_sitter.Node"]]:
    items: list[tree_sitter.Node] = []
    signs: list[tree_sitter.Node] = []
    for position, child in enumerate(node.children):
        if position == 0 and child.type == node.type and node.type in CHAINS:
            inner = _row_nodes(child)
            items, signs = [*inner[0]], [*inner[1]]
        elif child.type not in IGNORED:
            (items if child.is_named else signs).append(child)
    return items, signs


def _texts_below(node: "tree_sitter.Node") -> set[str]:
    found: set[str] = set()
    todo = list(node.children)
    while todo:
        item = todo.pop()
        found.add(_text(item))
        todo.extend(item.children)
    return found


def _short(text: str) -> bool:
    return 0 < len(text) <= MAX_SHOWN and re.search(r"[`\r\n]", text) is None


def _text(node: "tree_sitter.Node") -> str:
    return (node.text or b"").decode()
