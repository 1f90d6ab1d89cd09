"""Finds the implementation that is to be verified."""

import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from properties.trials.sources import OWN, ROOT, module_spec

# Whatever it returns is checked, not believed: hence Any.
Implementation = Callable[..., Any]
DEFAULT_IMPLEMENTATION = "patchify:Patchify"


class CannotRun(ValueError):  # noqa: N818 - it reads as what happened, in messages and in except clauses
    """Nothing was verified: what was asked for does not exist here or does not fit together."""


def said(error: BaseException | None) -> str:
    """The text of an exception; one of a layer may raise another where it is asked for it."""
    try:
        return str(error)
    except (Exception, SystemExit):
        return "an exception whose text raises another one"


def resolve(implementation: Implementation | str) -> tuple[Implementation, str]:
    """The callable to verify, and its name.

    Args:
        implementation: anything that takes Patchify's arguments and returns a module, or where to import it from:
            ``"package.module:Name"``, as ``python -m`` would find it: in the current folder first.

    Raises:
        CannotRun: where there is no such thing.
    """
    if not isinstance(implementation, str):
        if not callable(implementation):
            raise CannotRun(f"implementation must be callable or 'package.module:Name', got {implementation!r}")
        _refuse_module(implementation)
        return implementation, _name(implementation)
    module_name, colon, attribute = implementation.partition(":")
    if not (module_name and colon and attribute):
        raise CannotRun(f"implementation must be of the form 'package.module:Name', got {implementation!r}")
    try:
        found: object = import_module(module_name)
    # A module under test may raise anything while it is imported, SystemExit included.
    except (Exception, SystemExit) as error:
        raise CannotRun(
            f"cannot import implementation {implementation!r}: {type(error).__name__}: {said(error)}{_shadowed()}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise CannotRun(
                f"cannot import implementation {implementation!r}: {module_name} has no {attribute!r}{_shadowed()}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise CannotRun(f"implementation {implementation!r} must be callable, got {type(found).__name__}")
    _refuse_module(found)
    return found, implementation


def _shadowed() -> str:
    """What the current folder has that is called as a package of the harness, in words; empty where that is nothing."""
    here = Path.cwd()
    told = {
        name: f"./{name} cannot be imported beside the harness's package of that name: give yours another one"
        for name in ("oracles", "properties")
    }
    told["patchify"] = "patchify is ./patchify here, not the package of the harness"
    return "".join(f"; {words}" for name, words in told.items() if (here / name).is_dir() and here != ROOT)


def _refuse_module(found: object) -> None:
    """Refuse a layer that is built, where what builds one is needed; torch need not be imported to tell."""
    if not isinstance(found, type) and hasattr(found, "named_parameters"):
        name = type(found).__name__
        raise CannotRun(f"{name} is built already: give what builds it, or verify_instance(module, example_input)")


def importable(implementation: Implementation, name: str) -> bool:
    """Whether other processes, too, find an implementation by its name."""
    module = name.partition(":")[0]
    if module == "__main__" or module_spec(module) is None:
        return False
    try:
        return bool(resolve(name)[0] == implementation)
    except CannotRun:
        return False


def import_module(name: str) -> ModuleType:
    """Import a module as ``python -m`` does: from the current folder before what is installed.

    What the harness itself needs is imported first, so that a folder which has something of that name changes nothing.
    """
    for own in OWN:
        with suppress(ImportError):
            importlib.import_module(own)
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        with suppress(ValueError):
            sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


def _name(implementation: Implementation) -> str:
    module = getattr(implementation, "__module__", type(implementation).__module__)
    held = vars(sys.modules[module]).items() if module in sys.modules else ()
    # An object has no name but that of the variable that holds it.
    variable = next((name for name, value in held if value is implementation), f"<{type(implementation).__qualname__}>")
    name = getattr(implementation, "__qualname__", variable)
    return f"{module}:{name}"
