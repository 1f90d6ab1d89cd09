"""Which levels of the parameter space a run can reach together, and a case for every choice of them.

Both follow from the smallest numbers that fall into given levels. A combination is possible where there are such
numbers and they stay within what dtype, layout and cost allow; a larger choice of numbers allows no more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from oracles.precision import PRECISIONS
from properties.cases import generator
from properties.cases.case import (
    AUTOCAST,
    COMPILED,
    FILLS,
    LAYOUTS,
    MODES,
    SHARING,
    Backward,
    Case,
    Fill,
    Input,
    Spec,
    autocasts,
)
from properties.cases.domain import WHOLE, Domain
from properties.cases.factors import (
    BATCH_BINS,
    CHANNEL_BINS,
    FAR,
    LEVELS,
    NUMBER,
    TERM_BINS,
    WINDOW_BINS,
    Bools,
    binned,
    in_features_level,
    out_features_level,
    shape_levels,
    together,
)
from properties.cases.numbers import MOST_ELEMENTS, NOTABLE, affordable

_T = TypeVar("_T")

# Elements up to which a number is made any of its level: beyond them a case would take long and say no more.
_CHEAP = 2**14
# Patch sizes of every level with divisors other than 1 and without, and, of one channel, past where bins of sums begin.
_PATCH_SIZES = (1, 2, 3, 4, 6, 7, 8, 9, 16, 17, 32, 33, 258, 4098)
# What the numbers of a case decide, alone or together; and what is left to choose beside them.
_SHAPE = ("data_dim", "stride", "patch_size", "remainder", "sizes", "windows")
BESIDE = ("bias", "origin", "gradients", "cotangent", "mode")


@dataclass(frozen=True)
class Space:
    """What decides which levels a run can reach.

    ``dtypes`` are those of the run. ``eager`` says whether cases are judged as they are, ``compiled`` whether some are
    judged under a compiler, ``autocast`` whether they are judged under autocast, ``emptied`` with an empty batch, too.
    ``domain`` is what the layer is for.
    """

    dtypes: tuple[str, ...]
    eager: bool = True
    compiled: bool = True
    autocast: bool = True
    emptied: bool = True
    domain: Domain = WHOLE


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a case."""

    patch_size: int
    effective_stride: int
    sizes: tuple[int, ...]
    in_features: int
    out_features: int
    batch: int

    @property
    def windows(self) -> tuple[int, ...]:
        return tuple((size - self.patch_size) // self.effective_stride + 1 for size in self.sizes)

    @property
    def taps(self) -> int:
        return int(self.patch_size ** len(self.sizes))

    def affordable(self, most: int) -> bool:
        """Whether no tensor of a case of these numbers has more elements."""
        tokens, pixels = math.prod(self.windows), math.prod(self.sizes)
        return bool(affordable(self.batch, tokens, pixels, self.taps, self.in_features, self.out_features, most))

    @property
    def levels(self) -> dict[str, str]:
        """The levels that they fall into."""
        return {
            **shape_levels(self.patch_size, self.effective_stride, self.sizes),
            "windows": binned("windows", WINDOW_BINS, math.prod(self.windows)),
            "in_features": in_features_level(self.in_features, self.patch_size),
            "out_features": out_features_level(self.out_features, self.in_features),
            "terms": binned("terms", TERM_BINS, self.in_features * self.taps),
            "batch": binned("batch", BATCH_BINS, self.batch),
        }


@dataclass(frozen=True)
class _Shape:
    """Patch size, stride and sizes with few pixels, and whether an axis is one pixel long."""

    patch_size: int
    effective_stride: int
    sizes: tuple[int, ...]
    tokens: int

    @property
    def single(self) -> bool:
        return 1 in self.sizes


@cache
def _smallest_shapes(domain: Domain) -> dict[tuple[str, ...], tuple[_Shape, ...]]:
    """By the levels of a shape, the shapes with the fewest pixels: for each patch size, with and without a single axis.

    Nothing but these is needed: the patch sizes have divisors and none, a stride two beyond the patch leaves every
    remainder, and a window or a remainder more makes two sizes unequal.
    """
    found: dict[tuple[str, ...], dict[tuple[int, bool], _Shape]] = {}
    for data_dim, patch_size in product(domain.data_dims, domain.patch_sizes or _PATCH_SIZES):
        steps = {1, 2, 3, 4, patch_size - 1, patch_size, patch_size + 1, patch_size + 2, FAR * patch_size}
        steps |= {domain.stride} if isinstance(domain.stride, int) else set()
        for stride in (stride for stride in sorted(steps - {0}) if domain.takes_stride(stride, patch_size)):
            for sizes in _extents(domain, data_dim, patch_size, stride):
                windows = tuple((size - patch_size) // stride + 1 for size in sizes)
                shape = _Shape(patch_size, stride, sizes, math.prod(windows))
                if not affordable(1, shape.tokens, math.prod(sizes), patch_size**data_dim, 1, 1, domain.most_elements):
                    continue
                where = (
                    *shape_levels(patch_size, stride, sizes).values(),
                    binned("windows", WINDOW_BINS, shape.tokens),
                )
                known = found.setdefault(where, {})
                key = patch_size, shape.single
                if key not in known or math.prod(sizes) < math.prod(known[key].sizes):
                    known[key] = shape
    return {where: tuple(known.values()) for where, known in found.items()}


def _extents(domain: Domain, data_dim: int, patch_size: int, stride: int) -> Iterator[tuple[int, ...]]:
    """Sizes of the domain, of few windows and small remainders."""
    if isinstance(domain.sizes, tuple):
        if min(domain.sizes) >= patch_size:
            yield domain.sizes
        return
    for windows in _grids(data_dim):
        for remainders in product(range(min(stride, 3)), repeat=data_dim):
            sizes = tuple((n - 1) * stride + patch_size + more for n, more in zip(windows, remainders, strict=True))
            if domain.takes_sizes(sizes, patch_size, stride):
                yield sizes


def _grids(data_dim: int) -> list[tuple[int, ...]]:
    """Windows along each axis: as few as each bin takes, all along one axis or as many along each, or one more."""
    found: set[tuple[int, ...]] = set()
    for fewest in WINDOW_BINS:
        alike = math.ceil(round(fewest ** (1 / data_dim), 6))
        found |= {(alike,) * data_dim, (alike,) * (data_dim - 1) + (alike + 1,)}
        found |= {(1,) * (data_dim - 1) + (fewest,), (fewest,) + (1,) * (data_dim - 1)}
    return sorted(found)


def _smallest(where: Mapping[str, str], single: bool, domain: Domain) -> _Numbers | None:
    """The smallest numbers that fall into the levels of a case, None where there are none.

    Args:
        where: the levels.
        single: whether a size, the batch or the channels must be 1.
        domain: what they are numbers of.
    """
    choices = []
    batch = BATCH_BINS[LEVELS["batch"].index(where["batch"])]
    for shape in _smallest_shapes(domain).get(tuple(where[factor] for factor in _SHAPE), ()):
        taps = shape.patch_size ** len(shape.sizes)
        for in_features in _channels(domain, where["in_features"], where["terms"], shape.patch_size, taps):
            for outputs in _outputs(domain, where["out_features"], in_features, taps, where["fill"] == "address"):
                numbers = _Numbers(
                    shape.patch_size, shape.effective_stride, shape.sizes, int(in_features), int(outputs), batch
                )
                fits = not single or 1 in (batch, in_features, *shape.sizes)
                if (
                    fits
                    and numbers.affordable(domain.most_elements)
                    and all(where[factor] == level for factor, level in numbers.levels.items())
                ):
                    choices.append(numbers)
    return min(choices, key=lambda numbers: math.prod(numbers.sizes) * numbers.in_features, default=None)


def _channels(domain: Domain, level: str, terms: str, patch_size: Any, taps: Any) -> Iterator[Any]:
    """Input channels that may fall into a level and give sums as long as another level says: all that a domain names,
    else the fewest. Also for arrays of patch sizes and taps.
    """
    if domain.in_features is None:
        yield _fewest_channels(level, terms, patch_size, taps)
    else:
        yield from (0 * taps + number for number in domain.in_features)


def _fewest_channels(level: str, terms: str, patch_size: Any, taps: Any) -> Any:
    """The fewest input channels of a level whose sums have as many terms as another level says; too few where none do.

    Also for arrays of patch sizes and taps.
    """
    number = -(-TERM_BINS[LEVELS["terms"].index(terms)] // taps)
    if level == "1":
        return 0 * taps + 1
    if level == "= P":
        return patch_size
    number = np.maximum(number, _lowest("in_features", level))
    return number + (number == patch_size)


def _outputs(domain: Domain, level: str, in_features: Any, taps: Any, address: bool) -> Iterator[Any]:
    """Output channels that may fall into a level: all that a domain names, else the fewest; for the fill ``address`` as
    many as a window has values. Also for arrays.
    """
    if address:
        yield taps * in_features
    elif domain.out_features is None:
        yield _fewest_outputs(level, in_features)
    else:
        yield from (0 * in_features + number for number in domain.out_features)


def _fewest_outputs(level: str, in_features: Any) -> Any:
    """The fewest output channels of a level, for any input channels; also for arrays of them."""
    if level == "1":
        return 0 * in_features + 1
    if level == "= in_features":
        return in_features
    lowest = _lowest("out_features", level)
    return lowest + (in_features == lowest)


def _lowest(factor: str, level: str) -> int:
    """The least number of a level that is a bin of channels."""
    return CHANNEL_BINS[LEVELS[factor].index(level) - len(LEVELS[factor])]


def _numeric_rows(space: Space) -> Iterator[NDArray[np.bool_]]:
    """What the numbers of a case decide, in boxes: some levels along each factor, any of which go together."""
    domain, most = space.domain, space.domain.most_elements
    keys = [(where, shape) for where, shapes in _smallest_shapes(domain).items() for shape in shapes]
    shapes = [shape for _, shape in keys]
    patch_size, tokens = (np.array([getattr(shape, name) for shape in shapes]) for name in ("patch_size", "tokens"))
    pixels = np.array([math.prod(shape.sizes) for shape in shapes])
    taps = np.array([shape.patch_size ** len(shape.sizes) for shape in shapes])
    single = np.array([shape.single for shape in shapes])
    plain = np.zeros((len(keys), len(NUMBER)), dtype=bool)
    for number, (where, _) in enumerate(keys):
        plain[number, [NUMBER[factor, level] for factor, level in zip(_SHAPE, where, strict=True)]] = True
    plain[:, NUMBER["weight layout", "plain"]] = True
    plain[:, NUMBER["weight layout", "channels_last"]] = ~plain[:, NUMBER["data_dim", "1"]]
    for into, length in product(LEVELS["in_features"], LEVELS["terms"]):
        for channels in _channels(domain, into, length, patch_size, taps):
            right = _fall(channels, patch_size, LEVELS["in_features"].index(into))
            right &= np.searchsorted(TERM_BINS, taps * channels, side="right") - 1 == LEVELS["terms"].index(length)
            if not right.any():
                continue
            for out, address in product(LEVELS["out_features"], (False, True)):
                for outputs in _outputs(domain, out, channels, taps, address):
                    fits = right & _fall(outputs, channels, LEVELS["out_features"].index(out))
                    if address and domain.out_features is not None:
                        fits &= np.isin(outputs, domain.out_features)
                    of_sample: tuple[Any, ...] = (tokens, pixels, taps, channels, outputs, np.full_like(tokens, most))
                    for batch in (1, 2):
                        within = fits & affordable(batch, *of_sample)
                        if not within.any():
                            continue
                        rows = plain[within].copy()
                        for factor, level in (("in_features", into), ("terms", length), ("out_features", out)):
                            rows[:, NUMBER[factor, level]] = True
                        # Whatever a smaller batch can afford, a larger one may not; and one sample cannot be repeated.
                        for level, samples in zip(LEVELS["batch"], BATCH_BINS, strict=True):
                            if (samples == 1) if batch == 1 else (samples > 1):
                                cheap = affordable(samples, *(each[within] for each in of_sample))
                                rows[:, NUMBER["batch", level]] = cheap
                        for layout in LAYOUTS:
                            rows[:, NUMBER["layout", layout]] = layout not in SHARING or batch > 1
                        odd = single | (channels == 1) | (batch == 1)
                        rows[:, NUMBER["layout", "odd_strides"]] = odd[within]
                        elements = pixels[within] * channels[within]
                        yield from _filled(space, rows, elements, address)


def _fall(channels: NDArray[np.int64], others: NDArray[np.int64], level: int) -> NDArray[np.bool_]:
    """Which channels fall into a level: those of 1, those as many as others, or a bin."""
    binned = np.searchsorted(CHANNEL_BINS, channels, side="right") + 1
    return np.asarray(np.where(channels == 1, 0, np.where(channels == others, 1, binned)) == level)


def _filled(space: Space, rows: Bools, elements: NDArray[Any], address: bool) -> Iterator[Bools]:
    """The rows with fills, dtypes, and what is judged with them."""
    if address:
        # A dtype must be able to number all elements of the input.
        for level, samples in zip(LEVELS["batch"], BATCH_BINS, strict=True):
            batch = rows[:, NUMBER["batch", level]]
            if batch.any():
                one = rows[batch].copy()
                one[:, [NUMBER["batch", other] for other in LEVELS["batch"] if other != level]] = False
                for dtype in space.dtypes:
                    one[:, NUMBER["dtype", dtype]] = samples * elements[batch] <= PRECISIONS[dtype].exact_limit
                yield from _judged(space, one, ("address",))
    else:
        rows[:, [NUMBER["dtype", dtype] for dtype in space.dtypes]] = True
        yield from _judged(space, rows, tuple(fill for fill in FILLS if fill != "address"))


def _judged(space: Space, rows: Bools, fills: tuple[str, ...]) -> Iterator[Bools]:
    """The rows as they are judged: eager or compiled, under autocast or not, and emptied."""
    rows = rows[rows[:, [NUMBER["dtype", dtype] for dtype in space.dtypes]].any(axis=1)]
    compiled = [*(["no"] if space.eager else []), *(COMPILED if space.compiled else ())]
    if compiled:
        for low in AUTOCAST if space.autocast else AUTOCAST[:1]:
            judged = [fill for fill in fills if any(autocasts(low, fill, dtype) for dtype in space.dtypes)]
            if judged:
                one = _set(rows, {"fill": judged, "compiled": compiled, "autocast": [low]})
                for dtype in space.dtypes:
                    one[:, NUMBER["dtype", dtype]] &= autocasts(low, judged[0], dtype)
                yield one
    if space.emptied:
        empty = _set(rows, {"fill": fills, "compiled": ["no"], "autocast": ["off"]})
        empty[:, [NUMBER["batch", level] for level in LEVELS["batch"]]] = False
        empty[:, NUMBER["batch", "0"]] = True
        yield empty


def _set(rows: Bools, chosen: Mapping[str, Sequence[str]]) -> Bools:
    found = rows.copy()
    found[:, [NUMBER[factor, level] for factor, along in chosen.items() for level in along]] = True
    return found


def _rows_beside(domain: Domain) -> Bools:
    """What is chosen beside the numbers: no gradient of a bias that is not there, and none without gradient mode."""
    found = []
    biases = {"always": ("yes",), "never": ("no",)}.get(domain.bias, LEVELS["bias"])
    wanted = LEVELS["gradients"] if domain.gradients else ("none",)
    for bias, mode, gradients in product(biases, MODES, wanted):
        if (bias == "yes" or "bias" not in gradients) and (gradients == "none" or mode in ("train", "eval")):
            free = {factor: LEVELS[factor] for factor in BESIDE}
            chosen = free | {"bias": (bias,), "mode": (mode,), "gradients": (gradients,)}
            found.append(_set(np.zeros((1, len(NUMBER)), dtype=bool), chosen))
    return np.concatenate(found)


@cache
def boxes(space: Space) -> tuple[Bools, Bools]:
    """All that is possible: two tables of rows, bool ``[rows, levels]``, each with levels of some axes.

    One level of each factor may be chosen from a row of the first table and from a row of the second one.
    """
    numeric = np.concatenate([np.zeros((0, len(NUMBER)), dtype=bool), *_numeric_rows(space)])
    # As bits, which are merged ten times, and sorted a hundred times as fast.
    packed = np.packbits(numeric, axis=1)
    # The factor first that leaves the fewest boxes.
    for factor in ("stride", *(factor for factor in LEVELS if factor not in (*BESIDE, "stride"))):
        packed = _merged(packed, [NUMBER[factor, level] for level in LEVELS[factor]])
    return np.unpackbits(packed, axis=1, count=len(NUMBER)).astype(bool), _rows_beside(space.domain)


def _merged(packed: NDArray[np.uint8], along: list[int]) -> NDArray[np.uint8]:
    """Boxes that differ in the levels of one factor alone, made one."""
    if len(packed) == 0:
        return packed
    others = packed & np.packbits([level not in along for level in range(len(NUMBER))])
    _, group = np.unique(others.view(f"V{others.shape[1]}").ravel(), return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.asarray(np.bitwise_or.reduceat(packed[order], starts, axis=0))


@cache
def possible(space: Space, strength: int) -> Bools:
    """Which levels can come together, as ``factors.together`` gives it."""
    numeric, beside = boxes(space)
    of_beside = np.isin([factor for factor, _ in NUMBER], BESIDE)
    # What the other table decides is free here.
    return np.asarray(together(numeric | of_beside, strength) & together(beside | ~of_beside, strength))


def build(where: Mapping[str, str], seed: int, domain: Domain = WHOLE) -> Case:
    """A case that falls into the given levels, whose numbers and values follow from a data seed.

    Args:
        where: a level along every factor, all possible together; the batch is not empty, since that of no case is.
        seed: the data seed.
        domain: what the levels are possible in.
    """
    smallest = _smallest(where, where["layout"] == "odd_strides", domain)
    assert smallest is not None, f"no case falls into {where}"
    numbers = _grown(where, smallest, seed, domain)
    default = where["stride"] == "= P" and _pick(seed, "default stride", (True, False))
    return Case(
        Spec(
            numbers.in_features,
            numbers.out_features,
            len(numbers.sizes),
            numbers.patch_size,
            stride=None if default else numbers.effective_stride,
            bias=where["bias"] == "yes",
        ),
        Input(numbers.batch, numbers.sizes, where["dtype"], where["layout"], where["origin"]),
        Fill(where["fill"], seed),
        where["weight layout"],
        Backward(tuple(where["gradients"].split(" + ")) if where["gradients"] != "none" else (), where["cotangent"]),
        COMPILED[0] if where["compiled"] == "no" else where["compiled"],
        mode=where["mode"],
        autocast=where["autocast"],
    )


def _grown(where: Mapping[str, str], numbers: _Numbers, seed: int, domain: Domain) -> _Numbers:
    """The numbers, each made any other of its level in turn, as far as cost and the other levels allow."""

    def fits(other: _Numbers) -> bool:
        return _fits(where, other, domain)

    for name in ("in_features", "out_features", "batch", "patch_size", "effective_stride"):
        now = getattr(numbers, name)
        if name == "patch_size" or (name == "out_features" and where["fill"] == "address"):
            continue
        changed = [_with(numbers, name, n) for octave in NOTABLE for n in octave if now < n < 4 * now + 8]
        # What is large becomes no larger, but may come to be past a power of two.
        cheap = [other for other in changed if other.affordable(_CHEAP) or getattr(other, name) == now + 1]
        numbers = _pick(seed, name, [numbers, *filter(fits, cheap)])
    for axis in range(len(numbers.sizes)):
        more = [
            1,
            numbers.effective_stride - 1,
            numbers.effective_stride,
            2 * numbers.effective_stride,
            3 * numbers.effective_stride + numbers.effective_stride // 2,
        ]
        sizes = [tuple(s + n * (a == axis) for a, s in enumerate(numbers.sizes)) for n in more]
        others = [replace(numbers, sizes=each) for each in sizes]
        options = [numbers, *filter(fits, (other for other in others if other.affordable(_CHEAP)))]
        numbers = _pick(seed, f"size {axis}", options)
    return numbers


def _with(numbers: _Numbers, name: str, value: int) -> _Numbers:
    """The numbers with another one, and as many windows and remainders as before."""
    if name != "effective_stride":
        changes: dict[str, Any] = {name: value}
        return replace(numbers, **changes)
    remainders = [(size - numbers.patch_size) % numbers.effective_stride for size in numbers.sizes]
    sizes = tuple(
        (n - 1) * value + numbers.patch_size + min(more, value - 1)
        for n, more in zip(numbers.windows, remainders, strict=True)
    )
    return replace(numbers, effective_stride=value, sizes=sizes)


def _fits(where: Mapping[str, str], numbers: _Numbers, domain: Domain) -> bool:
    """Whether numbers fall into the levels of a case, and its domain, dtype and layout can take them."""
    if not numbers.affordable(MOST_ELEMENTS) or any(where[factor] != level for factor, level in numbers.levels.items()):
        return False
    if not (
        domain.takes_shape(numbers.patch_size, numbers.effective_stride, numbers.sizes)
        and domain.takes_channels(numbers.in_features, numbers.out_features)
    ):
        return False
    elements = numbers.batch * math.prod(numbers.sizes) * numbers.in_features
    if where["fill"] == "address" and (
        elements > PRECISIONS[where["dtype"]].exact_limit or numbers.out_features != numbers.in_features * numbers.taps
    ):
        return False
    return where["layout"] != "odd_strides" or 1 in (numbers.batch, numbers.in_features, *numbers.sizes)


def _pick(seed: int, what: str, options: Sequence[_T]) -> _T:
    return options[int(generator.integers(seed, f"case/{what}", 1, 0, len(options) - 1)[0])]
