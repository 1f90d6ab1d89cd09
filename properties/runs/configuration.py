"""Options that stand in the ``pyproject.toml`` of the project that is worked on, under ``[tool.patchify]``.

They are what the command and pytest take where their command line does not say otherwise; ``verify`` has its arguments.
"""

import argparse
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from properties.runs.options import OPTIONS, Option
from properties.trials.implementation import CannotRun

_TABLE = "[tool.patchify]"
# What is about one run, and not about a project.
_OF_ONE_RUN = ("resume", "run-dir", "shard")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CannotRun(message)


def configuration() -> tuple[Path, dict[str, Any]] | None:
    """The nearest ``pyproject.toml`` above the current folder that has the table, and the table; None without one.

    Raises:
        CannotRun: where such a file cannot be read.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        file = folder / "pyproject.toml"
        try:
            tool = tomllib.loads(file.read_text(encoding="utf-8")).get("tool")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise CannotRun(f"{file} cannot be read: {error}") from error
        if isinstance(tool, dict) and "patchify" in tool:
            if not isinstance(tool["patchify"], dict):
                raise CannotRun(f"{_TABLE} in {file} must be a table, got {tool['patchify']!r}")
            return file, tool["patchify"]
    return None


def configured(door: str) -> dict[str, Any]:
    """What the project configures for a command, or for pytest: parsed values, by the members of their options.

    Args:
        door: ``run`` or ``pytest``; options of the other one are checked, and are not given.

    Raises:
        CannotRun: where the table names no option, or one has a value that its command line would not take.
    """
    found = configuration()
    if found is None:
        return {}
    file, table = found
    taken = (option for option in OPTIONS if {"run", "pytest"} & set(option.doors))
    options = {option.flag: option for option in taken if option.flag not in _OF_ONE_RUN}
    parser = _Parser(add_help=False, exit_on_error=False)
    for option in options.values():
        parser.add_argument(f"--{option.flag}", **option.details)
    given = {}
    for flag, value in table.items():
        if flag not in options:
            raise CannotRun(f"{_TABLE} in {file} names {flag!r}, which is none of: {', '.join(options)}")
        try:
            parsed = getattr(parser.parse_args([*_words(options[flag], value)]), options[flag].member)
        except (CannotRun, argparse.ArgumentError) as error:
            raise CannotRun(f"{_TABLE} in {file}: {error}") from error
        if door in options[flag].doors:
            given[options[flag].member] = file.parent / parsed if isinstance(parsed, Path) else parsed
    return given


def configured_flags() -> frozenset[str]:
    """The options that the project configures, by their flags; none where its file cannot be read."""
    try:
        found = configuration()
    except CannotRun:
        return frozenset()
    return frozenset(found[1]) if found else frozenset()


def words_on(configured: Iterable[str]) -> str:
    """What is said of options that the project configures, by the names of their members, at least one."""
    return f"from {_TABLE}: {', '.join(name.replace('_', '-') for name in configured)}"


def _words(option: Option, value: Any) -> Iterator[str]:
    """A value as it stands on a command line."""
    flag = f"--{option.flag}"
    match value:
        case bool() if option.details.get("action") == "store_true":
            yield from [flag] if value else []
        case Mapping() if option.details.get("action") == "append":
            yield from (f"{flag}={name}={reason}" for name, reason in value.items())
        case Mapping() if option.flag == "domain":
            yield f"{flag}={json.dumps(value)}"
        case list():
            yield f"{flag}={','.join(map(str, value))}"
        case str() | int() | float() if not isinstance(value, bool):
            yield f"{flag}={value}"
        case _:
            raise CannotRun(f"{option.flag} cannot be {value!r}")
