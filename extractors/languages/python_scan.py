"""One pass over a Python file: its scopes, and in each the names, calls and imports that a call graph needs."""

from itertools import product

from tree_sitter import Node, Tree

from extractors.languages.python_scopes import (
    BINARY,
    UNKNOWN,
    Import,
    Scope,
    ScopeBuilder,
    annotated,
    chain_of,
    children_of,
    descendants,
    text_of,
    unsubscripted,
)
from schemas.code import EntityKind

_SEQUENCES = frozenset({"pattern_list", "tuple_pattern", "list_pattern", "expression_list", "tuple", "list"})
_COMPARE = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_UNARY = {"-": "neg", "+": "pos", "~": "invert"}
_BUILTIN_CALLS = {
    "abs": "abs", "bool": "bool", "bytes": "bytes", "float": "float", "format": "format", "hash": "hash", "int": "int",
    "iter": "iter", "len": "len", "list": "iter", "next": "next", "repr": "repr", "reversed": "reversed",
    "round": "round", "set": "iter", "sorted": "iter", "str": "str", "tuple": "iter",
}  # fmt: skip


def scan_module(tree: "Tree") -> tuple[Scope, ...]:
    """The scopes of a parsed file in source order, the module first; never fails, whatever the bytes were."""
    return _Scanner().scan(tree.root_node)


