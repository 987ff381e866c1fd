"""Prove that a file with a spliced entity is the old file with exactly that entity replaced.

The text outside of the entity is copied, so siblings of the entity, and of everything around it, must stand at the
same place (moved by the rows that the entity grew): the same text at the same place is the same tree. Only the entity
itself is compared node by node. That makes the proof independent of the size of the file, nearly.
"""

import ast

from synthesis.entities import Definition


def same_tree(left: ast.AST, right: ast.AST) -> bool:
    """Whether two trees are equal, positions apart: as if their dumps were compared, and several times faster."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    for name in left._fields:
        one, other = getattr(left, name, None), getattr(right, name, None)
        if one is not other and not _same_value(one, other):
            return False
    return True


def _same_value(one: object, other: object) -> bool:
    if isinstance(one, ast.AST) and isinstance(other, ast.AST):
        return same_tree(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_value, one, other))
    # Numbers that are equal can be different constants: 1, 1.0 and True; 0.0 and -0.0.
    return type(one) is type(other) and repr(one) == repr(other)


def without_decorators(node: Definition) -> Definition:
    """A copy of the definition's node as its own source, from `def` or `class` on, gives it."""
    fields = {name: getattr(node, name) for name in node._fields}
    return type(node)(**(fields | {"decorator_list": []}))


def is_replacement(old: ast.Module, new: ast.Module, entity: Definition, expected: Definition, *, grown: int) -> bool:
    """Whether `new` is `old` with the body and header of `entity` replaced by `expected`'s, decorators kept.

    `entity` is a node of `old`; `grown` is the number of rows that the file has more than before.
    """
    return _equal_around(old, new, entity, expected, grown)


def _equal_around(old: ast.AST, new: ast.AST, entity: Definition, expected: Definition, grown: int) -> bool:
    if old is entity:
        decorators = getattr(new, "decorator_list", [])
        return (
            isinstance(new, type(expected))
            and same_tree(without_decorators(new), expected)
            and [ast.dump(item) for item in decorators] == [ast.dump(item) for item in entity.decorator_list]
        )
    if type(old) is not type(new):
        return False
    if not _contains(old, entity):
        return _same_place(old, new, entity, grown)
    children, others = list(ast.iter_child_nodes(old)), list(ast.iter_child_nodes(new))
    return (
        len(children) == len(others)
        and _leaf_fields(old) == _leaf_fields(new)
        and all(
            _equal_around(child, other, entity, expected, grown) for child, other in zip(children, others, strict=True)
        )
    )


def _contains(node: ast.AST, entity: Definition) -> bool:
    if isinstance(node, ast.Module):
        return True
    position = _position(node)
    if position is None:
        # Handlers of `match` and the like have no place of their own.
        return any(child is entity for child in ast.walk(node))
    first = node.decorator_list[0].lineno if isinstance(node, Definition) and node.decorator_list else position[0]
    return (
        first <= entity.lineno
        and position[2] >= (entity.end_lineno or 0)
        and isinstance(node, ast.stmt | ast.excepthandler)
    )


def _same_place(old: ast.AST, new: ast.AST, entity: Definition, grown: int) -> bool:
    before, after = _position(old), _position(new)
    if before is None or after is None:
        return same_tree(old, new)
    shift = grown if before[0] > (entity.end_lineno or 0) else 0
    return (before[0] + shift, before[1], before[2] + shift, before[3]) == after


def _position(node: ast.AST) -> tuple[int, int, int, int] | None:
    if not isinstance(node, ast.stmt | ast.expr | ast.excepthandler):
        return None
    return node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0


def _leaf_fields(node: ast.AST) -> list[object]:
    """Names and other values of a node that are no nodes."""
    values = (getattr(node, name, None) for name in node._fields)
    return [value for value in values if not isinstance(value, ast.AST | list)]
