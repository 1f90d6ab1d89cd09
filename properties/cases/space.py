"""Which cells of the parameter space a run can reach together, and a case for every choice of them.

Both follow from the smallest numbers that fall into given cells. A combination is possible where there are such
numbers and they stay within what dtype, layout and cost allow; a larger choice of numbers allows no more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, combinations_with_replacement, product
from typing import TypeVar

import numpy as np

from oracles.precision import PRECISIONS
from properties.cases import generator
from properties.cases.case import COMPILED, FILLS, LAYOUTS, PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.cases.drawing import CHANNELS, HUGE_BATCH, MOST_WINDOWS, PATCH_SIZES
from properties.cases.factors import (
    CELLS,
    NUMBER,
    Bools,
    in_features_cell,
    out_features_cell,
    patch_size_cell,
    shape_cells,
    stride_cell,
    together,
)

_T = TypeVar("_T")

# A huge batch stays thin, or it would take as long as a thousand other cases: a sample has no more numbers than this
# in the input, in its patches or in its tokens. That leaves out volumes with patches of 4 x 4 x 4.
_THIN = 32
_BATCHES = {"1": 1, "few": 2, "huge": HUGE_BATCH}
_SHAPE = ("data_dim", "stride", "patch_size", "remainder", "sizes")


@dataclass(frozen=True)
class Space:
    """What decides which cells a run can reach.

    ``dtypes`` are those of the run. ``eager`` says whether cases are judged as they are, ``compiled`` whether some are
    judged under a compiler, ``emptied`` whether they are judged with an empty batch, too.
    """

    dtypes: tuple[str, ...]
    eager: bool = True
    compiled: bool = True
    emptied: bool = True


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a case."""

    patch_size: int
    step: int
    sizes: tuple[int, ...]
    in_features: int
    out_features: int
    batch: int

    @property
    def terms(self) -> int:
        return self.in_features * math.prod([self.patch_size] * len(self.sizes))

    @property
    def thin(self) -> bool:
        """Whether a sample is so small that a huge batch of it is cheap."""
        tokens = math.prod((size - self.patch_size) // self.step + 1 for size in self.sizes)
        pixels = math.prod(self.sizes)
        return max(pixels * self.in_features, tokens * self.terms, tokens * self.out_features) <= _THIN

    def holds_address(self, dtype: str) -> bool:
        """Whether a dtype can number all elements of the input."""
        return self.batch * math.prod(self.sizes) * self.in_features <= PRECISIONS[dtype].exact_limit

    @property
    def layouts(self) -> tuple[str, ...]:
        """The layouts that differ from every other: one sample cannot be repeated, and no axis of more than one
        element can have any stride.
        """
        single = 1 in (self.batch, self.in_features, *self.sizes)
        impossible = {"expanded": self.batch == 1, "odd_strides": not single}
        return tuple(layout for layout in LAYOUTS if not impossible.get(layout, False))


@cache
def _smallest_shapes() -> dict[tuple[str, ...], tuple[int, int, tuple[int, ...]]]:
    """Patch size, stride and sizes with the fewest pixels, for all cells of a shape that there are.

    Nothing but these is needed: patch sizes up to 4 are of every kind, a stride two beyond the patch leaves every
    remainder, and a window more makes two sizes unequal.
    """
    found: dict[tuple[str, ...], tuple[int, int, tuple[int, ...]]] = {}
    for data_dim, patch_size in product((1, 2, 3), (1, 2, 3, 4)):
        for step in range(1, patch_size + 3):
            extents = range(patch_size, patch_size + step + 2)
            for sizes in combinations_with_replacement(extents, data_dim):
                where = tuple(shape_cells(patch_size, step, sizes).values())
                known = found.get(where)
                if known is None or math.prod(sizes) < math.prod(known[2]):
                    found[where] = (patch_size, step, sizes)
    return found


def _smallest(where: Mapping[str, str]) -> _Numbers | None:
    """The smallest numbers that fall into the cells of a case, None where there are none."""
    shape = _smallest_shapes().get(tuple(where[axis] for axis in _SHAPE))
    if shape is None:
        return None
    patch_size, step, sizes = shape
    kinds = {in_features_cell(n, patch_size): n for n in (4, 3, 2, 1)}
    in_features = kinds.get(where["in_features"])
    if in_features is None:
        return None
    # The identity weight of the address fill has an output channel for every tap of every input channel.
    outputs = (in_features * patch_size ** len(sizes),) if where["fill"] == "address" else (4, 3, 2, 1)
    out_features = {out_features_cell(n, in_features): n for n in outputs}.get(where["out_features"])
    if out_features is None:
        return None
    return _Numbers(patch_size, step, sizes, in_features, out_features, _BATCHES[where["batch"]])


def _boxes(space: Space) -> Iterator[dict[str, Sequence[str]]]:
    """All that is possible, in boxes: some cells along each axis, any of which go together."""
    axes = (*_SHAPE, "in_features", "out_features", "fill", "batch")
    for shape in _smallest_shapes():
        for chosen in product(CELLS["in_features"], CELLS["out_features"], FILLS):
            smallest = _smallest(dict(zip(axes, (*shape, *chosen, "1"), strict=True)))
            if smallest is None:
                continue
            for batch, samples in _BATCHES.items():
                numbers = replace(smallest, batch=samples)
                dtypes = space.dtypes
                if "address" in chosen:
                    dtypes = tuple(dtype for dtype in dtypes if numbers.holds_address(dtype))
                if not dtypes or (batch == "huge" and not numbers.thin):
                    continue
                box: dict[str, Sequence[str]] = {
                    **CELLS,
                    **{axis: (cell,) for axis, cell in zip(axes, (*shape, *chosen, batch), strict=True)},
                    "dtype": dtypes,
                    "layout": numbers.layouts,
                    # torch has no channels_last format for a sequence.
                    "weight layout": CELLS["weight layout"] if len(numbers.sizes) > 1 else ("plain",),
                }
                if space.eager:
                    yield {**box, "batch": ("0", batch) if space.emptied else (batch,), "compiled": ("no",)}
                if space.compiled:
                    yield {**box, "compiled": COMPILED}


@cache
def boxes(space: Space) -> Bools:
    """All that is possible: rows of cells, bool ``[boxes, cells]``; one of each axis may be chosen from a row."""
    found = list(_boxes(space))
    table = np.zeros((len(found), len(NUMBER)), dtype=bool)
    for number, box in enumerate(found):
        table[number, [NUMBER[axis, cell] for axis, along in box.items() for cell in along]] = True
    return table


@cache
def possible(space: Space, strength: int) -> Bools:
    """Which cells can come together, as ``coverage.together`` gives it."""
    return together(boxes(space), strength)


def build(where: Mapping[str, str], seed: int) -> Case:
    """A case that falls into the given cells, whose numbers and values follow from a data seed.

    Args:
        where: a cell along every axis, all possible together; the batch is not empty, since that of no case is.
        seed: the data seed.
    """
    numbers = _smallest(where)
    assert numbers is not None, f"no case falls into {where}"
    single = where["layout"] == "odd_strides" and "1" not in (where["batch"], where["in_features"])
    # Where an address fill must number every pixel, a batch is huge, or some size must be 1, numbers stay small.
    if where["fill"] != "address" and where["batch"] != "huge" and not single:
        numbers = _drawn(where, seed)
    every = PARAMETERS_AND_INPUT if where["bias"] == "yes" else PARAMETERS_AND_INPUT[:2]
    some = [subset for size in range(1, len(every)) for subset in combinations(every, size)]
    wanted = {"none": (), "some": _pick(seed, "requires_grad", some), "all": every}[where["gradients"]]
    default = where["stride"] == "= P" and _pick(seed, "default stride", (True, False))
    return Case(
        Spec(
            numbers.in_features,
            numbers.out_features,
            len(numbers.sizes),
            numbers.patch_size,
            stride=None if default else numbers.step,
            bias=where["bias"] == "yes",
        ),
        Input(numbers.batch, numbers.sizes, where["dtype"], where["layout"]),
        Fill(where["fill"], seed),
        where["weight layout"],
        Backward(wanted, where["cotangent"]),
        COMPILED[0] if where["compiled"] == "no" else where["compiled"],
    )


def _drawn(where: Mapping[str, str], seed: int) -> _Numbers:
    """Any numbers that fall into the cells of a case; there are some for each patch size of a cell."""
    data_dim = int(where["data_dim"])
    patch_sizes = sorted({n for n in PATCH_SIZES[data_dim] if patch_size_cell(n) == where["patch_size"]})
    patch_size = _pick(seed, "patch_size", patch_sizes)
    steps = [n for n in range(1, patch_size + 4) if stride_cell(n, patch_size) == where["stride"]]
    step = _pick(seed, "stride", steps)
    extents = sorted(
        {
            (windows - 1) * step + patch_size + remainder
            for windows in range(1, MOST_WINDOWS[data_dim] + 1)
            for remainder in (0, 1 % step, step - 1)
        }
    )
    shape = {axis: where[axis] for axis in _SHAPE}
    fitting = [sizes for sizes in product(extents, repeat=data_dim) if shape_cells(patch_size, step, sizes) == shape]
    channels = sorted({*CHANNELS, patch_size})
    in_features = _pick(
        seed, "in_features", [n for n in channels if in_features_cell(n, patch_size) == where["in_features"]]
    )
    channels = sorted({*channels, in_features + 1})
    out_features = _pick(
        seed, "out_features", [n for n in channels if out_features_cell(n, in_features) == where["out_features"]]
    )
    batch = 1 if where["batch"] == "1" else _pick(seed, "batch", (2, 3, 4, 5))
    return _Numbers(patch_size, step, _pick(seed, "sizes", fitting), in_features, out_features, batch)


def _pick(seed: int, what: str, options: Sequence[_T]) -> _T:
    return options[int(generator.integers(seed, f"case/{what}", 1, 0, len(options) - 1)[0])]
