"""Which cells of the parameter space a case falls into, and which cells come together in some case."""

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
# A stride of so many patches, at least, is a cell of its own.
FAR = 4


def _names(bins: tuple[int, ...]) -> tuple[str, ...]:
    """The cells of a number, by where its bins begin."""
    within = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(bins)]
    return (*within, f">= {bins[-1]}")


CELLS: dict[str, tuple[str, ...]] = {
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
# Every cell by its number, and the number of the axis that it is on.
NUMBERED = tuple((axis, cell) for axis, along in CELLS.items() for cell in along)
NUMBER = {named: number for number, named in enumerate(NUMBERED)}
_AXIS = np.repeat(np.arange(len(CELLS)), [len(along) for along in CELLS.values()])

Bools = NDArray[np.bool_]


def cells(case: Case, *, compiled: bool = False, autocast: bool = False) -> dict[str, str]:
    """The cell of a case along every axis of ``CELLS``.

    Args:
        case: what is judged.
        compiled: whether it is judged under a compiler.
        autocast: whether it is judged under autocast.
    """
    spec, given = case.spec, case.input
    return {
        **shape_cells(spec.patch_size, spec.step, given.sizes),
        "windows": binned("windows", WINDOW_BINS, math.prod(case.grid)),
        "in_features": in_features_cell(spec.in_features, spec.patch_size),
        "out_features": out_features_cell(spec.out_features, spec.in_features),
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
    """The cells of a case whose batch has been emptied."""
    return {**reached, "batch": "0", "autocast": "off", "compiled": "no"}


def binned(axis: str, bins: tuple[int, ...], number: int) -> str:
    """The cell of a number on an axis whose last cells are its bins."""
    along = CELLS[axis]
    return along[len(along) - len(bins) + bisect(bins, number) - 1]


def shape_cells(patch_size: int, step: int, sizes: tuple[int, ...]) -> dict[str, str]:
    """The cells that patch size, stride and spatial sizes decide."""
    remainders = [(size - patch_size) % step > 0 for size in sizes]
    return {
        "data_dim": str(len(sizes)),
        "stride": stride_cell(step, patch_size),
        "patch_size": binned("patch_size", PATCH_BINS, patch_size),
        "remainder": "all axes" if all(remainders) else "some axes" if any(remainders) else "no axis",
        "sizes": "equal" if len(set(sizes)) == 1 else "unequal",
    }


def stride_cell(step: int, patch_size: int) -> str:
    """The cell of an effective stride."""
    if step == patch_size:
        return "= P"
    if step > patch_size:
        return "> P" if step < FAR * patch_size else f">= {FAR} P"
    if step == 1:
        return "1"
    return "< P, divides P" if patch_size % step == 0 else "< P, does not divide P"


def in_features_cell(in_features: int, patch_size: int) -> str:
    """The cell of a number of input channels."""
    if in_features == 1:
        return "1"
    return "= P" if in_features == patch_size else binned("in_features", CHANNEL_BINS, in_features)


def out_features_cell(out_features: int, in_features: int) -> str:
    """The cell of a number of output channels."""
    if out_features == 1:
        return "1"
    return "= in_features" if out_features == in_features else binned("out_features", CHANNEL_BINS, out_features)


def row(reached: Mapping[str, str]) -> str:
    """One cell along every axis as a digit each: what a report counts."""
    return "".join(str(CELLS[axis].index(reached[axis])) for axis in CELLS)


def marked(rows: Iterable[str]) -> Bools:
    """Rows as a table, bool ``[rows, cells]``."""
    digits = np.frombuffer("".join(rows).encode(), dtype=np.uint8).reshape(-1, len(CELLS)) - ord("0")
    return np.concatenate(
        [digits[:, [axis]] == np.arange(len(along)) for axis, along in enumerate(CELLS.values())], axis=1
    )


def together(table: Bools, strength: int) -> Bools:
    """Which cells, each of another axis, are set together in some row.

    Args:
        table: bool ``[rows, cells]``; more than one cell of an axis may be set.
        strength: how many cells: 1 for single cells, 2 for pairs, 3 for triples.

    Returns:
        bool ``[cells] * strength``, set only where the numbers of the cells increase.
    """
    # Eight rows in a byte and eight bytes in a word, so that a million rows are looked at in a second.
    words = np.packbits(np.pad(table, ((0, -len(table) % 64), (0, 0))), axis=0).T.copy().view(np.uint64)
    return _together(words, _AXIS, strength)


def _together(words: NDArray[np.uint64], axis: NDArray[np.int64], strength: int) -> Bools:
    if strength == 1:
        return np.asarray(words.any(axis=1))
    found = np.zeros((len(words),) * strength, dtype=bool)
    for first, mine in enumerate(words):
        later = int(np.searchsorted(axis, axis[first], side="right"))
        if mine.any() and later < len(words):
            found[first][(slice(later, None),) * (strength - 1)] = _together(
                words[later:] & mine, axis[later:], strength - 1
            )
    return found


def named(tuples: Bools) -> list[tuple[str, ...]]:
    """The names of cells that are set together, as in ``("layout sliced", "batch huge")``."""
    return [tuple(" ".join(NUMBERED[cell]) for cell in found) for found in np.argwhere(tuples)]
