"""Takes from the harness's own source what some of its functions and classes use, and nothing else.

Names of the harness's modules become names of one file: a name that two modules define gets its module's before it.
Methods of a class are kept where an attribute of their name is used anywhere. Docstrings, annotations and the
declarations of laws are dropped.
"""

import ast
import copy
import importlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

from properties.failures.scripts.syntax import walk

OURS = ("oracles", "properties")
# Modules of laws of one's own, which are taken apart like ours.
_OF_LAWS: set[str] = set()
Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
# Where a name is defined: the module, and the name there; "" for the module itself.
Source = tuple[str, str]


@dataclass(frozen=True)
class _Module:
    """A module's definitions by name, in order, and where its other names come from."""

    definitions: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, Source] = field(default_factory=dict)


@cache
def _module(name: str) -> _Module:
    module = _Module()
    for node in ast.parse(inspect.getsource(importlib.import_module(name))).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                module.definitions[node.name] = node
            case ast.Assign() | ast.AnnAssign():
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for part in walk(target):
                        if isinstance(part, ast.Name):
                            module.definitions[part.id] = node
            case ast.Import():
                for alias in node.names:
                    first = alias.name.partition(".")[0]
                    module.imports[alias.asname or first] = (alias.name if alias.asname else first, "")
            case ast.ImportFrom(module=str() as source):
                for alias in node.names:
                    module.imports[alias.asname or alias.name] = (source, alias.name)
    return module


@cache
def _find(module: str, name: str) -> Source | None:
    """Where a global name of a module comes from; None for one of Python's own."""
    found = _module(module)
    if name in found.definitions:
        return module, name
    if name not in found.imports:
        return None
    source, attribute = found.imports[name]
    if not _is_ours(source):
        return source, attribute
    if not attribute or isinstance(getattr(importlib.import_module(source), attribute, None), ModuleType):
        return ".".join(filter(None, (source, attribute))), ""
    return _find(source, attribute)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in OURS or module in _OF_LAWS


