"""Find uses of what a rewritten class no longer has: bugs that break an import or call what was plainly removed.

A rewrite of a class is refused when, in the same file,

- its body uses, while it is executed, a name of its own that is not defined yet (a setter above its property);
- a method that it lost is still used through `self`, `cls`, the class's name or an instance's type, in the class or in
  a class of the file that derives from it, and no base that is known (`object`, built-in, in the same file) has it;
- it lost a base, and module-level code calls it with arguments that only the base's constructor takes, subscripts it,
  reads an attribute that it had from the base, or its own header still passes keywords to the base.

A use in a function of another class, through an unknown object, is what a test should find, and is left.
"""

import ast
import builtins
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar, cast
from weakref import WeakKeyDictionary

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

_Fact = TypeVar("_Fact")


class _Classes(NamedTuple):
    """The classes of the rewritten module by plain name; of two of a name, the first."""

    by_name: Mapping[str, ast.ClassDef]

    def provides(self, name: str, attribute: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a class of this name is known to have the attribute."""
        if name in seen:
            return False
        if name in self.by_name:
            node = self.by_name[name]
            return attribute in _bound(node) or self.inherits(node, attribute, seen | {name})
        known = getattr(builtins, name, None)
        return isinstance(known, type) and hasattr(known, attribute)

    def inherits(self, node: ast.ClassDef, attribute: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a base of the class, `object` included, is known to have the attribute."""
        names = [base.id for base in node.bases if isinstance(base, ast.Name)]
        return hasattr(object, attribute) or any(self.provides(name, attribute, seen) for name in names)

    def derived_from(self, name: str) -> Iterator[ast.ClassDef]:
        """Classes of the file that name it, or one of its heirs, as a base."""
        found, pending = {name}, [name]
        while pending:
            current = pending.pop()
            for node in self.by_name.values():
                if node.name not in found and any(isinstance(b, ast.Name) and b.id == current for b in node.bases):
                    found.add(node.name)
                    pending.append(node.name)
                    yield node


def dangling_reference(module: ast.Module, old: ast.ClassDef, new: ast.ClassDef) -> str:
    """What still uses something that `new`, which stands in `module` in place of `old`, has lost; empty if nothing."""
    classes = _Classes({node.name: node for node in reversed(list(_classes(module)))})
    own = _defined(old)
    early = _used_too_early(new, own, module) - _used_too_early(old, own, module)
    if early:
        return f"{', '.join(sorted(early))} is used in the class body before it is defined"
    lost = {name for name in own - _bound(new) if not classes.inherits(new, name)}
    used = lost & _attributes_used(module, new, classes)
    if used:
        return f"{', '.join(sorted(used))} was removed from {new.name} and is still used"
    if len(new.bases) < len(old.bases):
        return _use_of_lost_base(module, new, classes)
    return ""


def _classes(module: ast.Module) -> Iterator[ast.ClassDef]:
    """All classes, in the order of `ast.walk`; expressions, which hold none, are not walked."""
    pending: deque[ast.AST] = deque([module])
    while pending:
        node = pending.popleft()
        if isinstance(node, ast.ClassDef):
            yield node
        for name in ("body", "handlers", "cases", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                pending.extend(block)


def _bound(node: ast.ClassDef) -> set[str]:
    """Names that the class has of its own: defined in its body, or assigned through `self`."""
    assigned = {
        child.attr
        for child in ast.walk(node)
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store) and _is_own(child.value, {"self"})
    }
    return _defined(node) | assigned


def _defined(node: ast.ClassDef) -> set[str]:
    """Names that the body of the class defines."""
    return {name for statement in node.body for name in _defined_by(statement)}


def _defined_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return {statement.name}
    names = set()
    for child in _executed([statement]):
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            names.add(child.name)
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            names.add(child.id)
        elif isinstance(child, ast.alias):
            names.add((child.asname or child.name).partition(".")[0])
    return names


def _executed(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes that are evaluated when the statements run, without the bodies of functions and nested classes."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node
                annotations = [argument.annotation for argument in _arguments(node.args)] + [node.returns]
                defaults = [*node.args.defaults, *node.args.kw_defaults]
                evaluated = [*node.decorator_list, *defaults, *annotations]
                yield from _executed(child for child in evaluated if child is not None)
            case ast.ClassDef():
                yield node
                yield from _executed([*node.decorator_list, *node.bases, *(k.value for k in node.keywords)])
            case ast.Lambda():
                yield from _executed(child for child in [*node.args.defaults, *node.args.kw_defaults] if child)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                # Only the first iterable is evaluated where the comprehension stands.
                yield from _executed([node.generators[0].iter])
            case _:
                yield node
                yield from _executed(ast.iter_child_nodes(node))


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [argument for argument in every if argument is not None]


def _used_too_early(node: ast.ClassDef, own: set[str], module: ast.Module) -> set[str]:
    """Names of the class's own that its body reads above their definition, and that nothing around it has."""
    elsewhere = set(dir(builtins)).union(*(_remembered(_defined_by, statement) for statement in module.body))
    defined: set[str] = set()
    early: set[str] = set()
    for statement in node.body:
        for child in _executed([statement]):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
                early |= {child.id} & own - defined - elsewhere
        defined |= _defined_by(statement)
    return early


def _attributes_used(module: ast.Module, node: ast.ClassDef, classes: _Classes) -> set[str]:
    """Attributes read through the class's name anywhere, or through an instance in the class and its heirs."""
    everywhere = [_remembered(_attributes_by_name, statement) for statement in module.body]
    used = {attribute for by_name in everywhere for attribute in by_name.get(node.name, ())}
    for heir in [node, *classes.derived_from(node.name)]:
        own = {"self", "cls"} | {
            method.args.args[0].arg for method in heir.body if isinstance(method, _FUNCTIONS) and method.args.args
        }
        overridden = set() if heir is node else _bound(heir)
        for child in ast.walk(heir):
            if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Load) and child.attr not in overridden:
                through_super = heir is not node and _is_call_of(child.value, "super")
                used |= {child.attr} if through_super or _is_own(child.value, own) else set()
    return used


def _attributes_by_name(statement: ast.stmt) -> dict[str, set[str]]:
    """What is read or set as `name.attribute` anywhere in the statement."""
    found: dict[str, set[str]] = {}
    for child in ast.walk(statement):
        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
            found.setdefault(child.value.id, set()).add(child.attr)
    return found


_KNOWN: WeakKeyDictionary[ast.stmt, dict[object, object]] = WeakKeyDictionary()


def _remembered(fact: Callable[[ast.stmt], _Fact], statement: ast.stmt) -> _Fact:
    """A fact of a statement, which the trees of all rewrites of one file share."""
    known = _KNOWN.setdefault(statement, {})
    if fact not in known:
        known[fact] = fact(statement)
    return cast("_Fact", known[fact])


def _is_own(node: ast.expr, names: set[str]) -> bool:
    """Whether the expression is `self`, `cls`, `type(self)` or `self.__class__`."""
    match node:
        case ast.Name():
            return node.id in names
        case ast.Call(args=[argument]) if _is_call_of(node, "type"):
            return _is_own(argument, names)
        case ast.Attribute(attr="__class__"):
            return _is_own(node.value, names)
        case _:
            return False


def _is_call_of(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _use_of_lost_base(module: ast.Module, node: ast.ClassDef, classes: _Classes) -> str:
    if not node.bases and any(keyword.arg != "metaclass" for keyword in node.keywords):
        return f"{node.name} lost its base and still passes keywords to it"
    constructs = bool({"__init__", "__new__"} & _defined(node) or node.decorator_list)
    for use in _at_import(module):
        match use:
            case ast.Call(func=ast.Name(id=name)) if (
                name == node.name and (use.args or use.keywords) and not constructs
            ):
                return f"{node.name} lost its base and is called with arguments at import"
            case ast.Subscript(value=ast.Name(id=name)) if name == node.name:
                if not classes.provides(name, "__class_getitem__"):
                    return f"{node.name} lost its base and is subscripted at import"
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == node.name:
                if not classes.provides(name, attribute) and not hasattr(type, attribute):
                    return f"{node.name} lost its base and {attribute} is read from it at import"
            case _:
                pass
    return ""


def _at_import(module: ast.Module) -> Iterator[ast.AST]:
    """Everything that is evaluated when the module is imported, bodies of classes included."""
    yield from _executed(module.body)
    for node in _classes(module):
        yield from _executed(node.body)
