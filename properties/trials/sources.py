"""What an implementation is made of, and where that comes from."""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

# What the harness imports, some of it late.
OWN = ("properties", "oracles", "torch", "numpy", "hypothesis", "jsonschema", "rich")
# Where the packages of the harness lie side by side.
ROOT = Path(__file__).parents[2]


def module_spec(module: str) -> ModuleSpec | None:
    """Where a module would be found if it had not been imported yet: what was made while this runs is nowhere."""
    path = None
    spec = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = next(filter(None, (finder.find_spec(name, path) for finder in sys.meta_path)), None)
        except KeyError:  # It lies in a package without a file of its own, which has not been imported.
            return None
        if spec is None:
            return None
        path = spec.submodule_search_locations
        if path is None and name != module:
            return None
    return spec


def fingerprint(name: str) -> str:
    """A checksum of what an implementation is made of: its module, local ones that it imports, and their binaries.

    Local is what neither Python nor the harness has, nor is installed. It makes no difference where in a module it is
    imported.

    Args:
        name: ``"package.module:Name"``, which has been imported.
    """
    module = name.partition(":")[0]
    own = getattr(sys.modules[module], "__file__", None)
    return _checksum(
        {*_local_sources(module).values(), *_binaries(module.partition(".")[0]), *([Path(own)] if own else [])}
    )


def harness_version() -> str:
    """The version of the harness; it may also run from its source tree, uninstalled."""
    try:
        return version("patchify-harness")
    except PackageNotFoundError:
        return "not installed"


@cache
def harness_fingerprint() -> str:
    """A checksum of the harness's own source files."""
    return _checksum(file for room in ("oracles", "properties") for file in (ROOT / room).rglob("*.py"))


def _checksum(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(file.read_bytes())
    return found.hexdigest()[:16]


def _local_sources(module: str) -> dict[str, Path]:
    """The files of a module, of the packages that hold it, and of all that they import, by name."""
    known: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in known or not _is_local(name.partition(".")[0]) or (spec := module_spec(name)) is None:
            continue
        package = name.rpartition(".")[0]
        waiting += [package] if package else []
        if spec.has_location and spec.origin is not None:
            known[name] = file = Path(spec.origin)
            waiting += _imported(file, package if spec.submodule_search_locations is None else name)
    return known


def _imported(file: Path, package: str) -> Iterator[str]:
    """What a file imports, if it is a source file: modules, and names in them that may be modules."""
    try:
        tree = ast.parse(file.read_bytes() if file.suffix == ".py" else b"")
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _is_local(top: str) -> bool:
    """Whether a module or package at the top is neither Python's, nor the harness's, nor installed."""
    if not top or top in sys.stdlib_module_names or top in OWN or (spec := module_spec(top)) is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.has_location and spec.origin else ())]
    return bool(places) and not any(_is_installed(Path(place)) for place in places)


def _is_installed(path: Path) -> bool:
    folders = (Path(sysconfig.get_path(lib)).resolve() for lib in ("purelib", "platlib"))
    return any(path.resolve().is_relative_to(folder) for folder in folders)


def _binaries(top: str) -> Iterator[Path]:
    """The binaries of a local package, which it may load in other ways than by importing them."""
    for folder in sys.modules[top].__path__ if _is_local(top) and hasattr(sys.modules[top], "__path__") else ():
        yield from (file for file in Path(folder).rglob("*") if file.suffix in (".so", ".pyd"))


def origin(implementation: Callable[..., Any], name: str) -> str:
    """The file that an implementation which has been imported comes from, and the distribution that installed it."""
    module = sys.modules.get(getattr(implementation, "__module__", None) or name.partition(":")[0])
    file = getattr(module, "__file__", None)
    if file is None:
        return "no file"
    path, here = Path(file).resolve(), Path.cwd().resolve()
    shown = str(path.relative_to(here) if path.is_relative_to(here) else path)
    if not _is_installed(path):
        return shown
    top = module.__name__.partition(".")[0] if module else ""
    installed = ", ".join(f"{one} {version(one)}" for one in sorted(set(packages_distributions().get(top, ()))))
    return f"{shown} ({installed})" if installed else shown
