"""The packages of the harness, told from others that are called so."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

# Where all packages of the harness lie side by side.
ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("oracles", "properties")


class ShadowedError(ImportError):
    """Another package is found under the name of one of the harness's."""


def import_harness(module: str) -> Any:
    """Import a module of the harness.

    Raises:
        ShadowedError: where a package of its name is another one.
    """
    for package in _PACKAGES:
        found = _place(package)
        if found != ROOT / package:
            raise ShadowedError(
                f"patchify_harness needs its own package {package!r}, in {ROOT}, but {found or 'another module'} comes "
                "first under that name: start Python from a folder without it, or give that package another name"
            )
    return importlib.import_module(module)


@contextmanager
def borrowed() -> Iterator[None]:
    """Within it the harness can be imported whatever else is called so, and afterwards it is not imported.

    Then a project finds its own package under the name.
    """
    held = _imported()
    _forget()
    sys.path.insert(0, str(ROOT))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT))
        _forget()
        sys.modules.update(held)


def _imported() -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _PACKAGES}


def _forget() -> None:
    for name in _imported():
        del sys.modules[name]


def _place(package: str) -> Path | None:
    """The folder of the package that is, or would be, imported under a name; None where that is no package."""
    try:
        spec = find_spec(package)
    except ValueError:  # It is in sys.modules, and has no spec.
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]).resolve() if places else None
