"""Finds the implementation that is to be verified."""

import hashlib
import importlib
import os
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

# Whatever it returns is checked, not believed: hence Any.
Implementation = Callable[..., Any]
DEFAULT_IMPLEMENTATION = "patchify:Patchify"
# What the harness imports, some of it late.
_OWN = ("properties", "oracles", "torch", "numpy", "hypothesis", "jsonschema", "rich")


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
            f"cannot import implementation {implementation!r}: {type(error).__name__}: {said(error)}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise CannotRun(f"cannot import implementation {implementation!r}: {module_name} has no {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise CannotRun(f"implementation {implementation!r} must be callable, got {type(found).__name__}")
    _refuse_module(found)
    return found, implementation


def _refuse_module(found: object) -> None:
    """Refuse a layer that is built, where what builds one is needed; torch need not be imported to tell."""
    if not isinstance(found, type) and hasattr(found, "named_parameters"):
        name = type(found).__name__
        raise CannotRun(f"{name} is built already: give what builds it, or verify_instance(module, example_input)")


def importable(implementation: Implementation, name: str) -> bool:
    """Whether other processes, too, find an implementation by its name."""
    module = name.partition(":")[0]
    if module == "__main__" or not _is_found(module):
        return False
    try:
        return bool(resolve(name)[0] == implementation)
    except CannotRun:
        return False


def _is_found(module: str) -> bool:
    """Whether a module would be found if it had not been imported yet: what was made while this runs is not."""
    path = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next((spec for spec in specs if spec), None)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return True


def fingerprint(name: str) -> str:
    """A checksum of the source files and binaries of the package that holds an implementation, or of its one file.

    Args:
        name: ``"package.module:Name"``, which has been imported.
    """
    top = sys.modules[name.partition(".")[0].partition(":")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", ())]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".so", ".pyd")]
    one = getattr(top, "__file__", None)
    found = hashlib.sha256()
    for file in sorted(files) if folders else [Path(one)] if one else []:
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def origin(implementation: Implementation, name: str) -> str:
    """The file that an implementation which has been imported comes from, and the distribution that installed it."""
    module = sys.modules.get(getattr(implementation, "__module__", None) or name.partition(":")[0])
    file = getattr(module, "__file__", None)
    if file is None:
        return "no file"
    path, here = Path(file).resolve(), Path.cwd().resolve()
    shown = str(path.relative_to(here) if path.is_relative_to(here) else path)
    if not any(path.is_relative_to(Path(sysconfig.get_path(lib)).resolve()) for lib in ("purelib", "platlib")):
        return shown
    top = module.__name__.partition(".")[0] if module else ""
    installed = ", ".join(f"{one} {version(one)}" for one in sorted(set(packages_distributions().get(top, ()))))
    return f"{shown} ({installed})" if installed else shown


def import_module(name: str) -> ModuleType:
    """Import a module as ``python -m`` does: from the current folder before what is installed.

    What the harness itself needs is imported first, so that a folder which has something of that name changes nothing.
    """
    for own in _OWN:
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
