"""Cyclomatic and cognitive complexity and nesting of a definition: pure functions of its tree and the rules."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import NamedTuple

import tree_sitter

from extractors.syntax import LanguageSyntax, syntax_of
from schemas.repo import Language


class ComplexityRules(NamedTuple):
    """The node kinds of a language that the measures count."""

    decisions: Mapping[str, frozenset[str]]
    """Kind that adds a path to the kinds of parent in which it does; no parents means in any."""
    opaque: frozenset[str]
    """Kinds whose inside adds no path."""
    switches: Mapping[str, str]
    """Kind of a switch to the kind of its cases; one default case of a switch adds no path."""
    is_default: Callable[[tree_sitter.Node], bool]
    """Whether a case is the default."""
    nests: frozenset[str]
    """Kinds that cost one more for each level they lie at, and make what is inside a level deeper."""
    continues: frozenset[str]
    """Kinds that cost one at any level (`else`, `elif`)."""
    lambdas: frozenset[str]
    """Nameless functions: a level deeper, without a cost of their own."""
    boolean: str
    """Kind of a two-sided boolean operator, with the fields `left`, `operator` and `right`."""
    parentheses: str
    call: str
    """Kind of a call, with the field `function`."""
    self_names: frozenset[str]
    """Receivers by which a method calls itself."""
    return_statement: str
    controls: frozenset[str]
    """Statements whose depth inside each other is the nesting."""


class Measures(NamedTuple):
    """The complexity of one definition, or of a module's or class's own statements."""

    cyclomatic: int
    cognitive: int
    nesting: int


@cache
def rules_of(language: Language) -> ComplexityRules | None:
    """The rules of a language; `None` where it states none."""
    where = syntax_of(language).complexity
    if not where:
        return None
    module, name = where.split(":")
    rules: ComplexityRules = getattr(import_module(module), name)
    return rules


def measure(node: tree_sitter.Node, language: Language) -> Measures:
    """Measure a function by its body; for a class or a whole module, the statements outside its definitions."""
    rules, syntax = rules_of(language), syntax_of(language)
    if rules is None:
        return Measures(cyclomatic=1, cognitive=0, nesting=0)
    body = node.child_by_field_name(syntax.body_field) or node
    is_function = node.type in syntax.functions
    return Measures(
        cyclomatic=cyclomatic(body, rules, syntax),
        cognitive=cognitive(node, rules, syntax) if is_function else _cost(body, rules, syntax, enter=False),
        nesting=nesting(body, rules, syntax),
    )


def cyclomatic(body: tree_sitter.Node, rules: ComplexityRules, syntax: LanguageSyntax) -> int:
    """One more than the decisions in a body, without those of the definitions inside it."""
    paths = 1
    for node, parent in _own_nodes(body, rules.opaque, syntax):
        parents = rules.decisions.get(node.type)
        if parents is not None and (not parents or parent in parents):
            paths += 1
        if node.type in rules.switches and any(map(rules.is_default, _cases(node, rules.switches[node.type]))):
            paths -= 1
    return paths


def nesting(body: tree_sitter.Node, rules: ComplexityRules, syntax: LanguageSyntax) -> int:
    """How many control structures lie inside each other at most, without the definitions inside."""
    deepest = 0
    todo = [(child, 0) for child in body.named_children]
    while todo:
        node, depth = todo.pop()
        if _is_definition(node, syntax):
            continue
        depth += node.type in rules.controls
        deepest = max(deepest, depth)
        todo.extend((child, depth) for child in node.named_children)
    return deepest


def cognitive(function: tree_sitter.Node, rules: ComplexityRules, syntax: LanguageSyntax) -> int:
    """Cognitive complexity (Campbell, SonarSource 2018) of a function, with that of the functions inside it.

    A function that only defines another and returns it, a decorator, counts as the one inside.
    """
    inner = _only_wraps(function, rules, syntax)
    while inner is not None:
        function, inner = inner, _only_wraps(inner, rules, syntax)
    body = function.child_by_field_name(syntax.body_field)
    if body is None:
        return 0
    return _cost(body, rules, syntax, enter=True) + _calls_itself(function, rules, syntax)


def _cost(body: tree_sitter.Node, rules: ComplexityRules, syntax: LanguageSyntax, *, enter: bool) -> int:
    """Cost of what is in a body; `enter` tells whether definitions inside count, a level deeper."""
    total = 0
    todo = [(child, body.type, 0) for child in body.named_children]
    while todo:
        node, parent, level = todo.pop()
        kind = node.type
        inside = level
        if _is_definition(node, syntax) and not enter:
            continue
        if kind in rules.nests:
            total += 1 + level
            inside += 1
        elif kind in rules.continues:
            total += 1
            inside += parent not in rules.nests
        elif kind in syntax.functions or kind in rules.lambdas:
            inside += 1
        elif kind == rules.boolean and parent != rules.boolean:
            total += _operator_runs(node, rules)
        # Parentheses do not end a sequence of operators: what they hold still has the operator around as parent.
        passed_on = rules.boolean if kind == rules.parentheses and parent == rules.boolean else kind
        todo.extend((child, passed_on, inside) for child in node.named_children)
    return total


def _operator_runs(node: tree_sitter.Node, rules: ComplexityRules) -> int:
    """Sequences of equal operators in a boolean expression, read from left to right."""
    operators: list[str] = []
    todo: list[tree_sitter.Node | str] = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            operators.append(item)
            continue
        while item.type == rules.parentheses:
            inside = [child for child in item.named_children if not child.is_extra]
            if len(inside) != 1:
                break
            item = inside[0]
        left, operator, right = (item.child_by_field_name(name) for name in ("left", "operator", "right"))
        if item.type == rules.boolean and left is not None and operator is not None and right is not None:
            todo.extend((right, operator.type, left))
    return sum(1 for index, operator in enumerate(operators) if index == 0 or operators[index - 1] != operator)


def _calls_itself(function: tree_sitter.Node, rules: ComplexityRules, syntax: LanguageSyntax) -> int:
    name = function.child_by_field_name(syntax.name_field)
    if name is None or name.text is None:
        return 0
    around = function.parent
    while around is not None and around.type not in syntax.functions | syntax.classes:
        around = around.parent
    is_method = around is not None and around.type in syntax.classes
    wanted = {f"{receiver}.".encode() + name.text for receiver in rules.self_names} if is_method else {name.text}
    todo = [function]
    while todo:
        node = todo.pop()
        called = node.child_by_field_name("function") if node.type == rules.call else None
        if called is not None and called.text in wanted:
            return 1
        todo.extend(node.named_children)
    return 0


def _only_wraps(function: tree_sitter.Node, rules: ComplexityRules, syntax: LanguageSyntax) -> tree_sitter.Node | None:
    """The function inside, where a body is nothing but a docstring, that function and a `return`."""
    body = function.child_by_field_name(syntax.body_field)
    statements = [child for child in body.named_children if not child.is_extra] if body is not None else []
    if statements and statements[0].named_children and statements[0].named_children[0].type == "string":
        statements = statements[1:]
    if len(statements) != 2 or statements[1].type != rules.return_statement:
        return None
    first = statements[0]
    candidates = [first, *(first.named_children if first.type in syntax.wrappers else ())]
    return next((node for node in candidates if node.type in syntax.functions), None)


def _own_nodes(
    body: tree_sitter.Node, opaque: frozenset[str], syntax: LanguageSyntax
) -> Iterator[tuple[tree_sitter.Node, str]]:
    """Nodes of a body and the kinds of their parents, without the definitions inside and the inside of opaque ones."""
    todo = [(child, body.type) for child in body.named_children]
    while todo:
        node, parent = todo.pop()
        if _is_definition(node, syntax):
            continue
        yield node, parent
        if node.type not in opaque:
            todo.extend((child, node.type) for child in node.named_children)


def _is_definition(node: tree_sitter.Node, syntax: LanguageSyntax) -> bool:
    return node.type in syntax.functions or node.type in syntax.classes or node.type in syntax.wrappers


def _cases(switch: tree_sitter.Node, kind: str) -> list[tree_sitter.Node]:
    around = [switch, *switch.named_children]
    return [case for node in around for case in node.named_children if case.type == kind]
