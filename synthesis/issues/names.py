"""Names in a piece of Python source, read without running it."""

import ast
import warnings
from functools import lru_cache
from textwrap import dedent

MAX_SOURCE_CHARS = 50_000


@lru_cache(maxsize=256)
def parse(source: str) -> ast.Module | None:
    """The syntax tree of a possibly indented piece of source; `None` where it is not Python, or far too long.

    Shared between callers: copy before changing it.
    """
    if len(source) > MAX_SOURCE_CHARS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in somebody's test is not ours to report
        try:
            return ast.parse(dedent(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def parse_expression(source: str) -> ast.expr | None:
    """The syntax tree of one expression; `None` where it is not one."""
    module = parse(f"({source.strip()}\n)") if source.strip() else None
    if module is None or len(module.body) != 1 or not isinstance(module.body[0], ast.Expr):
        return None
    return module.body[0].value


def unparse(node: ast.AST) -> str:
    """Source of a syntax tree; empty where it cannot be written."""
    try:
        return ast.unparse(node)
    except (ValueError, RecursionError):
        return ""


@lru_cache(maxsize=2048)
def identifiers(source: str) -> frozenset[str]:
    """Every identifier in the code: names, attributes, keyword arguments; not words in strings or comments."""
    module = parse(source)
    if module is None:
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(module):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                found.update(value.split("."))
    return frozenset(found)


@lru_cache(maxsize=2048)
def bound_names(source: str) -> frozenset[str]:
    """Names that the code gives to things of its own: variables and parameters, not imports."""
    module = parse(source)
    if module is None:
        return frozenset()
    return frozenset(name for node in ast.walk(module) for name in bindings(node))


def bindings(node: ast.AST) -> frozenset[str]:
    """Names that one node itself binds, imports apart."""
    if isinstance(node, ast.Name):
        return frozenset() if isinstance(node.ctx, ast.Load) else frozenset({node.id})
    if isinstance(node, ast.arg):
        return frozenset({node.arg})
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset({node.name})
    if isinstance(node, ast.ExceptHandler) and node.name:
        return frozenset({node.name})
    return frozenset()


def used_names(node: ast.AST) -> frozenset[str]:
    """Names that a piece of code reads."""
    return frozenset(
        inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load)
    )
