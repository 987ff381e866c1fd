"""The vocabulary of plans: what node kinds, fields, operators and numbers of things are called in plain English."""

from collections.abc import Sequence

MAX_SHOWN = 40
"""Longest piece of code that a sentence quotes; longer ones, and those of several lines, are named by kind alone."""
SITES = ("_statement", "_clause", "_definition", "assignment", "call", "parameter", "_expression", "_item")
"""Endings of the node kinds that a place is named after."""
TRANSPARENT = frozenset({"expression_statement", "parenthesized_expression"})
"""Node kinds that add nothing to what they hold."""
IGNORED = frozenset({"comment", "line_continuation"})
"""Node kinds that are no syntax."""
ATOMS = frozenset({"string"})
"""Node kinds with parts that count as one token."""

KIND_WORDS = {
    "argument_list": "argument list",
    "assert_statement": "assertion",
    "binary_operator": "arithmetic expression",
    "boolean_operator": "boolean expression",
    "class_definition": "class",
    "comparison_operator": "comparison",
    "conditional_expression": "conditional expression",
    "default_parameter": "default value",
    "delete_statement": "del statement",
    "else_clause": "else branch",
    "elif_clause": "elif branch",
    "expression_list": "tuple",
    "false": "constant",
    "for_in_clause": "for clause",
    "for_statement": "for loop",
    "function_definition": "function",
    "identifier": "name",
    "import_from_statement": "import",
    "import_statement": "import",
    "none": "constant",
    "not_operator": "negation",
    "pattern_list": "target list",
    "true": "constant",
    "typed_default_parameter": "default value",
    "unary_operator": "signed expression",
    "while_statement": "while loop",
    "with_item": "context manager",
}
"""Names of node kinds where the grammar's own word, with spaces, does not do."""
INNER_FIELDS = frozenset({"body", "consequence", "alternative", "right", "value", "arguments"})
"""Fields that a place does not name: what hangs there is simply in the node."""
FIELD_WORDS = {"left": "target", "superclasses": "base classes", "function": "callee"}
LABEL_FIELDS = {
    "assignment": ("left", "to "),
    "augmented_assignment": ("left", "to "),
    "call": ("function", "of "),
    "class_definition": ("name", ""),
    "default_parameter": ("name", "of "),
    "elif_clause": ("condition", "on "),
    "for_statement": ("right", "over "),
    "function_definition": ("name", ""),
    "if_statement": ("condition", "on "),
    "typed_default_parameter": ("name", "of "),
    "while_statement": ("condition", "on "),
}
"""Node kind to the field that tells one from another, and the word before it."""
ITEM_WORDS = {
    "argument_list": "argument",
    "binary_operator": "operand",
    "boolean_operator": "operand",
    "comparison_operator": "operand",
    "dictionary": "entry",
    "expression_list": "element",
    "list": "element",
    "parameters": "parameter",
    "pattern_list": "target",
    "set": "element",
    "tuple": "element",
}
"""Node kinds that are a row of things, and what each of these is."""
CHAINS = frozenset({"binary_operator", "boolean_operator"})
"""Kinds whose left operand of the same kind is a part of the same row: `a + b + c` has three operands."""
_OPERATORS = {
    "comparison operator": ("<", "<=", ">", ">=", "==", "!=", "is", "is not", "in", "not in"),
    "arithmetic operator": ("+", "-", "*", "/", "//", "%", "**", "@"),
    "bitwise operator": ("&", "|", "^", "<<", ">>", "~"),
    "boolean operator": ("and", "or", "&&", "||"),
    "assignment operator": ("=", "+=", "-=", "*=", "/=", "//=", "%=", "**=", "@=", "&=", "|=", "^=", "<<=", ">>="),
}
OPERATOR_WORDS = {text: word for word, texts in _OPERATORS.items() for text in texts}


def plain(kind: str) -> str:
    """A node kind in plain English."""
    return KIND_WORDS.get(kind) or kind.strip("_").replace("_", " ")


def field_word(field: str) -> str:
    """A field in plain English."""
    return FIELD_WORDS.get(field) or field.strip("_").replace("_", " ")


def token_word(kind: str, text: str) -> str:
    """What a token is: an operator by its text, anything else by its kind."""
    return OPERATOR_WORDS.get(text, plain(kind) if kind != text else "token")


def shown(text: str) -> str:
    """Code as a sentence quotes it; empty where it is too long to quote."""
    return f"`{text}`" if text and len(text) <= MAX_SHOWN and not set(text) & set("\n\r`") else ""


def indefinite(noun: str) -> str:
    """`a call`, `an assignment`."""
    return f"{'an' if noun.lstrip('`')[:1] in 'aeiou' else 'a'} {noun}"


def counted(number: int, noun: str) -> str:
    """`1 call`, `2 branches`."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    if noun.endswith(("ss", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"


def joined(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
