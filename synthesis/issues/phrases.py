"""Say what was observed, as a user would in a bug report; every choice of words is drawn from the generator."""

import ast
import re
from random import Random

from synthesis.issues.context import quoted
from synthesis.issues.names import parse_expression, unparse
from synthesis.issues.observation import Observation, Sort

MAX_INLINE_CHARS = 120
_BUILTINS = frozenset(
    {
        "all",
        "any",
        "bool",
        "bytes",
        "dict",
        "float",
        "frozenset",
        "getattr",
        "hasattr",
        "hash",
        "int",
        "isinstance",
        "iter",
        "len",
        "list",
        "max",
        "min",
        "next",
        "repr",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
        "type",
    }
)
"""Functions that a test wraps around the call that it is about."""

REPORTS = {
    Sort.WRONG_VALUE: (
        "{it} gives a wrong result: I get {actual} and expected {expected}.",
        "{it} gives {actual}, but it should give {expected}.",
        "I expected {expected} from {it}, and got {actual}.",
        "the result of {it} is {actual}. The right result is {expected}.",
    ),
    Sort.UNEQUAL: (
        "{it} and {other} should be equal, but the first is {actual} and the second {expected}.",
        "{it} gives {actual}, which differs from {other} ({expected}). The two should agree.",
    ),
    Sort.FALSE: (
        "{it} should hold, but it does not{shown}.",
        "I rely on {it}, which is not true any more{shown}.",
        "{it} is not true{shown}, though it should be.",
    ),
    Sort.RAISES: (
        "{it} fails with {error}.",
        "{it} raises {error}.",
        "I get {error} from {it}.",
    ),
    Sort.NOT_RAISED: (
        "{it} should raise {error}, but no error comes.",
        "I expected {error} from {it}; nothing is raised.",
        "{it} is accepted without complaint. It should be refused with {error}.",
    ),
    Sort.DIES: (
        "{it} does not come to its end: {message}.",
        "{it} never finishes properly; {message}.",
    ),
    Sort.WRONG_MESSAGE: (
        "{it} raises {error} with the message {actual}; the message should match {expected}.",
        "the message of the {error} from {it} is wrong: it says {actual} and should match {expected}.",
    ),
}

PLAIN_VALUES = (
    "{it} is {actual}, but it should be {expected}.",
    "I expected {it} to be {expected}, and it is {actual}.",
    "{it} is wrong: I see {actual} in place of {expected}.",
)

OTHER_ERROR = (
    "{it} should raise {expected}. It raises {error} instead.",
    "I expected {expected} from {it}, and got {error}.",
    "{it} fails with {error}, where {expected} is the right error.",
)

TRUTH = (
    "{it} should be {truth}, but it is {actual}.",
    "I expected {it} to be {truth}, and it is {actual}.",
)

UNKNOWN_ACTUAL = (
    "{it} does not give {expected}, as it should.",
    "{it} should give {expected}, but the result is another one.",
)

PLACES = {
    (True, True): "{where} I get {actual} and expected {expected}",
    (True, False): "{actual} should not be in it",
    (False, True): "{expected} is missing from it",
}

LEADS = (
    "Here is what I run:",
    "To reproduce:",
    "This shows it:",
    "A small example:",
    "Steps to see the problem:",
)

IMPORTS = (
    "Importing {package} fails with {error}.",
    "I cannot import {package} any more: it ends with {error}.",
    "{error} is raised as soon as {package} is imported.",
)


def report(seen: Observation, rng: Random, *, lead: str = "") -> str:
    """One paragraph, or an example with a sentence about it; `lead` opens it in place of words of its own."""
    if seen.sort is Sort.IMPORT:
        package = quoted(seen.code) if seen.code else "the package"
        return _opened(lead, rng.choice(IMPORTS).format(package=package, error=_error(seen)))
    example = seen.snippet if seen.snippet or inline(seen.code) else seen.code
    if not example:
        return _opened(lead, _tell(seen, quoted(seen.code), rng))
    shown = f"{lead or rng.choice(LEADS)}\n\n{block(example)}"
    told = _tell(seen, _pointer(seen), rng)
    if seen.in_loop:
        told = f"in one of the rounds, {told if told.startswith('I ') else told[:1].lower() + told[1:]}"
    return f"{shown}\n\n{_sentence(told)}"


