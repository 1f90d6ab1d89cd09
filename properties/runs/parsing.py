"""What stands on a command line, read: durations, numbers, names, parts of a run."""

import argparse
import json
from pathlib import Path
from typing import Any


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
