"""An entity of ours in the shape that SWE-smith's modifiers read."""

import ast
from functools import lru_cache
from typing import NamedTuple

from swesmith.constants import CodeEntity, CodeProperty

from synthesis.entities import SourceEntity

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
_ORDER = (ast.Lt, ast.Gt, ast.LtE, ast.GtE)


class _Facts(NamedTuple):
    tags: frozenset[str]
    """Names of SWE-smith's code properties, with `async` counted like its plain counterpart."""
    complexity: int
    """SWE-smith's measure, which its modifiers compare with their bounds; not a cyclomatic complexity."""


@lru_cache(maxsize=2)
def _facts(root: ast.AST) -> _Facts:
    """All strategies look at one entity before the next, so a small cache walks each tree once."""
    tags = {"IS_CLASS" if isinstance(root, ast.ClassDef) else "IS_FUNCTION"}
    complexity = 1
    for node in ast.walk(root):
        tags.update(tag for kinds, tag in _TAGS_OF_NODES if isinstance(node, kinds))
        match node:
            case ast.If():
                tags |= {"HAS_IF_ELSE"} if node.orelse else set()
                complexity += 1
            case ast.While() | ast.For() | ast.AsyncFor():
                complexity += 1
            case ast.BoolOp():
                complexity += len(node.values) - 1
            case ast.Try():
                complexity += len(node.handlers)
            case ast.Compare():
                tags |= {"HAS_OFF_BY_ONE"} if isinstance(node.ops[0], _ORDER) and len(node.ops) == 1 else set()
                complexity += len(node.ops)
            case ast.FunctionDef(decorator_list=[_, *_]) | ast.AsyncFunctionDef(decorator_list=[_, *_]):
                tags.add("HAS_DECORATOR")
            case ast.ClassDef(bases=[_, *_]):
                tags.add("HAS_PARENT")
            case _:
                pass
    return _Facts(frozenset(tags), complexity)


class ModifierEntity(CodeEntity):  # type: ignore[misc]
    """SWE-smith's entity, filled from ours.

    Its own Python entity walks the tree eighteen times, and its reader splits the whole file again for every entity,
    skips `async def`, and cuts into strings when it dedents.
    """

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
        self._tags = {CodeProperty[tag] for tag in _facts(self.node).tags}

    @property
    def complexity(self) -> int:
        """SWE-smith's measure of complexity."""
        return _facts(self.node).complexity

    @property
    def name(self) -> str:
        """The last part of the dotted name."""
        return str(self.node.name)

    @property
    def signature(self) -> str:
        """The first line of the source."""
        return str(self.src_code).partition("\n")[0]

    @property
    def stub(self) -> str:
        """The signature alone; no modifier of the procedural kind reads it."""
        return self.signature


def modifier_entity(entity: SourceEntity) -> ModifierEntity:
    """The same object for all strategies that look at one entity in turn."""
    last = _LAST.pop(entity.node, None)
    _LAST.clear()
    return _LAST.setdefault(entity.node, last or ModifierEntity(entity))


_LAST: dict[ast.AST, ModifierEntity] = {}
"""The entity that was asked for last, by its node."""
