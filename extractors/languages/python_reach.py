"""The names in a Python file, for `extractors.reach`."""

import builtins
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import tree_sitter

from extractors.reach import FileNames, LanguageRules, Statement, Unit
from extractors.syntax import parse
from schemas.repo import Language

EVERYTHING = frozenset({"globals", "vars", "dir", "__all__", "getmembers", "__subclasses__"})
MEMBERS = frozenset({".__dict__"})
CHANGERS = frozenset({"globals", "vars", "setattr", "delattr", "environ", "putenv"})
HARMLESS = frozenset({"dataclass", "total_ordering", "final", "runtime_checkable", "unique", "pytest", "unittest"})
"""Decorators of classes that keep no list of them, by their name or their module's."""
HARMLESS_OF_FUNCTIONS = frozenset(
    {"property", "setter", "getter", "deleter", "staticmethod", "classmethod", "abstractmethod", "overload", "override"}
    | {"wraps", "lru_cache", "cache", "cached_property", "contextmanager", "asynccontextmanager", "final", "pytest"}
    | {"fixture", "hypothesis", "given", "example", "settings", "mock", "patch", "unittest", "skipif", "skip"}
)
"""Decorators of functions that keep no list of them, by their name or their module's."""
HARMLESS_BASES = frozenset({"namedtuple", "NamedTuple", "TypedDict"})
"""What may be called where a base is named."""
HARMLESS_METACLASSES = frozenset({"ABCMeta"})

_WORD = re.compile(r"\w+")
_BLOCKS = frozenset(
    {"if_statement", "try_statement", "with_statement", "for_statement", "while_statement", "match_statement"}
)
_CLAUSES = frozenset(
    {"else_clause", "elif_clause", "except_clause", "except_group_clause", "finally_clause", "case_clause"},
)
_EXCEPTS = frozenset({"except_clause", "except_group_clause"})
_BY_NAME = frozenset({"getattr", "hasattr"})
_NOTHING = frozenset({"comment", "pass_statement", "future_import_statement"})
_ASSIGNMENTS = frozenset({"assignment", "augmented_assignment"})
_MAIN = frozenset({"__name__", "__main__"})
_NO_WORDS: frozenset[str] = frozenset()


def file_names(source: bytes) -> FileNames:
    """The names in a file; bytes that are no valid syntax are not understood."""
    tree = parse(source, Language.PYTHON)
    reader = _Reader()
    reader.read(tree.root_node, owner=None)
    return FileNames(
        units=tuple(reader.units),
        statements=tuple(reader.statements),
        documented=frozenset(reader.documented),
        understood=not tree.root_node.has_error,
    )


class _Owner(NamedTuple):
    """The class around a statement, by the name of the outermost one."""

    name: str
    units: list[int]


