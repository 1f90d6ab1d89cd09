"""What an argument of ``verify`` must be, in words and as a test of a value."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """What an argument of ``verify`` must be: in words, and whether a value is that; or None where it is optional."""

    words: str
    holds: Callable[[Any], bool]
    optional: bool = False


def whole(words: str, low: int, high: float = math.inf, *, optional: bool = False) -> Kind:
    """An integer in a range; ``words`` say so."""
    return Kind(words, lambda n: isinstance(n, int) and not isinstance(n, bool) and low <= n <= high, optional)


def sequence_of(words: str, *, optional: bool = False) -> Kind:
    """A sequence of texts."""

    def holds(names: Any) -> bool:
        sequence = isinstance(names, Sequence) and not isinstance(names, str | bytes)
        return sequence and len(names) > 0 and all(isinstance(name, str) for name in names)

    return Kind(f"a sequence of {words}, at least one", holds, optional)


def seconds(*, optional: bool = False) -> Kind:
    """A positive number of seconds."""

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


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d+\.\d+(\.\d+)?", value) is not None


def _are_data_dims(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(n in (1, 2, 3) for n in value)


SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
PATH = Kind("the path of a folder", _is_path, optional=True)
TEXT = Kind("a text such as cpu or cuda", lambda value: isinstance(value, str) and bool(value.strip()))
REASONS = Kind("a mapping of properties to reasons", _are_reasons, optional=True)
STRENGTH = Kind("0, 2 for pairs or 3 for triples", lambda n: type(n) is int and n in (0, 2, 3))
DATA_DIMS = Kind("some of 1, 2 and 3", _are_data_dims, optional=True)
DOMAIN = Kind("a properties.Domain", _is_domain, optional=True)
LAWS = Kind("a sequence of laws or of modules, at least one", _are_laws, optional=True)
VERSION = Kind("a version of the harness, such as 0.1", _is_version, optional=True)
