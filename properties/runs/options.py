"""What can be asked for: declared here once, for the command, pytest, ``verify``, plans, and what repeats a run.

This imports neither torch nor what needs it, since the plugin is loaded in every run of pytest.
"""

import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from properties.runs import kinds, parsing
from properties.runs.profiles import DEFAULT_PROFILE, DEFAULT_STRENGTH, PROFILES
from properties.trials.implementation import DEFAULT_IMPLEMENTATION, CannotRun

DEFAULT_DEVICE = "cpu"
DEFAULT_CASE_TIMEOUT = 600.0
# What stands before the names of the options under pytest.
PREFIX = "patchify-"
# More take weeks, and a plan names every shard of them.
MOST_CASES = 10_000_000
MOST_JOBS = 1024
# Shapes of the small scope beyond it cost more than a case may.
MOST_MARGIN = 8


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
    kind: kinds.Kind | None = None
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
            "type": parsing.something,
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
        kind=kinds.whole("an integer, at least 0", 0, optional=True),
        planned=True,
        repeated="always",
    ),
    Option(
        "cases",
        {"type": int, "metavar": "N", "help": "random cases to draw (default: those of the profile)"},
        argument="cases",
        kind=kinds.whole(f"a number of cases, from 0 to {MOST_CASES:,}", 0, MOST_CASES),
        default=PROFILES[DEFAULT_PROFILE].cases,
        planned=True,
        repeated="always",
    ),
    Option(
        "only",
        {"type": parsing.names, "metavar": "NAMES", "help": "properties or clauses to check, such as values_exact,C8"},
        argument="only",
        kind=kinds.sequence_of("properties and clauses", optional=True),
        planned=True,
        repeated="always",
    ),
    Option(
        "skip",
        {"type": parsing.names, "metavar": "NAMES", "help": "properties or clauses to leave out, such as exports,C12"},
        argument="skip",
        kind=kinds.sequence_of("properties and clauses", optional=True),
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
        kind=kinds.SWITCH,
        default=True,
        converted=lambda no_compile: not no_compile,
        planned=True,
    ),
    Option(
        "device",
        {
            "type": parsing.something,
            "metavar": "DEVICE",
            "help": f"where to run, such as cpu or cuda (default: {DEFAULT_DEVICE}; for a record, what it names)",
        },
        ("run", "pytest", *_RECORDS),
        argument="device",
        kind=kinds.TEXT,
        default=DEFAULT_DEVICE,
        planned=True,
        repeated="changed",
    ),
    Option(
        "dtypes",
        {"type": parsing.names, "metavar": "NAMES", "help": "some of float64,float32,bfloat16,float16 (default: all)"},
        argument="dtypes",
        kind=kinds.sequence_of("dtypes", optional=True),
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
        kind=kinds.sequence_of("levels"),
        default=("contract",),
        converted=lambda level: {"contract": ("contract",), "robust": ("contract", "robust")}[level],
        planned=True,
    ),
    Option(
        "expected-failure",
        {
            "type": parsing.expectation,
            "metavar": "PROPERTY=REASON",
            "action": "append",
            "help": "a property that may fail, and why; it is an error if it passes (may be repeated)",
        },
        argument="expected_failures",
        kind=kinds.REASONS,
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
        kind=kinds.STRENGTH,
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
        kind=kinds.whole(f"an integer from 0 to {MOST_MARGIN}", 0, MOST_MARGIN),
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
        kind=kinds.whole("an integer, at least 1", 1),
        default=1,
        planned=True,
        repeated="changed",
    ),
    Option(
        "domain",
        {
            "type": parsing.domain,
            "metavar": "JSON",
            "help": "what the layer is for, such as '{\"data_dims\": [2]}' (default: what it declares)",
        },
        argument="domain",
        kind=kinds.DOMAIN,
        planned=True,
        repeated="changed",
    ),
    Option(
        "data-dims",
        {
            "type": parsing.numbers,
            "metavar": "NUMBERS",
            "help": "judge layers of these numbers of axes alone, such as 1,2",
        },
        argument="data_dims",
        kind=kinds.DATA_DIMS,
        planned=True,
    ),
    Option(
        "laws",
        {"type": parsing.names, "metavar": "MODULES", "help": "modules of laws of one's own, such as package.module"},
        argument="laws",
        kind=kinds.LAWS,
        planned=True,
        repeated="changed",
    ),
    Option(
        "laws-version",
        {
            "type": parsing.something,
            "metavar": "VERSION",
            "help": "judge by the laws of this version of the harness, such as 0.1 (default: by all that there are)",
        },
        argument="laws_version",
        kind=kinds.VERSION,
        planned=True,
    ),
    Option(
        "regressions",
        {
            "type": parsing.path,
            "metavar": "DIR",
            "help": "folder of records: replayed first, and one is written for every failure",
        },
        ("run", "pytest", "merge"),
        argument="regressions",
        kind=kinds.PATH,
    ),
    Option(
        "case-timeout",
        {
            "type": parsing.duration,
            "metavar": "TIME",
            "default": DEFAULT_CASE_TIMEOUT,
            "help": "when a case counts as hanging (default: 10m)",
        },
        ("run", "pytest", "replay", "explain"),
        argument="case_timeout",
        kind=kinds.seconds(),
        default=DEFAULT_CASE_TIMEOUT,
    ),
    Option(
        "json",
        {"type": parsing.path, "metavar": "FILE", "help": "write the report as JSON, too"},
        ("run", "pytest", "merge"),
    ),
    Option(
        "html",
        {
            "type": parsing.path,
            "metavar": "FILE",
            "help": "write the report as a page, too, which asks for nothing else",
        },
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
        kind=kinds.SWITCH,
        default=True,
        converted=lambda no_shrink: not no_shrink,
    ),
    Option(
        "budget",
        {"type": parsing.duration, "metavar": "TIME", "help": "stop between cases after 90s, 10m, 2h"},
        ("run",),
        argument="budget",
        kind=kinds.seconds(optional=True),
    ),
    Option(
        "jobs",
        {"type": parsing.count, "metavar": "N", "help": "processes (default: one for each core)"},
        ("run",),
        argument="jobs",
        kind=kinds.whole(f"a number of processes up to {MOST_JOBS}, or 0 for this one", 0, MOST_JOBS, optional=True),
    ),
    Option(
        "fail-fast",
        {"action": "store_true", "help": "stop after the first case that fails"},
        ("run",),
        argument="fail_fast",
        kind=kinds.SWITCH,
        default=False,
    ),
    Option(
        "dask",
        {
            "type": parsing.something,
            "metavar": "ADDRESS",
            "help": "run on the workers of this Dask scheduler, such as tcp://host:8786",
        },
        ("run",),
    ),
    Option(
        "shard",
        {"type": parsing.part, "metavar": "I/N", "help": "run only the I-th of N parts; merge puts the parts together"},
        ("run",),
        planned=True,
    ),
    Option(
        "run-dir",
        {"type": parsing.path, "metavar": "DIR", "help": "new folder to keep the run in (default: a temporary one)"},
        ("run",),
        planned=True,
    ),
    Option(
        "resume",
        {"type": parsing.path, "metavar": "DIR", "help": "go on with the run in this folder; it has the plan"},
        ("run",),
    ),
    Option(
        "shards",
        {"type": parsing.count, "metavar": "N", "help": "make N items of each property, for the workers of xdist"},
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