class _Reader:
    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.statements: list[Statement] = []
        self.documented: set[str] = set()
        self.modules: dict[str, str] = {}
        """Imported name to the first part of its module; empty text for the package's own."""

    def read(self, block: tree_sitter.Node, *, owner: _Owner | None) -> None:
        """All statements of a block that runs when the file is loaded."""
        for number, node in enumerate(child for child in block.named_children if child.type != "comment"):
            if number == 0 and _is_text(node):
                self.documented |= _words(node)
            else:
                self.statement(node, owner)

    def statement(self, node: tree_sitter.Node, owner: _Owner | None) -> None:
        kind = node.type
        if kind == "decorated_definition":
            decorators = [child for child in node.named_children if child.type == "decorator"]
            self.definition(node.child_by_field_name("definition") or node, decorators, owner)
        elif kind in ("function_definition", "class_definition"):
            self.definition(node, [], owner)
        elif kind in ("import_statement", "import_from_statement"):
            self.imported(node)
        elif kind in _BLOCKS:
            self.block(node, owner)
        elif kind == "expression_statement" and node.named_children and node.named_children[0].type in _ASSIGNMENTS:
            self.add(_words(node), _targets(node.named_children[0]), owner, calls=_has_call(node))
        elif kind == "expression_statement" and _text(node).startswith("__all__."):
            self.add(_words(node), frozenset({"__all__"}), owner)
        elif kind not in _NOTHING and not _is_text(node):
            self.statements.append(Statement(_words(node), _NO_WORDS, scattered=True))

    def add(self, words: frozenset[str], binds: frozenset[str], owner: _Owner | None, *, calls: bool = False) -> None:
        """A statement that binds names; in a class, the class has them."""
        if owner is None:
            self.statements.append(Statement(words, binds, calls=calls))
        else:
            words |= {owner.name}  # of another class, it may do something else
            self.statements.append(Statement(words, binds | {owner.name}, units=tuple(owner.units), calls=calls))

    def block(self, node: tree_sitter.Node, owner: _Owner | None) -> None:
        """A condition, a loop and the like: what stands in its head decides about all inside."""
        head: set[str] = set()
        condition = node.child_by_field_name("condition")
        if condition is not None and _words(condition) == _MAIN:
            return  # it runs where the file is a program
        for child in node.named_children:
            if child.type == "block" and any(one.type in _CLAUSES for one in child.named_children):
                self.block(child, owner)  # the cases of `match`
            elif child.type == "block":
                self.read(child, owner=owner)
                if any(one.type in _EXCEPTS for one in node.named_children):  # what fails in it decides what follows
                    self.statements.append(Statement(_words(child), _NO_WORDS, scattered=True))
            elif child.type in _CLAUSES:
                self.block(child, owner)
            else:
                head |= _words(child)
        if head:
            self.statements.append(Statement(frozenset(head), _NO_WORDS, scattered=True))

    def imported(self, node: tree_sitter.Node) -> None:
        source = node.child_by_field_name("module_name")
        for child in node.children_by_field_name("name"):
            name, alias = child, None
            if child.type == "aliased_import":
                name, alias = child.child_by_field_name("name") or child, child.child_by_field_name("alias")
            bound = _text(alias) if alias is not None else _text(name).partition(".")[0]
            origin = _text(source if source is not None else name)
            self.modules[bound] = "" if origin.startswith(".") else origin.partition(".")[0]
            if alias is not None:
                self.statements.append(Statement(_words(name), frozenset({bound}), is_alias=True))

    def definition(self, node: tree_sitter.Node, decorators: Sequence[tree_sitter.Node], owner: _Owner | None) -> None:
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is None or body is None:
            return
        own = _text(name)
        head = {word for child in (*decorators, *node.named_children) if child != body for word in _words(child)}
        if node.type == "class_definition":
            self.class_definition(node, own, body, head, decorators, owner)
        else:
            strange = any(not _is_harmless(one, HARMLESS_OF_FUNCTIONS) for one in decorators)
            self.function(node, own, body, head, owner, wrapped=bool(decorators), strange=strange)

    def class_definition(
        self,
        node: tree_sitter.Node,
        own: str,
        body: tree_sitter.Node,
        head: set[str],
        decorators: Sequence[tree_sitter.Node],
        owner: _Owner | None,
    ) -> None:
        number = len(self.statements)
        members = owner or _Owner(own, [])
        self.statements.append(Statement(_NO_WORDS, _NO_WORDS))  # its place: what it has is known when it is read
        before = len(members.units)
        self.read(body, owner=members)
        above = node.child_by_field_name("superclasses")
        bases, metaclasses = self.bases(above)
        strange = not metaclasses <= HARMLESS_METACLASSES
        self.statements[number] = Statement(
            words=frozenset(head | {members.name}),
            binds=frozenset({own, members.name}),
            own=own if owner is None else "",
            units=tuple(members.units[before:]),
            scattered=strange or any(not _is_harmless(one, HARMLESS) for one in decorators),
            bases=bases,
            derives=_words(above) if above is not None else _NO_WORDS,
            keeps_list=strange or b"__init_subclass__" in (node.text or b""),
        )

    def bases(self, arguments: tree_sitter.Node | None) -> tuple[frozenset[str], set[str]]:
        """Where a class's bases come from, and its metaclass."""
        bases: set[str] = set()
        metaclasses: set[str] = set()
        for child in arguments.named_children if arguments is not None else ():
            if child.type == "keyword_argument":
                metaclasses |= _words(child) - {"metaclass"}
            elif child.type == "call" and HARMLESS_BASES.isdisjoint(_words(child)):
                metaclasses.add(_text(child))  # it may be anything
            elif child.type != "comment":
                root = _WORD.search(_text(child))
                first = root.group() if root else ""
                bases.add("builtins" if first not in self.modules and hasattr(builtins, first) else first)
        return frozenset(self.modules.get(base, base if base == "builtins" else "") for base in bases), metaclasses

    def function(
        self,
        node: tree_sitter.Node,
        own: str,
        body: tree_sitter.Node,
        head: set[str],
        owner: _Owner | None,
        *,
        wrapped: bool,
        strange: bool,
    ) -> None:
        header_ends = body.prev_sibling.end_point.row + 1 if body.prev_sibling is not None else 0
        first, last = max(body.start_point.row + 1, header_ends + 1), node.end_point.row + 1
        children = body.named_children
        words = _words(body)
        if children and _is_text(children[0]):
            self.documented |= _words(children[0])
            words = frozenset(word for child in children[1:] for word in _words(child))
        if _asks_by_made_up_names(body, self.modules):
            words |= {"globals"}
        units = (len(self.units),)
        parameters = node.child_by_field_name("parameters")
        calls = parameters is not None and _has_call(parameters)
        # Without a line of its own, it is seen to run where the definition does.
        outermost = own if owner is None else owner.name
        touched = _touched(body, self.modules)
        self.units.append(Unit(min(first, last), last, outermost, words, touched, wrapped, is_line=first > last))
        if owner is None:
            binds, name = frozenset({own}), own
        else:
            owner.units.extend(units)
            head -= {own}
            binds, name = frozenset({owner.name}), ""
        made = Statement(frozenset(head) | binds, binds, own=name, units=units, calls=calls, scattered=strange)
        self.statements.append(made)