def title(seen: Observation, rng: Random) -> str:
    """A line that names the call and what is wrong with it; empty where no single call is to blame."""
    name = _called(seen.code)
    if not name:
        return ""
    name = quoted(name)
    choices = {
        Sort.WRONG_VALUE: (f"Wrong result from {name}", f"{name} returns something unexpected"),
        Sort.RAISES: (f"{name} raises {quoted(seen.error)}", f"Unexpected {quoted(seen.error)} from {name}"),
        Sort.NOT_RAISED: (f"{name} does not raise {quoted(seen.error)}", f"{name} does not refuse what it should"),
        Sort.WRONG_MESSAGE: (f"Wrong error message from {name}",),
    }.get(seen.sort, (f"Problem with {name}", f"{name} does not work as it should"))
    return rng.choice(choices)


def block(value: str) -> str:
    """A piece of code on lines of its own."""
    fence = "````" if "```" in value else "```"
    return f"{fence}python\n{value}\n{fence}"


def inline(value: str) -> bool:
    """Whether code fits into a sentence."""
    return "\n" not in value and 0 < len(value) <= MAX_INLINE_CHARS


def _tell(seen: Observation, it: str, rng: Random) -> str:
    if seen.where:
        template = PLACES[bool(seen.actual), bool(seen.expected)]
        place = template.format(where=seen.where, actual=quoted(seen.actual), expected=quoted(seen.expected))
        whole = (
            f"{it} gives a wrong result" if seen.sort is Sort.WRONG_VALUE else f"{it} and {quoted(seen.other)} differ"
        )
        return f"{whole}: {place}."
    templates = REPORTS.get(seen.sort, ())
    if seen.sort is Sort.WRONG_VALUE and not seen.actual:
        templates = UNKNOWN_ACTUAL
    elif seen.sort is Sort.WRONG_VALUE and not _called(seen.code):
        templates = PLAIN_VALUES
    elif seen.sort is Sort.UNEQUAL and not (seen.actual and seen.expected):
        templates = ("{it} and {other} should be equal, but they differ.",)
    elif seen.sort is Sort.FALSE and seen.expected and seen.actual:
        templates = TRUTH
    elif seen.sort is Sort.RAISES and seen.expected:
        templates = OTHER_ERROR
    return rng.choice(templates).format(
        it=it,
        actual=quoted(seen.actual),
        expected=quoted(seen.expected),
        truth=seen.expected,
        other=quoted(seen.other),
        error=_error(seen),
        message=seen.message,
        shown=f" (I see {quoted(seen.actual)})" if seen.actual else "",
    )


def _pointer(seen: Observation) -> str:
    """How to refer to the code that goes wrong when the whole example stands above."""
    if inline(seen.code):
        return quoted(seen.code)
    return "the last line" if "\n" not in seen.code else "this"


def _error(seen: Observation) -> str:
    return quoted(f"{seen.error}: {seen.message}" if seen.message else seen.error)


def _opened(lead: str, text: str) -> str:
    if not lead:
        return _sentence(text)
    return f"{lead} {text}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _called(source: str) -> str:
    """The function that an expression calls last, without what it is called on; empty where it calls none."""
    node = parse_expression(source)
    while node is not None:
        if isinstance(node, ast.Await):
            node = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BUILTINS and node.args:
            node = node.args[0]
        else:
            break
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
        return ""
    name = unparse(node.func).rpartition(".")[2]
    return name if re.fullmatch(r"\w+", name) else ""
