"""What can be asked for: declared here once, for the command, pytest, ``verify``, plans, and what repeats a run.

This imports neither torch nor what needs it, since the plugin is loaded in every run of pytest.
"""

import argparse
import json
import math
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from properties.trials.implementation import DEFAULT_IMPLEMENTATION, CannotRun

DEFAULT_DEVICE = "cpu"
DEFAULT_STRENGTH = 2
DEFAULT_CASE_TIMEOUT = 600.0
# Microseconds of a core in a period of so many, or "max" in place of the first.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# What stands before the names of the options under pytest.
PREFIX = "patchify-"


def duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``10m`` or ``2h``."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    number = text[:-1] if unit else text
    try:
        seconds = float(number) * (unit or 1)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a duration such as 90, 90s, 10m or 2h, got {text!r}")
    return seconds


@dataclass(frozen=True)
class Profile:
    """How much a run does: what it gives the arguments of ``verify`` that are called so."""

    cases: int
    strength: int
    scope_sample: int = 1
    compile: bool = True

    @property
    def words(self) -> str:
        """What it does, for a person."""
        levels = {0: "", 2: ", every pair of levels", 3: ", every triple of levels"}[self.strength]
        scope = "" if self.scope_sample == 1 else f", one of {self.scope_sample} small shapes"
        return f"{self.cases:,} random cases{levels}{scope}{'' if self.compile else ', nothing compiled'}"


PROFILES = {
    "smoke": Profile(60, 0, scope_sample=20, compile=False),
    "quick": Profile(300, DEFAULT_STRENGTH),
    "ci": Profile(3_000, 3),
    "nightly": Profile(50_000, 3),
}
DEFAULT_PROFILE = "quick"


def numbers(text: str) -> list[int]:
    """Numbers from a list with commas between them."""
    found = names(text)
    if not found or not all(name.isdecimal() for name in found):
        raise argparse.ArgumentTypeError(f"expected numbers such as 1,2, got {text!r}")
    return [int(name) for name in found]


def domain(text: str) -> Any:
    """A domain from JSON."""
    from properties.cases.domain import Domain

    try:
        return Domain.from_json(json.loads(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def part(text: str) -> tuple[int, int]:
    """Which part of how many, from ``3/8``."""
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected a part of a run such as 3/8, from 1/8 to 8/8, got {text!r}")
    return int(number), int(parts)


def cores() -> int:
    """Cores that this process may use, by its affinity and, in a container, by the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return min(allowed, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # There is none, and none is set.
        return allowed


def count(text: str) -> int:
    """A number of processes, or of shards."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number, at least 1, got {text!r}")
    return int(text)


def names(text: str) -> list[str]:
    """Names from a list with commas between them."""
    return [name.strip() for name in text.split(",") if name.strip()]


def seeds(text: str) -> list[int]:
    """Run seeds from a list with commas between them."""
    try:
        found = [int(name) for name in names(text)]
    except ValueError:
        found = []
    if not found or min(found) < 0:
        raise argparse.ArgumentTypeError(f"expected run seeds such as 1,2,3, got {text!r}")
    return found


def expectation(text: str) -> tuple[str, str]:
    """A property and a reason from ``property=reason``."""
    name, equals, reason = text.partition("=")
    if not (name and equals and reason):
        raise argparse.ArgumentTypeError(f"expected PROPERTY=REASON, got {text!r}")
    return name, reason


def something(text: str) -> str:
    """A text that is not empty, as one is that a variable gives which is not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def path(text: str) -> Path:
    """A file or folder."""
    return Path(something(text))


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Kind:
    """What an argument of ``verify`` must be: in words, and whether a value is that; or None where it is optional."""

    words: str
    holds: Callable[[Any], bool]
    optional: bool = False


def _whole(words: str, low: int, high: float = math.inf, *, optional: bool = False) -> Kind:
    return Kind(words, lambda n: isinstance(n, int) and not isinstance(n, bool) and low <= n <= high, optional)


def _names(words: str, *, optional: bool = False) -> Kind:
    def holds(names: Any) -> bool:
        sequence = isinstance(names, Sequence) and not isinstance(names, str | bytes)
        return sequence and len(names) > 0 and all(isinstance(name, str) for name in names)

    return Kind(f"a sequence of {words}, at least one", holds, optional)


def _seconds(*, optional: bool = False) -> Kind:
    def holds(seconds: Any) -> bool:
        return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < math.inf

    return Kind("a positive number of seconds", holds, optional)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and bool(str(value).strip()) and "\0" not in str(value)


def _is_domain(value: Any) -> bool:
    from properties.cases.domain import Domain

    return isinstance(value, Domain | Mapping)


def _are_reasons(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(word, str) for pair in value.items() for word in pair)


def _are_laws(value: Any) -> bool:
    """Whether these may be laws, or the names of modules that hold them."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(one, str) or callable(one) for one in value)
    )


_SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
_PATH = Kind("the path of a folder", _is_path, optional=True)
_TEXT = Kind("a text such as cpu or cuda", lambda value: isinstance(value, str) and bool(value.strip()))
_REASONS = Kind("a mapping of properties to reasons", _are_reasons, optional=True)
# More take weeks, and a plan names every shard of them.
MOST_CASES = 10_000_000
MOST_JOBS = 1024
# Shapes of the small scope beyond it cost more than a case may.
MOST_MARGIN = 8


@dataclass(frozen=True, eq=False)
class Option:
    """What can be asked for, declared once for the command, pytest, ``verify``, plans and what repeats a run.

    Attributes:
        flag: its name on a command line; pytest has ``PREFIX`` before it.
        details: how a command line takes it: arguments of ``add_argument`` and of ``addoption``.
        doors: the commands that take it, and pytest.
        argument: its name as an argument of ``verify``; empty where that has none.
        kind: what that must be; None where whoever takes it finds out.
        default: of the argument.
        converted: gives the argument from what stands on a command line.
        planned: whether a plan settles it, so that a run that is resumed cannot be given another one.
        repeated: whether what repeats a run names it: always, or where it is not the default.
    """

    flag: str
    details: dict[str, Any]
    doors: tuple[str, ...] = ("run", "pytest")
    argument: str = ""
    kind: Kind | None = None
    default: Any = None
    converted: Callable[[Any], Any] = _as_it_is
    planned: bool = False
    repeated: Literal["never", "always", "changed"] = "never"

    @property
    def member(self) -> str:
        """Its name among parsed arguments."""
        return self.flag.replace("-", "_")

    @property
    def absent(self) -> Any:
        """Its value among parsed arguments where it does not stand on the command line."""
        return self.details.get("default", False if self.details.get("action") == "store_true" else None)


