"""The options that the command and the pytest plugin share.

This imports neither torch nor what needs it, since the plugin is loaded in every run of pytest.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from properties.trials.implementation import DEFAULT_IMPLEMENTATION

DEFAULT_DEVICE = "cpu"
DEFAULT_STRENGTH = 2
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


OPTIONS: dict[str, dict[str, Any]] = {
    "implementation": {
        "type": something,
        "metavar": "MODULE:NAME",
        "help": f"what to verify (default: {DEFAULT_IMPLEMENTATION}; for a record, what it names)",
    },
    "profile": {
        "choices": tuple(PROFILES),
        "help": "how much to do: "
        + ", ".join(
            f"{name} ({profile.cases:,} random cases, every {'pair' if profile.strength == 2 else 'triple'} of cells)"
            for name, profile in PROFILES.items()
        )
        + f" (default: {DEFAULT_PROFILE})",
    },
    "cases": {"type": int, "metavar": "N", "help": "random cases to draw (default: those of the profile)"},
    "seed": {"type": int, "metavar": "N", "help": "the run seed, which repeats a run (default: a fresh one, printed)"},
    "device": {
        "type": something,
        "metavar": "DEVICE",
        "help": f"where to run, such as cpu or cuda (default: {DEFAULT_DEVICE}; for a record, what it names)",
    },
    "dtypes": {"type": names, "metavar": "NAMES", "help": "some of float64,float32,bfloat16,float16 (default: all)"},
    "level": {
        "choices": ("contract", "robust"),
        "help": "contract: what every layer must satisfy (default); robust: also what a careful one does",
    },
    "only": {"type": names, "metavar": "NAMES", "help": "properties or clauses to check, such as values_exact,C8"},
    "expected-failure": {
        "type": expectation,
        "metavar": "PROPERTY=REASON",
        "action": "append",
        "default": [],
        "help": "a property that may fail, and why; it is an error if it passes (may be repeated)",
    },
    "scope-margin": {
        "type": int,
        "metavar": "N",
        "default": 0,
        "help": "raise the largest patch size, stride and size of the small scope by N each (default: 0)",
    },
    "strength": {
        "type": int,
        "metavar": "N",
        "help": "how many cells of the parameter space to lead the run to together: 2 for every pair, 3 for every "
        "triple, 0 for none (default: as the profile has it)",
    },
    "regressions": {
        "type": Path,
        "metavar": "DIR",
        "help": "folder of records: replayed first, and one is written for every failure",
    },
    "case-timeout": {
        "type": duration,
        "metavar": "TIME",
        "default": 600.0,
        "help": "when a case counts as hanging (default: 10m)",
    },
    "json": {"type": Path, "metavar": "FILE", "help": "write the report as JSON, too"},
    "no-shrink": {"action": "store_true", "default": False, "help": "do not look for the smallest case of a failure"},
}


def add_options(add: Callable[..., Any], prefix: str = "") -> None:
    """Declare the options.

    Args:
        add: ``add_argument`` or ``addoption`` of a parser.
        prefix: what stands before each name.
    """
    for name, details in OPTIONS.items():
        add(f"--{prefix}{name}", **details)
