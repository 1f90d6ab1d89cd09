"""Which levels of the parameter space a case falls into, and which levels come together in some case."""

import math
from bisect import bisect
from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from properties.cases.case import (
    AUTOCAST,
    COMPILED,
    COTANGENTS,
    DTYPES,
    FILLS,
    LAYOUTS,
    MODES,
    ORIGINS,
    PARAMETERS_AND_INPUT,
    WEIGHT_LAYOUTS,
    Case,
)

# Where the bins of a number begin: numbers are looked at on a logarithmic scale, up to where kernels change, which is
# past a power of two; patches are as large as those of models.
CHANNEL_BINS = (2, 17, 257, 4097)
PATCH_BINS = (1, 2, 3, 8, 16, 32)
WINDOW_BINS = (1, 2, 17, 4097, 2**17 + 1)
BATCH_BINS = (0, 1, 2, 17, 4097, 2**17 + 1)
TERM_BINS = (1, 17, 257, 4097)
# A stride of so many patches, at least, is a level of its own.
FAR = 4


def _names(bins: tuple[int, ...]) -> tuple[str, ...]:
    """The levels of a number, by where its bins begin."""
    within = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(bins)]
    return (*within, f">= {bins[-1]}")


LEVELS: dict[str, tuple[str, ...]] = {
    "data_dim": ("1", "2", "3"),
    "stride": ("1", "< P, divides P", "< P, does not divide P", "= P", "> P", f">= {FAR} P"),
    "patch_size": _names(PATCH_BINS),
    "remainder": ("no axis", "some axes", "all axes"),
    "sizes": ("equal", "unequal"),
    "windows": _names(WINDOW_BINS),
    "in_features": ("1", "= P", *_names(CHANNEL_BINS)),
    "out_features": ("1", "= in_features", *_names(CHANNEL_BINS)),
    "terms": _names(TERM_BINS),
    "batch": _names(BATCH_BINS),
    "bias": ("no", "yes"),
    "dtype": DTYPES,
    "layout": LAYOUTS,
    "origin": ORIGINS,
    "weight layout": WEIGHT_LAYOUTS,
    "fill": FILLS,
    "gradients": (
        "none",
        *(" + ".join(wanted) for size in (1, 2, 3) for wanted in combinations(PARAMETERS_AND_INPUT, size)),
    ),
    "cotangent": COTANGENTS,
    "mode": MODES,
    "autocast": AUTOCAST,
    "compiled": ("no", *COMPILED),
}
# Every level by its number, and the number of the factor that it is on.
NUMBERED = tuple((factor, level) for factor, along in LEVELS.items() for level in along)
NUMBER = {named: number for number, named in enumerate(NUMBERED)}
_FACTOR = np.repeat(np.arange(len(LEVELS)), [len(along) for along in LEVELS.values()])

Bools = NDArray[np.bool_]


def levels(case: Case, *, compiled: bool = False, autocast: bool = False) -> dict[str, str]:
    """The level of a case along every factor of ``LEVELS``.

    Args:
        case: what is judged.
        compiled: whether it is judged under a compiler.
        autocast: whether it is judged under autocast.
    """
    spec, given = case.spec, case.input
    return {
        **shape_levels(spec.patch_size, spec.effective_stride, given.sizes),
        "windows": binned("windows", WINDOW_BINS, math.prod(case.grid)),
        "in_features": in_features_level(spec.in_features, spec.patch_size),
        "out_features": out_features_level(spec.out_features, spec.in_features),
        "terms": binned("terms", TERM_BINS, spec.terms),
        "batch": binned("batch", BATCH_BINS, given.batch),
        "bias": "yes" if spec.bias else "no",
        "dtype": given.dtype,
        "layout": given.layout,
        "origin": given.origin,
        "weight layout": case.weight_layout,
        "fill": case.fill.name,
        "gradients": " + ".join(case.backward.requires_grad) or "none",
        "cotangent": case.backward.cotangent,
        "mode": case.mode,
        "autocast": case.autocast if autocast else "off",
        "compiled": case.compiled if compiled else "no",
    }