_HOW_MUCH = ", ".join(f"{name} ({profile.words})" for name, profile in PROFILES.items())
_RECORDS = ("replay", "explain", "script")
OPTIONS = (
    Option(
        "implementation",
        {
            "type": something,
            "metavar": "MODULE:NAME",
            "help": f"what to verify (default: {DEFAULT_IMPLEMENTATION}; for a record, what it names)",
        },
        ("run", "pytest", *_RECORDS),
        argument="implementation",
        planned=True,
    ),
    Option(
        "profile",
        {"choices": tuple(PROFILES), "help": f"how much to do: {_HOW_MUCH} (default: {DEFAULT_PROFILE})"},
        planned=True,
    ),
    Option(
        "seed",
        {"type": int, "metavar": "N", "help": "the run seed, which repeats a run (default: a fresh one, printed)"},
        argument="seed",
        kind=_whole("an integer, at least 0", 0, optional=True),
        planned=True,
        repeated="always",
    ),
    Option(
        "cases",
        {"type": int, "metavar": "N", "help": "random cases to draw (default: those of the profile)"},
        argument="cases",
        kind=_whole(f"a number of cases, from 0 to {MOST_CASES:,}", 0, MOST_CASES),
        default=PROFILES[DEFAULT_PROFILE].cases,
        planned=True,
        repeated="always",
    ),
    Option(
        "only",
        {"type": names, "metavar": "NAMES", "help": "properties or clauses to check, such as values_exact,C8"},
        argument="only",
        kind=_names("properties and clauses", optional=True),
        planned=True,
        repeated="always",
    ),
    Option(
        "skip",
        {"type": names, "metavar": "NAMES", "help": "properties or clauses to leave out, such as exports,C12"},
        argument="skip",
        kind=_names("properties and clauses", optional=True),
        planned=True,
    ),
    Option(
        "no-compile",
        {
            "action": "store_true",
            "default": None,
            "help": "leave out what compiles the layer (default: as the profile)",
        },
        argument="compile",
        kind=_SWITCH,
        default=True,
        converted=lambda no_compile: not no_compile,
        planned=True,
    ),
    Option(
        "device",
        {
            "type": something,
            "metavar": "DEVICE",
            "help": f"where to run, such as cpu or cuda (default: {DEFAULT_DEVICE}; for a record, what it names)",
        },
        ("run", "pytest", *_RECORDS),
        argument="device",
        kind=_TEXT,
        default=DEFAULT_DEVICE,
        planned=True,
        repeated="changed",
    ),
    Option(
        "dtypes",
        {"type": names, "metavar": "NAMES", "help": "some of float64,float32,bfloat16,float16 (default: all)"},
        argument="dtypes",
        kind=_names("dtypes", optional=True),
        planned=True,
        repeated="changed",
    ),
    Option(
        "level",
        {
            "choices": ("contract", "robust"),
            "help": "contract: what every layer must satisfy (default); robust: also what a careful one does",
        },
        argument="levels",
        kind=_names("levels"),
        default=("contract",),
        converted=lambda level: {"contract": ("contract",), "robust": ("contract", "robust")}[level],
        planned=True,
    ),
    Option(
        "expected-failure",
        {
            "type": expectation,
            "metavar": "PROPERTY=REASON",
            "action": "append",
            "help": "a property that may fail, and why; it is an error if it passes (may be repeated)",
        },
        argument="expected_failures",
        kind=_REASONS,
        converted=dict,
        planned=True,
    ),
    # Without these two the same cases are drawn, but others are steered, and fewer shapes are small.
    Option(
        "strength",
        {
            "type": int,
            "metavar": "N",
            "help": "how many levels of the parameter space to lead the run to together: 2 for every pair, 3 for every "
            "triple, 0 for none (default: as the profile has it)",
        },
        argument="strength",
        kind=Kind("0, 2 for pairs or 3 for triples", lambda n: type(n) is int and n in (0, 2, 3)),
        default=DEFAULT_STRENGTH,
        planned=True,
        repeated="changed",
    ),
    Option(
        "scope-margin",
        {
            "type": int,
            "metavar": "N",
            "help": "raise the largest patch size, stride and size of the small scope by N each (default: 0)",
        },
        argument="scope_margin",
        kind=_whole(f"an integer from 0 to {MOST_MARGIN}", 0, MOST_MARGIN),
        default=0,
        planned=True,
        repeated="changed",
    ),
    Option(
        "scope-sample",
        {
            "type": int,
            "metavar": "N",
            "help": "check one of N shapes of the small scope, chosen by the run seed (default: as the profile has it)",
        },
        argument="scope_sample",
        kind=_whole("an integer, at least 1", 1),
        default=1,
        planned=True,
        repeated="changed",
    ),
    Option(
        "domain",
        {
            "type": domain,
            "metavar": "JSON",
            "help": "what the layer is for, such as '{\"data_dims\": [2]}' (default: what it declares)",
        },
        argument="domain",
        kind=Kind("a properties.Domain", _is_domain, optional=True),
        planned=True,
        repeated="changed",
    ),
    Option(
        "data-dims",
        {"type": numbers, "metavar": "NUMBERS", "help": "judge layers of these numbers of axes alone, such as 1,2"},
        argument="data_dims",
        kind=Kind(
            "some of 1, 2 and 3",
            lambda value: isinstance(value, Sequence) and bool(value) and all(n in (1, 2, 3) for n in value),
            optional=True,
        ),
        planned=True,
    ),
    Option(
        "laws",
        {"type": names, "metavar": "MODULES", "help": "modules of laws of one's own, such as package.module"},
        argument="laws",
        kind=Kind("a sequence of laws or of modules, at least one", _are_laws, optional=True),
        planned=True,
        repeated="changed",
    ),
    Option(
        "laws-version",
        {
            "type": something,
            "metavar": "VERSION",
            "help": "judge by the laws of this version of the harness, such as 0.1 (default: by all that there are)",
        },
        argument="laws_version",
        kind=Kind(
            "a version of the harness, such as 0.1",
            lambda value: isinstance(value, str) and re.fullmatch(r"\d+\.\d+(\.\d+)?", value) is not None,
            optional=True,
        ),
        planned=True,
    ),
    Option(
        "regressions",
        {
            "type": path,
            "metavar": "DIR",
            "help": "folder of records: replayed first, and one is written for every failure",
        },
        ("run", "pytest", "merge"),
        argument="regressions",
        kind=_PATH,
    ),
    Option(
        "case-timeout",
        {
            "type": duration,
            "metavar": "TIME",
            "default": DEFAULT_CASE_TIMEOUT,
            "help": "when a case counts as hanging (default: 10m)",
        },
        ("run", "pytest", "replay", "explain"),
        argument="case_timeout",
        kind=_seconds(),
        default=DEFAULT_CASE_TIMEOUT,
    ),
    Option(
        "json", {"type": path, "metavar": "FILE", "help": "write the report as JSON, too"}, ("run", "pytest", "merge")
    ),
    Option(
        "html",
        {"type": path, "metavar": "FILE", "help": "write the report as a page, too, which asks for nothing else"},
        ("run", "pytest", "merge"),
    ),
    Option(
        "verbose",
        {"action": "store_true", "default": False, "help": "print a row for each law, and every list to its end"},
        ("run", "merge"),
    ),
    Option(
        "no-shrink",
        {"action": "store_true", "default": False, "help": "do not look for the smallest case of a failure"},
        argument="shrink",
        kind=_SWITCH,
        default=True,
        converted=lambda no_shrink: not no_shrink,
    ),
    Option(
        "budget",
        {"type": duration, "metavar": "TIME", "help": "stop between cases after 90s, 10m, 2h"},
        ("run",),
        argument="budget",
        kind=_seconds(optional=True),
    ),
    Option(
        "jobs",
        {"type": count, "metavar": "N", "help": "processes (default: one for each core)"},
        ("run",),
        argument="jobs",
        kind=_whole(f"a number of processes up to {MOST_JOBS}, or 0 for this one", 0, MOST_JOBS, optional=True),
    ),
    Option(
        "fail-fast",
        {"action": "store_true", "help": "stop after the first case that fails"},
        ("run",),
        argument="fail_fast",
        kind=_SWITCH,
        default=False,
    ),
    Option(
        "dask",
        {
            "type": something,
            "metavar": "ADDRESS",
            "help": "run on the workers of this Dask scheduler, such as tcp://host:8786",
        },
        ("run",),
    ),
    Option(
        "shard",
        {"type": part, "metavar": "I/N", "help": "run only the I-th of N parts; merge puts the parts together"},
        ("run",),
        planned=True,
    ),
    Option(
        "run-dir",
        {"type": path, "metavar": "DIR", "help": "new folder to keep the run in (default: a temporary one)"},
        ("run",),
        planned=True,
    ),
    Option(
        "resume",
        {"type": path, "metavar": "DIR", "help": "go on with the run in this folder; it has the plan"},
        ("run",),
    ),
    Option(
        "shards",
        {"type": count, "metavar": "N", "help": "make N items of each property, for the workers of xdist"},
        ("pytest",),
    ),
)
# What a plan settles, by the name of its argument.
PLANNED = tuple(option for option in OPTIONS if option.planned and option.argument)


