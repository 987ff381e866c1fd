"""Which definitions of the clean file a fix touches."""

from collections.abc import Sequence

from extractors.syntax import definitions, symbol_at
from schemas.tasks import EditTarget


def edited_symbols(targets: Sequence[EditTarget], clean: bytes) -> tuple[str, ...]:
    """Definitions of the clean file that edits touch: whole ones that they restore, else the innermost around them."""
    found: dict[str, None] = {}
    defined = definitions(clean, targets[0].language) if targets else ()
    names = {item.name for item in defined}
    for target in targets:
        text = clean[target.start_byte : target.start_byte + len(target.after.encode("utf-8"))]
        start = target.start_byte + len(text) - len(text.lstrip())
        end = target.start_byte + len(text.rstrip())
        inside = [item for item in defined if start <= item.span.start_byte and item.span.end_byte <= end]
        outermost = [item for item in inside if item.name.rpartition(".")[0] not in {other.name for other in inside}]
        if outermost:
            found.update((item.name, None) for item in outermost)
        elif text.strip():
            found[symbol_at(defined, start, end)] = None
        else:
            found[_nearest(target.symbol, names)] = None
    return tuple(found)


def _nearest(symbol: str, names: set[str]) -> str:
    """The symbol, or what holds it where the clean file does not define it (the bug added it)."""
    while symbol and symbol not in names:
        symbol = symbol.rpartition(".")[0]
    return symbol
