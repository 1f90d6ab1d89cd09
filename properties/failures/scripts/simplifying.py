"""Simplifies a script that is made of the harness's own source: works out what its case decides, and drops the rest.

A trial's case, device, dtype and implementation are known where a script is made. What follows from them becomes a
literal; so does what every call of a function gives it alike. Branches that are ruled out go, and whatever is not used.
"""

import ast
from collections.abc import Iterable, Mapping

from properties.cases.case import Case
from properties.failures.scripts.arguments import settle_arguments
from properties.failures.scripts.folding import Known, evaluated, fold, is_literal
from properties.failures.scripts.syntax import called_name, functions, is_stored, walk
from properties.failures.scripts.unused import drop_unused


def simplify(lines: Iterable[str], case: Case, device: str, instead: Mapping[str, str], *, alone: bool) -> list[str]:
    """The lines of a script, with what is known of its trial worked out, and without what it does not use.

    Args:
        lines: of the script, in which a trial is called so, and the layer ``Layer``.
        case: the trial's.
        device: the trial's.
        instead: what takes the place of functions, and of methods by ``"Class.method"``.
        alone: whether there is one trial in the script, and not others of other cases.
    """
    tree = ast.parse("\n".join(lines))
    tree.body = _with_others(tree.body, "", instead)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            node.body = _with_others(node.body, f"{node.name}.", instead)
    known = Known(case, device, alone, _varied(tree))
    drop_unused(tree, alone)
    after = ast.dump(tree)
    while True:
        before = after
        _find_constants(tree, known)
        empty = {function.name for function, _ in functions(tree) if isinstance(function.body[0], ast.Pass)}
        for function, names in functions(tree):
            fold(function, known, names, empty)
        drop_unused(tree, alone)
        settle_arguments(tree, known)
        ast.fix_missing_locations(tree)
        after = ast.dump(tree)
        if after == before:
            return _written(tree)


def _varied(tree: ast.Module) -> set[str]:
    """The parts of a case that some call replaces."""
    calls = (part for part in walk(tree) if isinstance(part, ast.Call) and called_name(part.func) == "replace")
    return {keyword.arg for call in calls for keyword in call.keywords if keyword.arg}


def _written(tree: ast.Module) -> list[str]:
    """Its lines, imports first, with an empty one around each definition."""
    imports = {ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    lines = sorted(imports, key=lambda line: (line.startswith("from"), line))
    for node in tree.body:
        if ast.unparse(node) in imports:
            continue
        apart = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if lines and lines[-1] and apart:
            lines.append("")
        lines += [*ast.unparse(node).splitlines(), *([""] if apart else [])]
    return lines


def _with_others(body: list[ast.stmt], prefix: str, instead: Mapping[str, str]) -> list[ast.stmt]:
    found: list[ast.stmt] = []
    for node in body:
        name = f"{prefix}{node.name}" if isinstance(node, ast.FunctionDef) else ""
        found += ast.parse(instead[name]).body if name in instead else [node]
    return found


def _find_constants(tree: ast.Module, known: Known) -> None:
    """Note names of the script that stand for a literal, or for a dictionary, once and for all."""
    stored = [part.id for part in walk(tree) if isinstance(part, ast.Name) and is_stored(part)]
    for node in tree.body:
        if not isinstance(node, ast.Assign) or len(node.targets) > 1:
            continue
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for name, given in pairs:
            if isinstance(name, ast.Name) and stored.count(name.id) == 1:
                if isinstance(given, ast.Dict):
                    known.constants[name.id] = given
                elif is_literal(given):
                    known.constants[name.id] = evaluated(given)
