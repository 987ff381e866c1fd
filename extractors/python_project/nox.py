"""What a nox session for the tests installs, read from the literals of `noxfile.py`, which is never run."""

import ast

from extractors.python_project.groups import Group
from extractors.python_project.requirements import NOTHING, parse_requirements, requirements_file
from extractors.tree import Tree

_SESSIONS = ("tests", "test", "pytest", "unit", "unittest", "unit_tests")


def nox_groups(files: Tree, *, own_name: str) -> list[Group]:
    """One group: the literal arguments of `session.install(...)` in the first session that is named for tests.

    Raises:
        ProfileFailed: the file is too large or not UTF-8.
    """
    text = files.read("noxfile.py")
    if text is None:
        return []
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # nox itself could not read it
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    session = next((functions[name] for name in _SESSIONS if name in functions), None)
    if session is None:
        return []
    found = NOTHING
    for call in (node for node in ast.walk(session) if isinstance(node, ast.Call)):
        if not (isinstance(call.func, ast.Attribute) and call.func.attr == "install"):
            continue
        words = [item.value for item in call.args if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        while words:
            word = words.pop(0)
            if word in {"-r", "--requirement"} and words:
                found += requirements_file(files, words.pop(0), own_name=own_name)
            elif word in {"-c", "--constraint", "--group", "-i", "--index-url"} and words:
                words.pop(0)
            elif not word.startswith("-") or word.startswith("-e."):
                found += parse_requirements([word], own_name=own_name)
    return [Group("session", found, f"noxfile.py {session.name}", "nox")]