def add_options(add: Callable[..., Any], door: str, prefix: str = "") -> None:
    """Declare the options of a command, or of pytest.

    Args:
        add: ``add_argument`` or ``addoption`` of a parser.
        door: ``run``, ``merge``, ``replay``, ``explain``, ``script`` or ``pytest``.
        prefix: what stands before each name.
    """
    for option in OPTIONS:
        if door in option.doors:
            add(f"--{prefix}{option.flag}", **option.details)


def check_arguments(given: Mapping[str, Any]) -> None:
    """Check arguments of ``verify`` by themselves; whether they exist here and fit together is found out later.

    Raises:
        CannotRun: where one is not what it must be.
    """
    for option in OPTIONS:
        kind, value = option.kind, given.get(option.argument)
        if option.argument not in given or kind is None or (value is None and kind.optional):
            continue
        if not kind.holds(value):
            raise CannotRun(f"{option.argument} must be {kind.words}, got {reprlib.repr(value)}")


def given_arguments(value_of: Callable[[str], Any], options: Iterable[Option]) -> dict[str, Any]:
    """The arguments that options give which stand on a command line.

    Args:
        value_of: gives the value of an option by its flag, None where it does not stand there.
        options: which.
    """
    values = {option: value_of(option.flag) for option in options if option.argument}
    return {option.argument: option.converted(value) for option, value in values.items() if value is not None}
