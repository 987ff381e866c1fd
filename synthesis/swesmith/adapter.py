"""Call one of SWE-smith's procedural modifiers as a bug strategy.

Only `swesmith.constants` and `swesmith.bug_gen.procedural` are imported, and only when a strategy is used: they read no
environment, change no directory and open no connection, which its profiles, drivers and `bug_gen.utils` do.
"""

import ast
import random
from collections.abc import Iterator
from functools import cache
from importlib import import_module, metadata
from typing import Any, NamedTuple, cast

from synthesis.entities import SourceEntity
from synthesis.strategy import Rewrite, StrategyFailed


class ModifierStrategy(NamedTuple):
    """A `BugStrategy` around one modifier class; a fresh modifier serves each entity."""

    name: str
    modifier: str
    """`module:class` of the modifier."""
    likelihood: float
    """Chance of each place in an entity to be changed; SWE-smith's own value for this modifier."""

    @property
    def generator(self) -> str:
        return f"swesmith=={metadata.version('swesmith')}"

    def propose(self, entity: SourceEntity, *, rng: random.Random) -> Iterator[Rewrite]:
        """At most one rewrite.

        Raises:
            StrategyFailed: the modifier raised.
        """
        modifier = _modifier_class(self.modifier)(likelihood=self.likelihood)
        modifier.rand = rng
        code = _code_entity_class()(entity)
        try:
            bug = modifier.modify(code) if modifier.can_change(code) else None
        except Exception as error:  # noqa: BLE001
            # The one broad catch of this package: third-party code works on arbitrary source, and may raise anything.
            raise StrategyFailed(f"{type(error).__name__}: {error}") from error
        if bug is not None:
            yield Rewrite(str(bug.rewrite), str(bug.explanation))


@cache
def _modifier_class(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


_TAGS_OF_NODES: tuple[tuple[type[ast.AST] | tuple[type[ast.AST], ...], str], ...] = (
    ((ast.For, ast.AsyncFor, ast.While), "HAS_LOOP"),
    (ast.If, "HAS_IF"),
    (ast.Try, "HAS_EXCEPTION"),
    (ast.Subscript, "HAS_LIST_INDEXING"),
    (ast.Call, "HAS_FUNCTION_CALL"),
    (ast.Return, "HAS_RETURN"),
    (ast.ListComp, "HAS_LIST_COMPREHENSION"),
    ((ast.Import, ast.ImportFrom), "HAS_IMPORT"),
    (ast.Assign, "HAS_ASSIGNMENT"),
    (ast.Lambda, "HAS_LAMBDA"),
    ((ast.BinOp, ast.UnaryOp), "HAS_ARITHMETIC"),
    ((ast.Try, ast.With, ast.AsyncWith), "HAS_WRAPPER"),
    (ast.BinOp, "HAS_BINARY_OP"),
    (ast.BoolOp, "HAS_BOOL_OP"),
    (ast.UnaryOp, "HAS_UNARY_OP"),
)


def _tags(root: ast.AST) -> set[str]:
    """Names of SWE-smith's code properties, with `async` counted like its plain counterpart."""
    tags = {"IS_CLASS" if isinstance(root, ast.ClassDef) else "IS_FUNCTION"}
    for node in ast.walk(root):
        tags.update(tag for kinds, tag in _TAGS_OF_NODES if isinstance(node, kinds))
        match node:
            case ast.If(orelse=[_, *_]):
                tags.add("HAS_IF_ELSE")
            case ast.FunctionDef(decorator_list=[_, *_]) | ast.AsyncFunctionDef(decorator_list=[_, *_]):
                tags.add("HAS_DECORATOR")
            case ast.ClassDef(bases=[_, *_]):
                tags.add("HAS_PARENT")
            case ast.Compare(ops=[ast.Lt() | ast.Gt() | ast.LtE() | ast.GtE()]):
                tags.add("HAS_OFF_BY_ONE")
            case _:
                pass
    return tags


def _complexity(root: ast.AST) -> int:
    """SWE-smith's measure, which its modifiers compare with their bounds; not a cyclomatic complexity."""
    total = 1
    for node in ast.walk(root):
        match node:
            case ast.If() | ast.While() | ast.For() | ast.AsyncFor():
                total += 1
            case ast.BoolOp():
                total += len(node.values) - 1
            case ast.Try():
                total += len(node.handlers)
            case ast.Compare():
                total += len(node.ops)
            case _:
                pass
    return total


def code_entity(entity: SourceEntity) -> Any:
    """The entity as an instance of SWE-smith's `CodeEntity`."""
    return _code_entity_class()(entity)


@cache
def _code_entity_class() -> Any:
    """A subclass of SWE-smith's entity that is filled from ours.

    Its own Python entity walks the tree eighteen times, its reader splits the whole file again for every entity, skips
    `async def` and cuts into strings when it dedents.
    """
    constants = cast("Any", import_module("swesmith.constants"))

    class Entity(constants.CodeEntity):  # type: ignore[misc]
        def __init__(self, entity: SourceEntity) -> None:
            indent = entity.node.col_offset
            super().__init__(
                file_path=entity.entity.path,
                indent_level=int(indent > 0),
                indent_size=indent or 4,
                line_end=entity.last + 1,
                line_start=entity.first + 1,
                node=entity.node,
                src_code=entity.text,
            )

        def _analyze_properties(self) -> None:
            self._tags = {constants.CodeProperty[tag] for tag in _tags(self.node)}

        @property
        def complexity(self) -> int:
            return _complexity(self.node)

        @property
        def name(self) -> str:
            return str(self.node.name)

        @property
        def signature(self) -> str:
            return str(self.src_code).partition("\n")[0]

        @property
        def stub(self) -> str:
            return self.signature

    return Entity
