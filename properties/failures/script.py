"""A failed case as a Python file that is made of the law's own source, and of what that uses of the harness.

It needs torch and NumPy, which makes the numbers; the layer that failed is imported, whichever it is.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from properties.cases.case import Case
from properties.failures.pruning import Source, prune
from properties.laws.law import Law
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial

# Whether a failure is torch's own is found out by the harness, before a record is written.
_INSTEAD = {("properties.trials.fault_scripts", "script_fails"): "def script_fails(*_): return False"}


def script_of_the_law(law: Law, module: str, layer: list[str], device: str, case: Case) -> list[str]:
    """The lines of a script that judges a layer by a law: it raises what the law raises.

    Args:
        law: which one.
        module: what defines the layer, an importable name.
        layer: the identifiers that lead to the layer from there.
        device: the name of a device.
        case: what the layer failed on.
    """
    judge, trial, quiet = (law.judge.__module__, law.name), _source(Trial), _source(undisturbed)
    pruned = prune({judge, trial, quiet, *_classes(case)}, ["output"], _INSTEAD)
    names = pruned.names
    return [
        *pruned.lines,
        f"from {module} import {layer[0]} as Layer",
        "",
        f"case = {_literal(case, names)}",
        f"with {names[quiet]}({device!r}, tf32={case.tf32}):",
        f"    trial = {names[trial]}(case, {'.'.join(['Layer', *layer[1:]])}, {device!r})",
        *(["    trial.output()"] if law.needs_output else []),
        f"    {names[judge]}(trial)",
    ]


def _source(found: type | object) -> Source:
    module, name = found.__module__, getattr(found, "__name__", "")
    return str(module), str(name)


def _classes(value: object) -> Iterator[Source]:
    """The data classes that some plain data is made of."""
    if is_dataclass(value):
        yield _source(type(value))
        for member in fields(value):
            yield from _classes(getattr(value, member.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _classes(item)


def _literal(value: object, names: dict[Source, str]) -> str:
    """Plain data as an expression; it was checked when it was read, and its texts stand between quotes."""
    if is_dataclass(value):
        members = (f"{member.name}={_literal(getattr(value, member.name), names)}" for member in fields(value))
        return f"{names[_source(type(value))]}({', '.join(members)})"
    if isinstance(value, tuple):
        return f"({''.join(f'{_literal(item, names)}, ' for item in value).rstrip()})"
    if not isinstance(value, str | bool | int | float | None):
        raise TypeError(f"a case holds plain data alone, got {type(value).__name__}")
    return repr(value)
