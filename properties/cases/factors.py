"""Which cells of the parameter space a case falls into, and which cells come together in some case."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from properties.cases.case import COMPILED, COTANGENTS, DTYPES, FILLS, LAYOUTS, WEIGHT_LAYOUTS, Case

CELLS: dict[str, tuple[str, ...]] = {
    "data_dim": ("1", "2", "3"),
    "stride": ("1", "< P, divides P", "< P, does not divide P", "= P", "> P"),
    "patch_size": ("1", "2", "prime", "other"),
    "remainder": ("no axis", "some axes", "all axes"),
    "sizes": ("equal", "unequal"),
    "in_features": ("1", "= P", "other"),
    "out_features": ("1", "= in_features", "other"),
    "batch": ("0", "1", "few", "huge"),
    "bias": ("no", "yes"),
    "dtype": DTYPES,
    "layout": LAYOUTS,
    "weight layout": WEIGHT_LAYOUTS,
    "fill": FILLS,
    "gradients": ("none", "some", "all"),
    "cotangent": COTANGENTS,
    "compiled": ("no", *COMPILED),
}
# Every cell by its number, and the number of the axis that it is on.
NUMBERED = tuple((axis, cell) for axis, along in CELLS.items() for cell in along)
NUMBER = {named: number for number, named in enumerate(NUMBERED)}
_AXIS = np.repeat(np.arange(len(CELLS)), [len(along) for along in CELLS.values()])

Bools = NDArray[np.bool_]


def cells(case: Case, *, compiled: bool = False) -> dict[str, str]:
    """The cell of a case along every axis of ``CELLS``; ``compiled`` says whether it is judged under a compiler."""
    spec, given = case.spec, case.input
    wanted = len(case.backward.requires_grad)
    return {
        **shape_cells(spec.patch_size, spec.step, given.sizes),
        "in_features": in_features_cell(spec.in_features, spec.patch_size),
        "out_features": out_features_cell(spec.out_features, spec.in_features),
        "batch": "1" if given.batch == 1 else "huge" if given.batch > 65_535 else "few",
        "bias": "yes" if spec.bias else "no",
        "dtype": given.dtype,
        "layout": given.layout,
        "weight layout": case.weight_layout,
        "fill": case.fill.name,
        "gradients": "none" if wanted == 0 else "all" if wanted == 2 + spec.bias else "some",
        "cotangent": case.backward.cotangent,
        "compiled": case.compiled if compiled else "no",
    }


def emptied(reached: Mapping[str, str]) -> dict[str, str]:
    """The cells of a case whose batch has been emptied."""
    return {**reached, "batch": "0", "compiled": "no"}


def shape_cells(patch_size: int, step: int, sizes: tuple[int, ...]) -> dict[str, str]:
    """The cells that patch size, stride and spatial sizes decide."""
    left_over = [(size - patch_size) % step > 0 for size in sizes]
    return {
        "data_dim": str(len(sizes)),
        "stride": stride_cell(step, patch_size),
        "patch_size": patch_size_cell(patch_size),
        "remainder": "all axes" if all(left_over) else "some axes" if any(left_over) else "no axis",
        "sizes": "equal" if len(set(sizes)) == 1 else "unequal",
    }


def stride_cell(step: int, patch_size: int) -> str:
    """The cell of an effective stride."""
    if step == patch_size:
        return "= P"
    if step > patch_size:
        return "> P"
    if step == 1:
        return "1"
    return "< P, divides P" if patch_size % step == 0 else "< P, does not divide P"


def patch_size_cell(patch_size: int) -> str:
    """The cell of a patch size."""
    if patch_size <= 2:
        return str(patch_size)
    return "prime" if all(patch_size % n for n in range(2, math.isqrt(patch_size) + 1)) else "other"


def in_features_cell(in_features: int, patch_size: int) -> str:
    """The cell of a number of input channels."""
    return "1" if in_features == 1 else "= P" if in_features == patch_size else "other"


def out_features_cell(out_features: int, in_features: int) -> str:
    """The cell of a number of output channels."""
    return "1" if out_features == 1 else "= in_features" if out_features == in_features else "other"


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
