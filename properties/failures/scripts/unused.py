"""Drops what a script does not use."""

import ast

from properties.failures.scripts.syntax import Without, dotted, globals_of, is_stored, walk


def drop_unused(tree: ast.Module, alone: bool) -> None:
    """Drop definitions, imports, methods and notes that nothing reads.

    Args:
        tree: of a script.
        alone: whether its trial is the only one, so that ``trial`` and ``self`` are its only names.
    """
    while True:
        defined: dict[str, list[ast.stmt]] = {}
        for node in tree.body:
            for name in _defined(node):
                defined.setdefault(name, []).append(node)
        # What is done, and what that uses in turn.
        used = [node for node in tree.body if not _defined(node)]
        for node in used:
            new = [one for name in globals_of(node) for one in defined.pop(name, [])]
            used += [one for one in new if one not in used]
        tree.body = [node for node in tree.body if node in used]
        anywhere, of_trial = _attributes_read(tree)
        dropped = 0
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.bases:
                read = of_trial if node.name == "Trial" and alone else anywhere
                without = Without(lambda part: _is_unread(part, read))  # noqa: B023 - used at once
                without.visit(node)
                dropped += without.dropped
        if not dropped:
            return


def _defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a script gives to something."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=imported) | ast.ImportFrom(names=imported):
            return [(alias.asname or alias.name).partition(".")[0] for alias in imported]
        case ast.Assign(targets=targets):
            parts = [part for target in targets for part in walk(target)]
            return [part.id for part in parts if isinstance(part, ast.Name) and is_stored(part)]
    return []


def _attributes_read(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Attributes that are read anywhere, and those that are read from the trial; not to note them anew."""
    anywhere: set[str] = set()
    of_trial: set[str] = set()
    for node in tree.body:
        in_trial = isinstance(node, ast.ClassDef) and node.name == "Trial"
        parts = walk(node)
        noted_anew = {
            id(part)
            for note in parts
            if isinstance(note, ast.Assign) and isinstance(note.targets[0], ast.Attribute)
            for part in walk(note.value)
            if isinstance(part, ast.Attribute) and dotted(part) == dotted(note.targets[0]) != ""
        }
        for part in parts:
            if isinstance(part, ast.Attribute) and not is_stored(part) and id(part) not in noted_anew:
                anywhere.add(part.attr)
                if dotted(part.value) == "trial" or (in_trial and dotted(part.value) == "self"):
                    of_trial.add(part.attr)
    return anywhere, of_trial


def _is_unread(node: ast.AST, read: set[str]) -> bool:
    """Whether it is a method that is never called, or notes on ``self`` what is never read."""
    match node:
        case ast.FunctionDef(name="__init__", args=ast.arguments(args=[_]), body=[ast.Pass()]):
            return True
        case ast.FunctionDef(name=name, args=ast.arguments(args=[ast.arg(arg="self"), *_])):
            return not name.startswith("__") and name not in read
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)]):
            return name not in read
        case ast.AugAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name)):
            return name not in read
    return False
