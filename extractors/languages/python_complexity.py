"""What counts as a branch, a loop and a nesting in Python's syntax trees."""

import tree_sitter

from extractors.taggers.measures import ComplexityRules

_COMPREHENSIONS = frozenset(
    {"list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression"}
)
_ANYWHERE: frozenset[str] = frozenset()


def is_default(case: tree_sitter.Node) -> bool:
    """Whether a `case` is `_` or a bare name, in parentheses or not, which matches everything (a guard aside)."""
    patterns = [child for child in case.named_children if child.type == "case_pattern"]
    if len(patterns) != 1 or any(child.type == "," for child in case.children):
        return False
    name = (patterns[0].text or b"").decode("utf-8", "replace").strip("() \t\r\n")
    return name.isidentifier() and name not in {"None", "True", "False"}


RULES = ComplexityRules(
    decisions={
        "if_statement": _ANYWHERE,
        "elif_clause": _ANYWHERE,
        "conditional_expression": _ANYWHERE,
        "for_statement": _ANYWHERE,
        "while_statement": _ANYWHERE,
        "else_clause": frozenset({"for_statement", "while_statement", "try_statement"}),
        "except_clause": _ANYWHERE,
        "case_clause": _ANYWHERE,
        "for_in_clause": _ANYWHERE,
        "if_clause": _COMPREHENSIONS,
        "boolean_operator": _ANYWHERE,
        "assert_statement": _ANYWHERE,
    },
    opaque=frozenset({"assert_statement"}),
    switches={"match_statement": "case_clause"},
    is_default=is_default,
    nests=frozenset(
        {
            *("if_statement", "for_statement", "while_statement", "except_clause", "conditional_expression"),
            "match_statement",
        }
    ),
    continues=frozenset({"elif_clause", "else_clause"}),
    lambdas=frozenset({"lambda"}),
    boolean="boolean_operator",
    parentheses="parenthesized_expression",
    call="call",
    self_names=frozenset({"self", "cls"}),
    return_statement="return_statement",
    controls=frozenset({"if_statement", "for_statement", "while_statement", "try_statement", "match_statement"}),
)
