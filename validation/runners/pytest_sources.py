"""Let pytest parse a source file once, and not for every frame of every failure.

This file runs in the process of `pytest_worker.py`. Where pytest is built otherwise than what is looked for here,
nothing is changed: it is only slower. What pytest prints stays the same.
"""

import ast
import bisect
import warnings


def remember_sources():
    """Wrap the function that finds a statement's lines in a file, wherever pytest calls it."""
    try:
        from _pytest._code import code, source

        find = source.getstatementrange_ast
    except (ImportError, AttributeError):
        return
    trees = {}  # type: dict[str, ast.Module]

    def found(lineno, source, assertion=False, astnode=None):  # noqa: ARG001 - called by pytest
        text = str(source)
        if text not in trees:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trees[text] = ast.parse(text, "source", "exec")
        _, start, end = find(lineno, source, assertion, around(trees[text], lineno + 1))
        return trees[text], start, end

    for module in (code, source):
        if getattr(module, "getstatementrange_ast", None) is find:
            setattr(module, find.__name__, found)


def around(tree, line):
    """The part of a tree that says where the statement in a line begins and ends: what holds it, and what follows."""
    following = []  # type: list[ast.stmt]
    body = tree.body
    while True:
        number = bisect.bisect_right([first_line(statement) for statement in body], line) - 1
        if number < 0:
            return tree
        following = body[number + 1 : number + 2] or following
        if not isinstance(body[number], ast.ClassDef) or line < first_line(body[number].body[0]):
            return ast.Module(body=[body[number], *following], type_ignores=[])
        body = body[number].body


def first_line(statement):
    return min([statement.lineno] + [one.lineno for one in getattr(statement, "decorator_list", ())])