def emptied(reached: Mapping[str, str]) -> dict[str, str]:
    """The levels of a case whose batch has been emptied."""
    return {**reached, "batch": "0", "autocast": "off", "compiled": "no"}


def binned(factor: str, bins: tuple[int, ...], number: int) -> str:
    """The level of a number on a factor whose last levels are its bins."""
    along = LEVELS[factor]
    return along[len(along) - len(bins) + bisect(bins, number) - 1]


def shape_levels(patch_size: int, stride: int, sizes: tuple[int, ...]) -> dict[str, str]:
    """The levels that patch size, stride and spatial sizes decide."""
    remainders = [(size - patch_size) % stride > 0 for size in sizes]
    return {
        "data_dim": str(len(sizes)),
        "stride": stride_level(stride, patch_size),
        "patch_size": binned("patch_size", PATCH_BINS, patch_size),
        "remainder": "all axes" if all(remainders) else "some axes" if any(remainders) else "no axis",
        "sizes": "equal" if len(set(sizes)) == 1 else "unequal",
    }


def stride_level(stride: int, patch_size: int) -> str:
    """The level of an effective stride."""
    if stride == patch_size:
        return "= P"
    if stride > patch_size:
        return "> P" if stride < FAR * patch_size else f">= {FAR} P"
    if stride == 1:
        return "1"
    return "< P, divides P" if patch_size % stride == 0 else "< P, does not divide P"


def in_features_level(in_features: int, patch_size: int) -> str:
    """The level of a number of input channels."""
    if in_features == 1:
        return "1"
    return "= P" if in_features == patch_size else binned("in_features", CHANNEL_BINS, in_features)


def out_features_level(out_features: int, in_features: int) -> str:
    """The level of a number of output channels."""
    if out_features == 1:
        return "1"
    return "= in_features" if out_features == in_features else binned("out_features", CHANNEL_BINS, out_features)


def row(reached: Mapping[str, str]) -> str:
    """One level along every factor as a digit each: what a report counts."""
    return "".join(str(LEVELS[factor].index(reached[factor])) for factor in LEVELS)


def is_row(text: str) -> bool:
    """Whether a text is what ``row`` gives for some case."""
    return len(text) == len(LEVELS) and all(
        digit.isdecimal() and digit.isascii() and int(digit) < len(along)
        for digit, along in zip(text, LEVELS.values(), strict=True)
    )


def marked(rows: Iterable[str]) -> Bools:
    """Rows as a table, bool ``[rows, levels]``."""
    digits = np.frombuffer("".join(rows).encode(), dtype=np.uint8).reshape(-1, len(LEVELS)) - ord("0")
    return np.concatenate(
        [digits[:, [factor]] == np.arange(len(along)) for factor, along in enumerate(LEVELS.values())], axis=1
    )


def together(table: Bools, strength: int) -> Bools:
    """Which levels, each of another factor, are set together in some row.

    Args:
        table: bool ``[rows, levels]``; more than one level of a factor may be set.
        strength: how many levels: 1 for single levels, 2 for pairs, 3 for triples.

    Returns:
        bool ``[levels] * strength``, set only where the numbers of the levels increase.
    """
    # Eight rows in a byte and eight bytes in a word, so that a million rows are looked at in a second.
    words = np.packbits(np.pad(table, ((0, -len(table) % 64), (0, 0))), axis=0).T.copy().view(np.uint64)
    return _together(words, _FACTOR, strength)


def _together(words: NDArray[np.uint64], factor: NDArray[np.int64], strength: int) -> Bools:
    if strength == 1:
        return np.asarray(words.any(axis=1))
    found = np.zeros((len(words),) * strength, dtype=bool)
    for first, mine in enumerate(words):
        later = int(np.searchsorted(factor, factor[first], side="right"))
        if mine.any() and later < len(words):
            found[first][(slice(later, None),) * (strength - 1)] = _together(
                words[later:] & mine, factor[later:], strength - 1
            )
    return found


def named(tuples: Bools) -> list[tuple[str, ...]]:
    """The names of levels that are set together, as in ``("layout sliced", "batch huge")``."""
    return [tuple(" ".join(NUMBERED[level]) for level in found) for found in np.argwhere(tuples)]
