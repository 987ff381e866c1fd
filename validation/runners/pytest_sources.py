"""Let pytest parse the function that a failure lies in, and not the whole file for every frame of every failure.

This file runs in the process of `pytest_worker.py`. Where pytest is built otherwise than what is looked for here,
nothing is changed: it is only slower. What pytest prints stays the same.
"""

import ast
import bisect
import functools
import inspect
import threading
import tokenize
import warnings

MORE_TRIES = 4


def remember_sources():
    """Wrap the function that finds a statement's lines in a file, wherever pytest calls it."""
    try:
        from _pytest._code import code, source

        find = source.getstatementrange_ast
        tell = code.TracebackEntry.getsource
        state = vars(code.TracebackEntry)["statement"].fget
    except (ImportError, AttributeError, KeyError):
        return
    trees = {}  # type: dict[str, ast.Module]
    telling = threading.local()

    def knowing_code(ask):
        """What a frame is asked for; its code is known meanwhile."""

        @functools.wraps(ask)
        def asked(self, *arguments):
            before, telling.code = getattr(telling, "code", None), getattr(self.frame.code, "raw", None)
            try:
                return ask(self, *arguments)
            finally:
                telling.code = before

        return asked

    def found(lineno, source, assertion=False, astnode=None):  # noqa: ARG001 - called by pytest
        known = getattr(telling, "code", None)
        tree = function_tree(source.lines, known, lineno + 1) if known else None
        if tree is not None:
            _, start, end = find(lineno, source, assertion, tree)
            return None, start, end
        text = str(source)
        if text not in trees:
            trees[text] = parsed(text)
        _, start, end = find(lineno, source, assertion, around(trees[text], lineno + 1))
        return trees[text], start, end

    told = knowing_code(tell)
    code.TracebackEntry.getsource = told  # type: ignore[method-assign]
    code.TracebackEntry.source = property(told)
    code.TracebackEntry.statement = property(knowing_code(state))  # type: ignore[assignment,method-assign]
    for module in (code, source):
        if getattr(module, "getstatementrange_ast", None) is find:
            setattr(module, find.__name__, found)


def parsed(text):
    """The tree of a text. In CPython 3.11, threads that parse at the same time spoil each other's count of depth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(MORE_TRIES):
            try:
                return ast.parse(text, "source", "exec")
            except SystemError:
                pass
        return ast.parse(text, "source", "exec")


def function_tree(lines, code, line):
    """The tree of the function that has this code, and of where the next statement begins; None where unsure."""
    first = code.co_firstlineno
    if code.co_name.startswith("<") or not first <= line <= len(lines):
        return None
    finder = inspect.BlockFinder()
    try:
        for token in tokenize.generate_tokens((one + "\n" for one in lines[first - 1 :]).__next__):
            finder.tokeneater(*token)
    except (inspect.EndOfBlock, IndentationError):
        pass
    except (tokenize.TokenError, SyntaxError):
        return None
    last = first - 1 + finder.last
    inside = lines[first - 1 : last]
    is_indented = bool(inside) and inside[0][:1].isspace()
    try:
        body = parsed("\n".join(["if 1:", *inside] if is_indented else inside)).body
    except (SyntaxError, ValueError):
        return None
    if is_indented:
        body = body[0].body
    if len(body) != 1 or getattr(body[0], "name", None) != code.co_name or line > last:
        return None
    ast.increment_lineno(body[0], first - 1 - is_indented)
    rest = (number for number, one in enumerate(lines[last:], last + 1) if one.strip() and one.strip()[0] != "#")
    following = next(rest, None)
    if following is not None:
        body.append(ast.Pass(lineno=following, col_offset=0))
    return ast.Module(body=body, type_ignores=[])


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