class _Plain(ast.NodeTransformer):
    """Drops annotations and docstrings, and the declaration of a law."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        node.decorator_list = [
            one
            for one in node.decorator_list
            if not (isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "law")
        ]
        node.body = _without_docstring(node.body)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        # The fields of a data class stay annotated, which makes them fields.
        node.body = [
            ast.AnnAssign(one.target, ast.Name("object", ast.Load()), one.value, one.simple)
            if isinstance(one, ast.AnnAssign)
            else self.visit(one)
            for one in _without_docstring(node.body)
        ]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return ast.Assign([node.target], node.value, lineno=node.lineno) if node.value else None


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:] or [ast.Pass()]
    return body


class _Renamed(ast.NodeTransformer):
    """Gives the names of a module those of the file, and notes what is used."""

    def __init__(self, module: str, names: dict[Source, str]) -> None:
        self.module, self.names = module, names
        self.used: set[Source] = set()
        self.attributes: set[str] = set()
        # What the module calls things that it imports from elsewhere.
        self.called: dict[Source, str] = {}
        self.local: list[set[str]] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(one) for one in node.decorator_list]
        parts = [part for statement in node.body for part in walk(statement)]
        stored = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        stored |= {part.name for part in parts if isinstance(part, ast.FunctionDef | ast.ClassDef)}
        stored |= {part.name for part in parts if isinstance(part, ast.MatchAs | ast.ExceptHandler) and part.name}
        given = {part.arg for part in walk(node.args) if isinstance(part, ast.arg)}
        node.args = self.visit(node.args)
        self.local.append(stored | given)
        node.body = [self.visit(one) for one in node.body]
        self.local.pop()
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        self.local.append({part.arg for part in walk(node.args) if isinstance(part, ast.arg)})
        self.generic_visit(node)
        self.local.pop()
        return node

    def source(self, name: str) -> Source | None:
        return None if any(name in names for names in self.local) else _find(self.module, name)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        source = self.source(node.id)
        if source is None:
            return node
        self.used.add(source)
        if not _is_ours(source[0]):
            self.called.setdefault(source, node.id)
        return ast.Name(self.names.get(source, node.id), node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            source = self.source(node.value.id)
            if source and _is_ours(source[0]) and not source[1]:
                found = _find(source[0], node.attr)
                assert found is not None
                self.used.add(found)
                return ast.Name(self.names.get(found, found[1]), node.ctx)
        self.attributes.add(node.attr)
        return self.generic_visit(node)


def _methods(source: Source, attributes: set[str]) -> frozenset[str]:
    """The methods of a class that are kept: all where it is derived from another, which may call any of them."""
    module, name = source
    node = _module(module).definitions[name]
    if not isinstance(node, ast.ClassDef):
        return frozenset()
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
    return frozenset(one for one in methods if node.bases or one in attributes or one.startswith("__"))


def _kept(source: Source, methods: frozenset[str]) -> Definition:
    """A definition with the named methods alone."""
    module, name = source
    node = copy.copy(_module(module).definitions[name])
    if isinstance(node, ast.ClassDef):
        node.body = [one for one in node.body if not isinstance(one, ast.FunctionDef) or one.name in methods]
        node.body = node.body or [ast.Pass()]
    plain = ast.fix_missing_locations(_Plain().visit(copy.deepcopy(node)))
    assert isinstance(plain, Definition)
    return plain


@cache
def _read(source: Source, methods: frozenset[str]) -> _Renamed:
    """What a definition uses."""
    seen = _Renamed(source[0], {})
    seen.visit(_kept(source, methods))
    return seen


@dataclass(frozen=True)
class Pruned:
    """The lines of a file that define some things, and what each of them is called there."""

    lines: list[str]
    names: dict[Source, str]


def prune(roots: set[Source], methods: Iterable[str] = (), instead: Mapping[Source, str] | None = None) -> Pruned:
    """The source of some functions and classes, and of all that they use.

    Args:
        roots: what is wanted.
        methods: those of its classes that are used from outside.
        instead: the source of functions that are written otherwise there, and use nothing.
    """
    _OF_LAWS.update(module for module, _ in roots)
    others = instead or {}
    used, attributes = set(roots), set(methods)
    called: dict[Source, str] = {}
    while True:
        before = len(used), len(attributes)
        for source in sorted(source for source in used if _is_ours(source[0]) and source not in others):
            seen = _read(source, _methods(source, attributes))
            used |= seen.used
            attributes |= seen.attributes
            called = seen.called | called
        if (len(used), len(attributes)) == before:
            break
    own = [source for source in used if _is_ours(source[0])]
    taken = [name for _, name in own]
    names = dict(called)
    for module, name in own:
        # Functions that laws call by their module have names that are local ones elsewhere.
        by_module = module.startswith("oracles.") and isinstance(_module(module).definitions[name], ast.FunctionDef)
        short = module.rpartition(".")[2]
        names[module, name] = f"{short}_{name.strip('_')}" if by_module or taken.count(name) > 1 else name
    lines = [*sorted(_import(source, name) for source, name in called.items()), ""]
    for module in _in_order({module for module, _ in own}):
        written: list[Definition] = []
        for name, node in _module(module).definitions.items():
            if (module, name) not in names or node in written:
                continue
            written.append(node)
            if (module, name) in others:
                lines += [*others[module, name].splitlines(), ""]
                continue
            renamed = _Renamed(module, names).visit(_kept((module, name), _methods((module, name), attributes)))
            if isinstance(renamed, ast.FunctionDef | ast.ClassDef):
                renamed.name = names[module, name]
            lines += [*ast.unparse(renamed).splitlines(), ""]
    return Pruned(lines, names)


def _import(source: Source, name: str) -> str:
    module, attribute = source
    statement, imported = (
        (f"from {module} import {attribute}", attribute) if attribute else (f"import {module}", module)
    )
    return statement if name == imported else f"{statement} as {name}"


def _in_order(modules: set[str]) -> list[str]:
    """Modules after those that they import."""
    ordered: list[str] = []
    visited: set[str] = set()

    def visit(module: str) -> None:
        if module in visited or not _is_ours(module):
            return
        visited.add(module)
        for source, attribute in _module(module).imports.values():
            visit(source)
            if f"{source}.{attribute}" in modules:
                visit(f"{source}.{attribute}")
        if module in modules:
            ordered.append(module)

    for module in sorted(modules):
        visit(module)
    return ordered
