"""Python's syntax, as tree-sitter-python names it."""

from extractors.syntax import LanguageSyntax
from schemas.repo import Language

SYNTAX = LanguageSyntax(
    language=Language.PYTHON,
    grammar="tree_sitter_python:language",
    distribution="tree-sitter-python",
    functions=frozenset({"function_definition"}),
    classes=frozenset({"class_definition"}),
    wrappers=frozenset({"decorated_definition"}),
    complexity="extractors.languages.python_complexity:RULES",
    call_graph="extractors.languages.python_calls:PythonCallGraph",
    reach="extractors.languages.python_reach:RULES",
)
