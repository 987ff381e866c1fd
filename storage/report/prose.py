"""An issue text as a page shows it: paragraphs, lists, code and nothing else; imports markdown-it-py.

Of Markdown only these are read. Everything else (links, images, HTML) stays the text that it is.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_TEXT = 20_000
"""Characters that are shown."""
_BLOCKS = {"paragraph_open": "p", "bullet_list_open": "ul", "ordered_list_open": "ol", "list_item_open": "li"}


def prose_view(text: str) -> list[Any]:
    """Blocks, as `[kind, children]`: `p`, `ul`, `ol`, `li`, `pre`; in a `p` texts, and `["code", text]`."""
    shown = text[:MAX_TEXT]
    if len(text) > MAX_TEXT:
        shown += f"\n\n… {len(text) - MAX_TEXT:,} more characters"
    top: list[Any] = []
    stack = [top]
    for token in _markdown().parse(shown):
        if token.type in _BLOCKS:
            children: list[Any] = []
            stack[-1].append([_BLOCKS[token.type], children])
            stack.append(children)
        elif token.nesting < 0:
            stack.pop()
        elif token.type == "inline":
            stack[-1].extend(_inline(token.children or ()))
        else:  # a fence
            stack[-1].append(["pre", [token.content.removesuffix("\n")]])
    return top


def _inline(tokens: Sequence[Token]) -> list[Any]:
    found: list[Any] = []
    for token in tokens:
        if token.type == "code_inline":
            found.append(["code", [token.content]])
        elif token.type in {"softbreak", "hardbreak"}:
            found.append("\n")
        else:
            found.append(token.content)
    return found


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("zero").enable(["fence", "list", "backticks"])
