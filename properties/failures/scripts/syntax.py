"""What the syntax tree of a script says: names, and where they are read."""

import ast
from collections.abc import Callable
from typing import Any


def walk(tree: ast.AST) -> list[ast.AST]:
    """All nodes, as ``ast.walk`` orders them, in a fraction of its time; without what only says how names are used."""
    found = [tree]
    for node in found:
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                found += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST) and field != "ctx":
                found.append(value)
    return found


def functions(tree: ast.Module) -> list[tuple[ast.FunctionDef, tuple[str, ...]]]:
    """Every function and method of a script, and the names by which it knows the trial."""
    found: list[tuple[ast.FunctionDef, tuple[str, ...]]] = []
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        own = ("self",) if isinstance(node, ast.ClassDef) and node.name == "Trial" else ()
        for one in members:
            if isinstance(one, ast.FunctionDef):
                given = [argument.arg for argument in walk(one.args) if isinstance(argument, ast.arg)]
                found.append((one, (*own, *(["trial"] if "trial" in given else []))))
    return found


class Without(ast.NodeTransformer):
    """Drops nodes, and what they leave empty."""

    def __init__(self, is_dropped: Callable[[ast.AST], bool]) -> None:
        self.is_dropped = is_dropped
        self.dropped = 0

    def visit(self, node: ast.AST) -> Any:
        """Drop it, or look inside."""
        if self.is_dropped(node):
            self.dropped += 1
            return None
        self.generic_visit(node)
        if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[union-attr]
        return node


def dotted(node: ast.expr) -> str:
    """``a.b.c``; empty for what is no name."""
    if isinstance(node, ast.Attribute):
        holder = dotted(node.value)
        return f"{holder}.{node.attr}" if holder else ""
    return node.id if isinstance(node, ast.Name) else ""


def calls(node: ast.expr, name: str) -> bool:
    """Whether an expression calls something of a name."""
    return isinstance(node, ast.Call) and called_name(node.func) == name


def is_stored(node: ast.AST) -> bool:
    """Whether a name is given to something there, and not read."""
    return isinstance(getattr(node, "ctx", None), ast.Store | ast.Del)


def loaded(tree: ast.AST) -> set[str]:
    """The names that are read."""
    return {part.id for part in walk(tree) if isinstance(part, ast.Name) and not is_stored(part)}


def globals_of(node: ast.AST) -> set[str]:
    """Names that are read from outside of a definition."""
    if isinstance(node, ast.ClassDef):
        return set().union(*map(loaded, (*node.decorator_list, *node.bases)), *map(globals_of, node.body))
    parts = walk(node)
    names = [part for part in parts if isinstance(part, ast.Name)]
    local: set[str] = set()
    if isinstance(node, ast.FunctionDef):
        local |= {part.arg for part in parts if isinstance(part, ast.arg)}
        local |= {part.id for part in names if is_stored(part)}
    return {part.id for part in names if not is_stored(part)} - local


def called_name(node: ast.expr) -> str:
    """The name of a variable or an attribute; empty for what is neither."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