class _Scanner:
    def __init__(self) -> None:
        self.scopes: list[ScopeBuilder] = [ScopeBuilder("", None)]
        self.todo: list[tuple[Node, ScopeBuilder]] = []
        self.handlers = {
            "function_definition": self.function,
            "class_definition": self.class_,
            "decorated_definition": self.decorated,
            "import_statement": self.import_,
            "import_from_statement": self.import_from,
            "future_import_statement": self.nothing,
            "assignment": self.assignment,
            "augmented_assignment": self.augmented,
            "named_expression": self.walrus,
            "for_statement": self.loop,
            "for_in_clause": self.loop,
            "with_item": self.with_item,
            "except_clause": self.children,
            "return_statement": self.return_,
            "yield": self.return_,
            "call": self.call,
            "attribute": self.load,
            "identifier": self.load,
            "subscript": self.subscript,
            "binary_operator": self.binary,
            "unary_operator": self.unary,
            "comparison_operator": self.comparison,
            "keyword_argument": self.keyword_argument,
            "global_statement": self.nothing,
            "nonlocal_statement": self.nothing,
            "delete_statement": self.delete,
            "lambda_parameters": self.lambda_parameters,
            "comment": self.nothing,
        }

    def scan(self, root: "Node") -> tuple[Scope, ...]:
        self.todo.append((root, self.scopes[0]))
        while self.todo:
            node, scope = self.todo.pop()
            self.handlers.get(node.type, self.children)(node, scope)
        return tuple(scope.freeze() for scope in self.scopes)

    def push(self, nodes: "list[Node]", scope: ScopeBuilder) -> None:
        self.todo.extend((node, scope) for node in reversed(nodes))

    def nothing(self, node: "Node", scope: ScopeBuilder) -> None:
        """Holds nothing that is called."""

    def children(self, node: "Node", scope: ScopeBuilder) -> None:
        self.push(node.named_children, scope)

    def decorated(self, node: "Node", scope: ScopeBuilder) -> None:
        definition = node.child_by_field_name("definition")
        decorators = [child for child in node.named_children if child.type == "decorator"]
        for decorator in decorators:
            self.children(decorator, scope)
        if definition is None:
            return
        inner = self.function(definition, scope) if definition.type == "function_definition" else None
        if inner is None:
            self.handlers.get(definition.type, self.children)(definition, scope)
            return
        for decorator in decorators:
            self.describe_decorator(decorator, inner)

    def describe_decorator(self, decorator: "Node", scope: ScopeBuilder) -> None:
        expression = decorator.named_children[0] if decorator.named_children else None
        if expression is None:
            return
        called = expression.type == "call"
        function = expression.child_by_field_name("function") if called else expression
        chain = chain_of(function)
        scope.decorators.append(chain)
        if chain.rpartition(".")[2] not in {"fixture", "yield_fixture"}:
            return
        scope.fixture = scope.name.rpartition(".")[2]
        arguments = expression.child_by_field_name("arguments") if called else None
        for argument in arguments.named_children if arguments is not None else ():
            key, value = text_of(argument.child_by_field_name("name")), argument.child_by_field_name("value")
            if argument.type == "keyword_argument" and key == "name":
                scope.fixture = text_of(value).strip("\"'")
            if argument.type == "keyword_argument" and key == "autouse":
                scope.autouse = text_of(value) == "True"

    def function(self, node: "Node", scope: ScopeBuilder) -> ScopeBuilder | None:
        name = text_of(node.child_by_field_name("name"))
        body = node.child_by_field_name("body")
        if not name:
            self.children(node, scope)
            return None
        kind = EntityKind.METHOD if scope.kind is EntityKind.CLASS else EntityKind.FUNCTION
        inner = ScopeBuilder(f"{scope.name}.{name}".lstrip("."), kind)
        self.scopes.append(inner)
        for parameter in children_of(node.child_by_field_name("parameters")):
            self.parameter(parameter, inner, defaults=scope)
        annotation = node.child_by_field_name("return_type")
        if annotation is not None:
            inner.returns[annotated(annotation)] = None
        if body is not None:
            self.push(body.named_children, inner)
        return inner

    def parameter(self, node: "Node", scope: ScopeBuilder, *, defaults: ScopeBuilder) -> None:
        name = node.child_by_field_name("name")
        if name is None:
            name = next((child for child in [node, *descendants(node)] if child.type == "identifier"), None)
        if name is None:
            return
        annotation = node.child_by_field_name("type")
        scope.parameters.append(text_of(name))
        scope.names[text_of(name)] = annotated(annotation) if annotation is not None else UNKNOWN
        default = node.child_by_field_name("value")
        if default is not None:
            self.push([default], defaults)

    def lambda_parameters(self, node: "Node", scope: ScopeBuilder) -> None:
        for parameter in node.named_children:
            default = parameter.child_by_field_name("value")
            if default is not None:
                self.push([default], scope)

    def class_(self, node: "Node", scope: ScopeBuilder) -> None:
        name = text_of(node.child_by_field_name("name"))
        body = node.child_by_field_name("body")
        if not name:
            self.children(node, scope)
            return
        inner = ScopeBuilder(f"{scope.name}.{name}".lstrip("."), EntityKind.CLASS)
        self.scopes.append(inner)
        for base in children_of(node.child_by_field_name("superclasses")):
            if base.type != "keyword_argument":
                inner.bases.append(chain_of(unsubscripted(base)))
        if body is not None:
            self.push(body.named_children, inner)

    def import_(self, node: "Node", scope: ScopeBuilder) -> None:
        for item in node.children_by_field_name("name"):
            if item.type == "aliased_import":
                module = text_of(item.child_by_field_name("name"))
                scope.add_import(text_of(item.child_by_field_name("alias")), Import(module))
            else:
                module = text_of(item)
                top = module.partition(".")[0]
                scope.add_import(top, Import(top))
                if top != module:
                    # Binds only the top name, and makes the submodule an attribute of it: kept for who lists imports.
                    scope.add_import(module, Import(module))

    def import_from(self, node: "Node", scope: ScopeBuilder) -> None:
        module = text_of(node.child_by_field_name("module_name")).replace(" ", "")
        for item in node.children_by_field_name("name"):
            name, alias = item, item
            if item.type == "aliased_import":
                name, alias = item.child_by_field_name("name") or item, item.child_by_field_name("alias") or item
            scope.add_import(text_of(alias), Import(module, text_of(name)))
        if any(child.type == "wildcard_import" for child in node.named_children):
            scope.star_imports.append(module)

    def assignment(self, node: "Node", scope: ScopeBuilder) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        annotation = node.child_by_field_name("type")
        if left is None:
            return
        chain = chain_of(right) if right is not None else UNKNOWN
        if annotation is not None and chain[0] in "?!":
            chain = annotated(annotation)
        values = right.named_children if right is not None and right.type in _SEQUENCES else []
        if left.type in _SEQUENCES and left.named_child_count == len(values):
            for part, value in zip(left.named_children, values, strict=True):
                self.target(part, chain_of(value), scope)
        else:
            self.target(left, chain, scope)
        if right is not None:
            self.push([right], scope)

    def target(self, node: "Node", chain: str, scope: ScopeBuilder) -> None:
        """What is assigned to; the parts of a pattern are unknown, and patterns may be nested without end."""
        todo = [node]
        while todo:
            part = todo.pop()
            if part.type in {"identifier", "attribute", "subscript"}:
                self.place(part, chain if part == node else UNKNOWN, scope)
            else:
                todo.extend(reversed(part.named_children))

    def place(self, node: "Node", chain: str, scope: ScopeBuilder) -> None:
        if node.type == "identifier":
            scope.bind(text_of(node), chain)
        elif node.type == "attribute":
            receiver = text_of(node.child_by_field_name("object"))
            if scope.parameters and receiver == scope.parameters[0]:
                attribute = text_of(node.child_by_field_name("attribute"))
                if chain[0] not in "?!" or attribute not in scope.self_attributes:
                    scope.self_attributes[attribute] = chain
            else:
                self.push(node.named_children[:1], scope)
            scope.implicit[chain_of(node)] = None  # a property may have a setter
        else:
            self.item(node, "__setitem__", scope)

    def augmented(self, node: "Node", scope: ScopeBuilder) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = BINARY.get(text_of(node.child_by_field_name("operator")).removesuffix("="))
        if left is not None and operator:
            scope.implicit[f"{chain_of(left)}.__i{operator}__"] = None
            scope.implicit[f"{chain_of(left)}.__{operator}__"] = None
        if left is not None and left.type == "subscript":
            self.item(left, "__setitem__", scope)
        self.push([child for child in (left, right) if child is not None], scope)

    def walrus(self, node: "Node", scope: ScopeBuilder) -> None:
        value = node.child_by_field_name("value")
        scope.bind(text_of(node.child_by_field_name("name")), chain_of(value))
        if value is not None:
            self.push([value], scope)

    def loop(self, node: "Node", scope: ScopeBuilder) -> None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is not None:
            self.target(left, UNKNOWN, scope)
        if right is not None:
            for method in ("__iter__", "__next__"):
                scope.implicit[f"{chain_of(right)}.{method}"] = None
        self.push([child for child in node.named_children if child != left], scope)

    def with_item(self, node: "Node", scope: ScopeBuilder) -> None:
        value = node.child_by_field_name("value")
        if value is None:
            return
        if value.type == "as_pattern" and value.named_children:
            alias = value.child_by_field_name("alias")
            value = value.named_children[0]
            for name in alias.named_children if alias is not None else ():
                # Nearly every `__enter__` returns its own object.
                self.target(name, chain_of(value), scope)
        for method in ("__enter__", "__exit__"):
            scope.implicit[f"{chain_of(value)}.{method}"] = None
        self.push([value], scope)

    def delete(self, node: "Node", scope: ScopeBuilder) -> None:
        for item in [child for child in node.named_children for child in [child, *descendants(child)]]:
            if item.type == "subscript":
                self.item(item, "__delitem__", scope)

    def return_(self, node: "Node", scope: ScopeBuilder) -> None:
        if node.named_children:
            chain = chain_of(node.named_children[0])
            if chain[0] not in "?!":
                scope.returns[chain] = None
        self.children(node, scope)

    def call(self, node: "Node", scope: ScopeBuilder) -> None:
        function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        chain = chain_of(function)
        scope.calls[chain] = None
        given = children_of(arguments)
        special = _BUILTIN_CALLS.get(chain)
        if special and given:
            scope.implicit[f"{chain_of(given[0])}.__{special}__"] = None
        self.push(given, scope)
        self.receiver(function, scope)

    def receiver(self, function: "Node | None", scope: ScopeBuilder) -> None:
        """What a called expression is made of is used too, but the called attribute itself is not read."""
        if function is None or function.type == "identifier":
            return
        if function.type == "attribute":
            self.push(function.named_children[:1], scope)
        else:
            self.push([function], scope)

    def load(self, node: "Node", scope: ScopeBuilder) -> None:
        scope.loads[chain_of(node)] = None
        if node.type == "attribute":
            self.push(node.named_children[:1], scope)

    def keyword_argument(self, node: "Node", scope: ScopeBuilder) -> None:
        value = node.child_by_field_name("value")
        if value is not None:
            self.push([value], scope)

    def subscript(self, node: "Node", scope: ScopeBuilder) -> None:
        self.item(node, "__getitem__", scope)

    def item(self, node: "Node", method: str, scope: ScopeBuilder) -> None:
        scope.implicit[f"{chain_of(node.child_by_field_name('value'))}.{method}"] = None
        self.children(node, scope)

    def binary(self, node: "Node", scope: ScopeBuilder) -> None:
        operator = BINARY.get(text_of(node.child_by_field_name("operator")))
        if operator:
            scope.implicit[f"{chain_of(node.child_by_field_name('left'))}.__{operator}__"] = None
            scope.implicit[f"{chain_of(node.child_by_field_name('right'))}.__r{operator}__"] = None
        self.children(node, scope)

    def unary(self, node: "Node", scope: ScopeBuilder) -> None:
        operator = _UNARY.get(text_of(node.child_by_field_name("operator")))
        if operator:
            scope.implicit[f"{chain_of(node.child_by_field_name('argument'))}.__{operator}__"] = None
        self.children(node, scope)

    def comparison(self, node: "Node", scope: ScopeBuilder) -> None:
        operands = node.named_children
        for operator, left, right in zip(
            node.children_by_field_name("operators"), operands, operands[1:], strict=False
        ):
            if operator.type in {"in", "not in"}:
                scope.implicit[f"{chain_of(right)}.__contains__"] = None
            elif operator.type in _COMPARE:
                # Without a `__ne__` of its own, an object answers `!=` by its `__eq__`.
                methods = ("eq", "ne") if operator.type == "!=" else (_COMPARE[operator.type],)
                for operand, method in product((left, right), methods):
                    scope.implicit[f"{chain_of(operand)}.__{method}__"] = None
        self.children(node, scope)
