"""What can be asked for: declared here once, for the command, pytest, ``verify``, plans, and what repeats a run.

This imports neither torch nor what needs it, since the plugin is loaded in every run of pytest.
"""

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from properties.trials.implementation import DEFAULT_IMPLEMENTATION

DEFAULT_DEVICE = "cpu"
DEFAULT_STRENGTH = 2
DEFAULT_CASE_TIMEOUT = 600.0
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
    """How much a run does: random cases, and whether pairs (2) or triples (3) of cells are all reached."""

    cases: int
    strength: int


PROFILES = {"quick": Profile(300, DEFAULT_STRENGTH), "ci": Profile(3_000, 3), "nightly": Profile(50_000, 3)}
DEFAULT_PROFILE = "quick"


def part(text: str) -> tuple[int, int]:
    """Which part of how many, from ``3/8``."""
    number, slash, parts = text.partition("/")
    if not (slash and number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected a part of a run such as 3/8, from 1/8 to 8/8, got {text!r}")
    return int(number), int(parts)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True, eq=False)
class Option:
    """What can be asked for, declared once for the command, pytest, ``verify``, plans and what repeats a run.

    Attributes:
        flag: its name on a command line; pytest has ``PREFIX`` before it.
        details: how a command line takes it: arguments of ``add_argument`` and of ``addoption``.
        doors: the commands that take it, and pytest.
        argument: its name as an argument of ``verify``; empty where that has none.
        default: of the argument.
        converted: gives the argument from what stands on a command line.
        planned: whether a plan settles it, so that a run that is resumed cannot be given another one.
        repeated: whether what repeats a run names it: always, or where it is not the default.
    """

    flag: str
    details: dict[str, Any]
    doors: tuple[str, ...] = ("run", "pytest")
    argument: str = ""
    default: Any = None
    converted: Callable[[Any], Any] = _as_it_is
    planned: bool = False
    repeated: Literal["never", "always", "changed"] = "never"

    @property
    def member(self) -> str:
        """Its name among parsed arguments."""
        return self.flag.replace("-", "_")


_HOW_MUCH = ", ".join(
    f"{name} ({profile.cases:,} random cases, every {'pair' if profile.strength == 2 else 'triple'} of cells)"
    for name, profile in PROFILES.items()
)
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
        planned=True,
        repeated="always",
    ),
    Option(
        "cases",
        {"type": int, "metavar": "N", "help": "random cases to draw (default: those of the profile)"},
        argument="cases",
        default=PROFILES[DEFAULT_PROFILE].cases,
        planned=True,
        repeated="always",
    ),
    Option(
        "only",
        {"type": names, "metavar": "NAMES", "help": "properties or clauses to check, such as values_exact,C8"},
        argument="only",
        planned=True,
        repeated="always",
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
        default=DEFAULT_DEVICE,
        planned=True,
        repeated="changed",
    ),
    Option(
        "dtypes",
        {"type": names, "metavar": "NAMES", "help": "some of float64,float32,bfloat16,float16 (default: all)"},
        argument="dtypes",
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
        converted=dict,
        planned=True,
    ),
    # Without these two the same cases are drawn, but others are steered, and fewer shapes are small.
    Option(
        "strength",
        {
            "type": int,
            "metavar": "N",
            "help": "how many cells of the parameter space to lead the run to together: 2 for every pair, 3 for every "
            "triple, 0 for none (default: as the profile has it)",
        },
        argument="strength",
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
        default=0,
        planned=True,
        repeated="changed",
    ),
    Option(
        "regressions",
        {
            "type": Path,
            "metavar": "DIR",
            "help": "folder of records: replayed first, and one is written for every failure",
        },
        ("run", "pytest", "merge"),
        argument="regressions",
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
        default=DEFAULT_CASE_TIMEOUT,
    ),
    Option(
        "json", {"type": Path, "metavar": "FILE", "help": "write the report as JSON, too"}, ("run", "pytest", "merge")
    ),
    Option(
        "no-shrink",
        {"action": "store_true", "default": False, "help": "do not look for the smallest case of a failure"},
        argument="shrink",
        default=True,
        converted=lambda no_shrink: not no_shrink,
    ),
    Option(
        "budget",
        {"type": duration, "metavar": "TIME", "help": "stop between cases after 90s, 10m, 2h"},
        ("run",),
        argument="budget",
    ),
    Option(
        "jobs",
        {"type": count, "metavar": "N", "help": "processes (default: one for each core)"},
        ("run",),
        argument="jobs",
    ),
    Option(
        "fail-fast",
        {"action": "store_true", "help": "stop after the first case that fails"},
        ("run",),
        argument="fail_fast",
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
        {"type": Path, "metavar": "DIR", "help": "new folder to keep the run in (default: a temporary one)"},
        ("run",),
        planned=True,
    ),
    Option(
        "resume",
        {"type": Path, "metavar": "DIR", "help": "go on with the run in this folder; it has the plan"},
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


def given_arguments(value_of: Callable[[str], Any], options: Iterable[Option]) -> dict[str, Any]:
    """The arguments that options give which stand on a command line.

    Args:
        value_of: gives the value of an option by its flag, None where it does not stand there.
        options: which.
    """
    values = {option: value_of(option.flag) for option in options if option.argument}
    return {option.argument: option.converted(value) for option, value in values.items() if value is not None}
