"""Makes a failing case larger, since little can be read off one pixel: the opposite of shrinking.

A case grows in one respect at a time, as long as it fails. The number of axes stays, and so do dtype and layout.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from properties.cases.case import Case, Spec
from properties.cases.error import CaseError
from properties.diagnosis.evidence import remainders

# A probe must cost little.
_MOST_ELEMENTS, _MOST_PRODUCTS = 2**16, 2**20


def grow(case: Case, fails: Callable[[Case], bool | None]) -> Case:
    """A case as large as is useful that still fails."""
    for larger in _STEPS:
        for candidate in larger(case):
            if candidate == case or (candidate is not None and affordable(candidate) and fails(candidate)):
                case = candidate
                break
    return case


def affordable(case: Case) -> bool:
    """Whether a pass of a case costs little."""
    products = math.prod(case.output_shape) * case.spec.terms
    return case.elements <= _MOST_ELEMENTS and products <= _MOST_PRODUCTS


def changed(case: Case, **changes: Any) -> Case | None:
    """The case with other fields, of itself, of its spec, its input or its backward pass; None where there is none."""
    parts: dict[str, Any] = {}
    for name, value in changes.items():
        holder = next((part for part in ("spec", "input", "backward") if hasattr(getattr(case, part), name)), None)
        parts.setdefault(holder or "", {})[name] = value
    own = parts.pop("", {})
    try:
        return replace(case, **{part: replace(getattr(case, part), **fields) for part, fields in parts.items()}, **own)
    except CaseError:
        return None


def reshaped(case: Case, spec: Spec, grid: tuple[int, ...], after: tuple[int, ...]) -> Case | None:
    """The case with another spec, so many windows along each axis and so many pixels after them."""
    pairs = zip(grid, after, strict=True)
    sizes = tuple(
        (g - 1) * spec.effective_stride + spec.patch_size + min(rest, spec.effective_stride - 1) for g, rest in pairs
    )
    layout = case.weight_layout if spec.data_dim > 1 else "plain"
    return changed(case, spec=spec, input=replace(case.input, sizes=sizes), weight_layout=layout)


def _random_cotangent(case: Case) -> Iterator[Case | None]:
    if case.backward.requires_grad:
        yield changed(case, cotangent="random")


def _more_channels(case: Case) -> Iterator[Case | None]:
    """Unlike all other sizes, so that no axis passes for another."""
    least, fewest = case.spec.in_features, case.spec.out_features
    for into, out in ((3, 7), (2, 7), (least, 7), (3, 3), (2, 2), (3, fewest)):
        if into >= least and out >= fewest:
            yield changed(case, in_features=into, out_features=out)


def _more_samples(case: Case) -> Iterator[Case | None]:
    for batch in (3, 4, 2):
        if batch > case.input.batch:
            yield changed(case, batch=batch)


def _more_windows(case: Case) -> Iterator[Case | None]:
    least = 2 if case.spec.data_dim == 3 else 4
    grid = tuple(max(g, axis + least) for axis, g in enumerate(case.grid))
    alike = (max(grid),) * len(grid)
    single = [(*case.grid[:axis], grid[axis], *case.grid[axis + 1 :]) for axis in range(len(grid))]
    for wanted in (grid, alike, *single):
        yield reshaped(case, case.spec, wanted, remainders(case))


def _larger_patch(case: Case) -> Iterator[Case | None]:
    spec = case.spec
    for patch_size in (3, 2):
        if spec.patch_size < patch_size and not (spec.data_dim == 3 and patch_size == 3):
            more = patch_size - spec.patch_size
            for stride in dict.fromkeys((spec.stride and spec.stride + more, spec.stride)):
                larger = replace(spec, patch_size=patch_size, stride=stride)
                yield reshaped(case, larger, case.grid, remainders(case))


def _larger_stride(case: Case) -> Iterator[Case | None]:
    """So that strides and remainders can be told from ones."""
    spec = case.spec
    if spec.stride is not None:
        if spec.stride < spec.patch_size - 1:
            yield reshaped(case, replace(spec, stride=spec.patch_size - 1), case.grid, remainders(case))
        if spec.stride in (spec.patch_size, spec.patch_size + 1):
            yield reshaped(case, replace(spec, stride=spec.patch_size + 2), case.grid, remainders(case))


def _larger_remainder(case: Case) -> Iterator[Case | None]:
    most = case.spec.effective_stride - 1
    for after in ([max(0, most - axis) for axis in range(len(case.grid))], [most] * len(case.grid)):
        yield reshaped(case, case.spec, case.grid, tuple(after))


def _bias(case: Case) -> Iterator[Case | None]:
    if not case.spec.bias:
        yield changed(case, bias=True)


_STEPS = (
    *(_random_cotangent, _more_channels, _more_samples, _more_windows, _larger_patch, _larger_stride),
    *(_more_windows, _larger_remainder, _bias),
)
