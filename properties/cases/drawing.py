"""Draws cases with Hypothesis, constructively: grid and remainder are drawn, the size follows, nothing is filtered."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any, TypeVar

from hypothesis import strategies as st

from oracles.precision import PRECISIONS
from properties.cases.case import (
    AUTOCAST,
    COTANGENTS,
    DTYPES,
    LAYOUTS,
    PARAMETERS_AND_INPUT,
    SHARING,
    Backward,
    Case,
    Fill,
    Input,
    Spec,
    autocasts,
)
from properties.cases.numbers import MOST_ELEMENTS, PRODUCTS_FOR_AN_ELEMENT, affordable, octaves
from properties.cases.sampling import first_cases, pick

# By data_dim: windows along an axis, and patch sizes, of cases of small numbers. Costs grow with their powers.
MOST_WINDOWS = {1: 7, 2: 4, 3: 3}
PATCH_SIZES = {
    1: (1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 11, 16),
    2: (1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8),
    3: (1, 2, 2, 2, 3, 3, 4),
}
CHANNELS = (1, 1, 2, 2, 3, 3, 4, 5, 7, 8)
# The longest stride that leaves gaps: oneDNN's time for an input gradient grows with its square, and at 2**15
# it ends the process (docs/torch-faults.md). Whoever builds a layer on torch's convolution inherits that.
LONGEST_STRIDE = 2**13
# Two axes are where most bugs are, since there axes can be mixed up at little cost.
_DATA_DIMS = (1, 1, 2, 2, 2, 3, 3)
# Log2 of the elements that a case of numbers on a logarithmic scale may have: most are cheap, few reach all kernels.
_BUDGETS = (*(9, 10, 10, 11, 11, 12, 12, 12, 13, 13, 14, 14, 15, 16) * 2, 17, 17, 18, 20)

_T = TypeVar("_T")


@st.composite
def specs(draw: st.DrawFn, data_dims: Sequence[int] = _DATA_DIMS) -> Spec:
    """Constructor arguments, biased toward numbers that are equal, adjacent, one or prime."""
    data_dim = pick(draw, "data_dim", data_dims)
    patch_size = pick(draw, "patch_size", PATCH_SIZES[data_dim])
    strides = [None, None, patch_size, patch_size + 1, patch_size + 2, patch_size + 3, 2 * patch_size]
    if patch_size > 1:
        strides += [1, 2, patch_size - 1, (patch_size + 1) // 2, max(1, patch_size // 2), patch_size - patch_size // 3]
    # Equal numbers hide bugs that mix up what they count; unequal ones hide bugs that need a coincidence.
    in_features = pick(draw, "in_features", (*CHANNELS, min(patch_size, 8), data_dim + 1))
    out_features = pick(draw, "out_features", (*CHANNELS, in_features, in_features + 1, min(patch_size, 8)))
    return Spec(
        in_features,
        out_features,
        data_dim,
        patch_size,
        stride=pick(draw, "stride", strides),
        bias=pick(draw, "bias", (True, False)),
    )


@st.composite
def sizes(draw: st.DrawFn, spec: Spec) -> tuple[int, ...]:
    """Spatial sizes: for each axis windows ``g`` and remainder ``r < S``, then ``s = (g - 1)*S + P + r``."""
    stride = spec.effective_stride
    remainders = sorted({0, 1 % stride, stride // 2, stride - 1})
    alike = pick(draw, "axes alike in", ("windows", "windows and remainder", "nothing", "nothing"))
    exact_fit = pick(draw, "exact fit", (False, False, False, True))
    drawn: list[tuple[int, int]] = []
    for axis in range(spec.data_dim):
        windows = pick(draw, f"windows {axis}", range(1, MOST_WINDOWS[spec.data_dim] + 1))
        remainder = 0 if exact_fit else pick(draw, f"remainder {axis}", remainders)
        if drawn and alike != "nothing":
            windows = drawn[0][0]
            remainder = drawn[0][1] if alike == "windows and remainder" else remainder
        drawn.append((windows, remainder))
    return tuple((windows - 1) * stride + spec.patch_size + remainder for windows, remainder in drawn)


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a case that is being drawn, and elements that its tensors may have."""

    data_dim: int
    most: int
    batch: int = 1
    in_features: int = 1
    out_features: int = 1
    patch_size: int = 1
    effective_stride: int = 1
    windows: tuple[int, ...] = (1, 1, 1)
    remainders: tuple[int, ...] = (0, 0, 0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Spatial sizes, ``s = (g - 1)*S + P + r``."""
        along = zip(self.windows[: self.data_dim], self.remainders, strict=False)
        return tuple(
            (windows - 1) * self.effective_stride + self.patch_size + remainder for windows, remainder in along
        )

    @property
    def affordable(self) -> bool:
        if self.effective_stride > max(self.patch_size, LONGEST_STRIDE):
            return False
        # A stride is no longer than where a second window would be: torch's second derivatives take as long as that.
        tokens, pixels = (
            math.prod(self.windows[: self.data_dim]),
            max(math.prod(self.sizes), self.effective_stride**self.data_dim),
        )
        taps = self.patch_size**self.data_dim
        # Some kernels make a weight gradient of dilated windows, whose gaps are as wide as the stride.
        products = (
            taps
            * self.in_features
            * self.out_features
            * max(1, self.effective_stride - self.patch_size) ** self.data_dim
        )
        if self.batch * products > PRODUCTS_FOR_AN_ELEMENT * self.most:
            return False
        return bool(affordable(self.batch, tokens, pixels, taps, self.in_features, self.out_features, self.most))


@st.composite
def numbers(draw: st.DrawFn, data_dims: Sequence[int] = _DATA_DIMS) -> tuple[Spec, int, tuple[int, ...]]:
    """A spec, a batch and sizes whose numbers are drawn on a logarithmic scale, one after the other.

    Each goes up to what the ones before it leave of a budget, so that the first one is often large, and the last one
    rarely. Nothing is drawn that does not fit.
    """
    # None of them is at its least: where one number is large, the others are still those of a layer.
    found = _Numbers(
        data_dim=pick(draw, "data_dim", data_dims),
        most=2 ** pick(draw, "budget", _BUDGETS),
        in_features=pick(draw, "few in_features", (1, 2, 3)),
        out_features=pick(draw, "few out_features", (1, 2, 3)),
        patch_size=(patch_size := pick(draw, "small patch_size", (1, 2, 2, 3))),
        effective_stride=patch_size,
    )
    order = ["batch", "in_features", "out_features", "patch_size", "effective_stride", *range(found.data_dim)]
    turn = pick(draw, "first", range(len(order)))
    forth = pick(draw, "forth", (True, False))
    default = True
    for name in (*order[turn:], *order[:turn]) if forth else (*order[turn::-1], *order[:turn:-1]):
        fits = partial(_fits, found, name)
        fitting = octaves(fits)
        if name == "patch_size":
            # After its stride: a larger patch leaves smaller gaps, and may fit where a smaller one does not.
            within = [tuple(filter(fits, octave)) for octave in fitting]
            fitting = [octave for octave in within if octave]
        if name == "effective_stride":
            # A stride has more to do with the patch than with powers of two.
            near = [found.patch_size + more for more in (0, 1, 2)] + [found.patch_size * times for times in (2, 4)]
            below = [1, found.patch_size // 2, found.patch_size - 1] if found.patch_size > 1 else []
            related = [n for n in (*near, *below) if n > 0 and fits(n)]
            default = pick(draw, "default stride", (True, False))
            fitting = [(found.patch_size,)] if default else [tuple(related)] * len(fitting) + fitting
        number = pick(draw, f"{name}", pick(draw, f"octave of {name}", fitting))
        found = _changed(found, name, number)
    for axis in range(found.data_dim):
        remainders = sorted({0, 1 % found.effective_stride, found.effective_stride // 2, found.effective_stride - 1})
        options = [_with_remainder(found, axis, remainder) for remainder in remainders]
        found = pick(draw, f"remainder {axis}", [option for option in options if option.affordable])
    spec = Spec(
        found.in_features,
        found.out_features,
        found.data_dim,
        found.patch_size,
        stride=None if default and found.effective_stride == found.patch_size else found.effective_stride,
        bias=pick(draw, "bias", (True, False)),
    )
    return spec, found.batch, found.sizes


def _fits(found: _Numbers, name: str | int, number: int) -> bool:
    """Whether a case with another number is affordable."""
    return _changed(found, name, number).affordable


def _changed(found: _Numbers, name: str | int, number: int) -> _Numbers:
    """The numbers with another one; windows go by their axis, and a stride that is not drawn yet by the patch."""
    if isinstance(name, int):
        windows = (*found.windows[:name], number, *found.windows[name + 1 :])
        return replace(found, windows=windows)
    changes: dict[str, Any] = {name: number}
    if name == "patch_size" and found.effective_stride == found.patch_size:
        changes["effective_stride"] = number
    return replace(found, **changes)


def _with_remainder(found: _Numbers, axis: int, remainder: int) -> _Numbers:
    return replace(found, remainders=(*found.remainders[:axis], remainder, *found.remainders[axis + 1 :]))


@st.composite
def _small_numbers(draw: st.DrawFn, data_dims: Sequence[int] = _DATA_DIMS) -> tuple[Spec, int, tuple[int, ...]]:
    """A spec, a batch and sizes of small numbers, which have more in common than large ones."""
    spec = draw(specs(data_dims))
    extent = draw(sizes(spec))
    batch = pick(draw, "batch", (1, 1, 2, 2, 3, 4, 5, min(extent[0], 8), spec.in_features))
    return spec, batch, extent


@st.composite
def inputs(draw: st.DrawFn, spec: Spec, batch: int, extent: tuple[int, ...], dtypes: Sequence[str]) -> Input:
    """What a layer of the given spec is given, with another batch where its layout needs one."""
    layout = pick(draw, "layout", (*LAYOUTS, "channels_first"))
    if layout in SHARING and batch == 1:
        batch = pick(draw, "batch", (2, 3, 5))
    if layout == "odd_strides" and 1 not in (spec.in_features, *extent):
        batch = 1  # only an axis of size 1 can have any stride
    origin = pick(draw, "origin", ("leaf", "leaf", "result"))
    return Input(batch, extent, pick(draw, "dtype", dtypes), layout, origin)


@st.composite
def cases(
    draw: st.DrawFn, dtypes: Sequence[str] = DTYPES, data_dims: Sequence[int] = _DATA_DIMS, *, small: bool = False
) -> Case:
    """Whole cases, of bounded cost.

    Args:
        draw: given by Hypothesis.
        dtypes: names of the dtypes to draw from.
        data_dims: numbers of spatial axes to draw from.
        small: whether all numbers are small.
    """
    scale = _small_numbers if small or pick(draw, "small numbers", (True, False)) else numbers
    spec, batch, extent = draw(scale(data_dims))
    given_input = draw(inputs(spec, batch, extent, dtypes))
    mode = pick(draw, "mode", (*["train"] * 6, "eval", "eval", "no_grad", "inference"))
    differentiable = PARAMETERS_AND_INPUT if spec.bias else PARAMETERS_AND_INPUT[:2]
    subsets = [subset for size in range(len(differentiable) + 1) for subset in combinations(differentiable, size)]
    # Most layers learn all of their parameters; the first one of a model is given data, which need no gradient.
    subsets += [differentiable, differentiable, differentiable, differentiable[1:], differentiable[1:]]
    backward = Backward(
        () if mode in ("no_grad", "inference") else pick(draw, "requires_grad", subsets),
        pick(draw, "cotangent", ("random", "random", *COTANGENTS)),
    )
    fill_name = pick(draw, "fill", _FILLS)
    if fill_name == "address":
        if spec.terms <= 64 and math.prod(given_input.sizes) * given_input.batch * spec.in_features <= min(
            PRECISIONS[given_input.dtype].exact_limit, MOST_ELEMENTS // 64
        ):
            spec = replace(spec, out_features=spec.terms)
        else:
            fill_name = "exact"
    return Case(
        spec,
        given_input,
        Fill(fill_name, 100 * pick(draw, "hundreds of the seed", range(100)) + pick(draw, "seed", range(100))),
        pick(draw, "weight layout", ("plain", "channels_last")) if spec.data_dim > 1 else "plain",
        backward,
        mode=mode,
        autocast=pick(
            draw, "autocast", [dtype for dtype in AUTOCAST if autocasts(dtype, fill_name, given_input.dtype)]
        ),
    )


# How often each is drawn: integers show most.
_FILLS = (
    *("exact", "exact", "exact", "exact", "exact", "real", "real"),
    *("wide", "address", "poison", "sparse", "sparse", "extreme"),
)


def draw_cases(
    seed: str, count: int, dtypes: Sequence[str] = DTYPES, data_dims: Sequence[int] = _DATA_DIMS
) -> list[Case]:
    """The first ``count`` cases of the sequence that belongs to a seed.

    The sequence depends on the seed, on the dtypes and on the version of Hypothesis; not on the machine, the process,
    environment variables or anything drawn before.
    """
    return first_cases(cases(dtypes, data_dims), seed, count)
