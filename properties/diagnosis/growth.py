"""Makes a failing case larger: what can be read off one pixel is little.

The opposite of shrinking. A case grows in one respect at a time, as long as the same property fails. Where it cannot,
that respect is part of the cause.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from properties.cases.case import Backward, Case, Fill, Spec
from properties.cases.error import CaseError

# Elements of the input and products of one forward pass: a probe must cost little.
_MOST_ELEMENTS = 2**14
_MOST_PRODUCTS = 2**20


def grow(case: Case, fails: Callable[[Case], bool]) -> Case:
    """A case as large as is useful on which the same property still fails.

    Args:
        case: a failing case.
        fails: whether a case fails.
    """
    for larger in _STEPS:
        for candidate in larger(case):
            if candidate == case:
                break
            if _affordable(candidate) and fails(candidate):
                case = candidate
                break
    return case


def reshaped(case: Case, spec: Spec, grid: tuple[int, ...], rests: tuple[int, ...]) -> Case | None:
    """The case with another spec, so many windows along each axis and so many pixels after them, if there is such."""
    sizes = tuple((g - 1) * spec.step + spec.patch_size + rest for g, rest in zip(grid, rests, strict=True))
    if case.fill.name == "address":
        spec = replace(spec, out_features=spec.terms)
    layout = case.weight_layout if spec.data_dim > 1 else "plain"
    try:
        return replace(case, spec=spec, input=replace(case.input, sizes=sizes), weight_layout=layout)
    except CaseError:
        return None


def rests(case: Case) -> tuple[int, ...]:
    """Pixels after the last window on each axis."""
    return tuple((size - case.spec.patch_size) % case.spec.step for size in case.input.sizes)


def _affordable(case: Case) -> bool:
    tokens = case.input.batch * math.prod(case.grid)
    products = tokens * case.spec.terms * case.spec.out_features
    return math.prod(case.input_shape) <= _MOST_ELEMENTS and products <= _MOST_PRODUCTS


def _plainer_fill(case: Case) -> Iterator[Case]:
    if case.fill.name != "address":
        yield replace(case, fill=Fill("exact", 1101))


def _other_layout(case: Case) -> Iterator[Case]:
    """A single pixel is laid out in one way only, whatever that is called: another layout may show the same."""
    if case.input.layout != "contiguous" and max(case.grid) == 1:
        for layout in ("odd_strides", "channels_first", "transposed", "stepped", "sliced"):
            other = replace(case, input=replace(case.input, layout=layout))
            yield from _valid(reshaped(other, case.spec, (4,) * case.spec.data_dim, rests(case)))


def _more_axes(case: Case) -> Iterator[Case]:
    if case.spec.data_dim == 1:
        spec = replace(case.spec, data_dim=2)
        (windows,), (left,) = case.grid, rests(case)
        for second in (windows + 1, windows):
            yield from _valid(reshaped(case, spec, (windows, second), (left, left)))


def _larger_patch(case: Case) -> Iterator[Case]:
    spec = case.spec
    for patch_size in (3, 2):
        if spec.patch_size < patch_size and not (spec.data_dim == 3 and patch_size == 3):
            more = patch_size - spec.patch_size
            for stride in dict.fromkeys((spec.stride and spec.stride + more, spec.stride)):
                larger = replace(spec, patch_size=patch_size, stride=stride)
                yield from _valid(reshaped(case, larger, case.grid, rests(case)))


def _larger_stride(case: Case) -> Iterator[Case]:
    """So that strides and what is left over can be told from ones."""
    spec = case.spec
    if spec.stride is not None and spec.stride < spec.patch_size - 1:
        yield from _valid(reshaped(case, replace(spec, stride=spec.patch_size - 1), case.grid, rests(case)))
    if spec.stride is not None and spec.stride in (spec.patch_size, spec.patch_size + 1):
        yield from _valid(reshaped(case, replace(spec, stride=spec.patch_size + 2), case.grid, rests(case)))


def _more_windows(case: Case) -> Iterator[Case]:
    least = 2 if case.spec.data_dim == 3 else 4
    grid = tuple(max(g, axis + least) for axis, g in enumerate(case.grid))
    larger = tuple(max(g, axis + 4) for axis, g in enumerate(case.grid))
    alike = (max(least, *grid),) * len(grid)
    for wanted in (larger, grid, alike, *(with_axis(case.grid, axis, grid[axis]) for axis in range(len(grid)))):
        yield from _valid(reshaped(case, case.spec, wanted, rests(case)))


def _more_remainder(case: Case) -> Iterator[Case]:
    most = case.spec.step - 1
    yield from _valid(
        reshaped(case, case.spec, case.grid, tuple(max(0, most - axis) for axis in range(len(case.grid))))
    )
    yield from _valid(reshaped(case, case.spec, case.grid, (most,) * len(case.grid)))
    if most > 1:
        yield from _valid(reshaped(case, case.spec, case.grid, (1,) * len(case.grid)))


def _more_samples(case: Case) -> Iterator[Case]:
    for batch in (3, 4, 2):
        if batch > case.input.batch:
            yield from _valid(_replaced(case, batch=batch))


def _more_channels(case: Case) -> Iterator[Case]:
    if case.fill.name == "address":
        return
    least, fewest = case.spec.in_features, case.spec.out_features
    # Unlike all other sizes, so that no axis passes for another.
    for into, out in ((3, 7), (2, 7), (least, 7), (3, 3), (2, 2), (3, fewest)):
        if into >= least and out >= fewest:
            yield from _valid(_with_spec(case, replace(case.spec, in_features=into, out_features=out)))


def _bias(case: Case) -> Iterator[Case]:
    if not case.spec.bias:
        yield from _valid(_with_spec(case, replace(case.spec, bias=True)))


def _random_cotangent(case: Case) -> Iterator[Case]:
    if case.backward.requires_grad:
        yield replace(case, backward=Backward(case.backward.requires_grad, "random"))


_STEPS = (
    _plainer_fill,
    _other_layout,
    _random_cotangent,
    _more_channels,
    _more_samples,
    _more_windows,
    _more_axes,
    _larger_patch,
    _larger_stride,
    _more_windows,
    _more_remainder,
    _bias,
)


def _with_spec(case: Case, spec: Spec) -> Case | None:
    try:
        return replace(case, spec=spec)
    except CaseError:
        return None


def _replaced(case: Case, batch: int) -> Case | None:
    try:
        return replace(case, input=replace(case.input, batch=batch))
    except CaseError:
        return None


def _valid(case: Case | None) -> Iterator[Case]:
    if case is not None:
        yield case


def with_axis(numbers: tuple[int, ...], axis: int, number: int) -> tuple[int, ...]:
    """The numbers, with another one on an axis."""
    return (*numbers[:axis], number, *numbers[axis + 1 :])