def _targets(assignment: tree_sitter.Node) -> frozenset[str]:
    """All names on the left, those of `a = b = c` as well, and those that are bound on the way."""
    found = frozenset(_text(one.named_children[0]) for one in _nodes(assignment) if one.type == "named_expression")
    node: tree_sitter.Node | None = assignment
    while node is not None and node.type in _ASSIGNMENTS:
        left = node.child_by_field_name("left")
        found |= _words(left) if left is not None else _NO_WORDS
        node = node.child_by_field_name("right")
    return found


def _is_text(node: tree_sitter.Node) -> bool:
    only = node.named_children
    return node.type == "expression_statement" and len(only) == 1 and only[0].type in ("string", "concatenated_string")


def _is_harmless(decorator: tree_sitter.Node, known: frozenset[str]) -> bool:
    names = [_text(node) for node in _leaves(decorator) if node.type == "identifier"]
    return bool(names) and not known.isdisjoint(names[:2])


def _asks_by_made_up_names(body: tree_sitter.Node, modules: Mapping[str, str]) -> bool:
    """Whether it asks something imported, or a module, for an attribute whose name no text says."""
    for node in _nodes(body):
        called = node.child_by_field_name("function") if node.type == "call" else None
        arguments = node.child_by_field_name("arguments") if called is not None else None
        if called is None or arguments is None or _text(called) not in _BY_NAME or len(arguments.named_children) < 2:
            continue
        asked, name = arguments.named_children[:2]
        is_module = not {*_words(asked)}.isdisjoint({*modules, "modules", "import_module", "__import__"})
        if is_module and (name.type != "string" or any(one.type == "interpolation" for one in name.named_children)):
            return True
    return False


def _words(node: tree_sitter.Node) -> frozenset[str]:
    found: set[str] = set()
    for leaf in _leaves(node):
        if leaf.type == "identifier":
            found.add(_text(leaf) if _text(leaf) != "__dict__" else _whose_dictionary(leaf))
        else:
            found.update(_WORD.findall(_text(leaf)))
    return frozenset(found)


def _whose_dictionary(name: tree_sitter.Node) -> str:
    """A word that says whose dictionary is asked for, where that has a name."""
    owner = name.parent.child_by_field_name("object") if name.parent is not None else None
    if owner is not None and owner.type == "attribute":
        owner = owner.child_by_field_name("attribute")
    is_named = owner is not None and owner.type == "identifier"
    return f"{_text(owner)}.__dict__" if owner is not None and is_named else "__dict__"


def _touched(body: tree_sitter.Node, modules: Mapping[str, str]) -> frozenset[str]:
    """Names with an attribute or an index, those handed to others or declared global, attributes of imported things."""
    found: set[str] = set()
    for node in _nodes(body):
        if node.type == "argument_list":
            found |= {_text(one) for one in node.named_children if one.type == "identifier"}
        if node.type in ("attribute", "subscript"):
            inner = node.child_by_field_name("object" if node.type == "attribute" else "value")
            found |= {_text(inner)} if inner is not None and inner.type == "identifier" else set()
        elif node.type == "global_statement":
            found |= _words(node)
        elif node.type in _ASSIGNMENTS:
            left = node.child_by_field_name("left")
            words = _words(left) if left is not None else _NO_WORDS
            found |= words if not words.isdisjoint(modules) else _NO_WORDS
    return frozenset(found)


def _has_call(node: tree_sitter.Node) -> bool:
    return any(one.type == "call" for one in _nodes(node))


def _nodes(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """It and all in it."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(one.named_children)


def _leaves(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.type in ("identifier", "string_content"):
            yield one
        else:
            waiting.extend(reversed(one.named_children))


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


RULES = LanguageRules(
    file_names=file_names,
    everything=EVERYTHING,
    members=MEMBERS,
    changers=CHANGERS,
    known_modules=frozenset(sys.stdlib_module_names) | {"builtins"},
)
