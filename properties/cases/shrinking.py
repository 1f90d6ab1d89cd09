"""Makes a failing case small: the smallest that can be found for which the same property still fails.

Cases are shrunk, not Hypothesis's choices, so that landmarks and records shrink too, and so that smaller means what a
reader means by it: fewer axes, fewer elements, fewer features out of the ordinary.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import product
from typing import Any

from properties.cases.case import (
    AUTOCAST,
    COTANGENTS,
    DTYPES,
    FILLS,
    LAYOUTS,
    MODES,
    ORIGINS,
    WEIGHT_LAYOUTS,
    Case,
    Spec,
)
from properties.cases.error import CaseError
from properties.cases.history import Step

# Trials that one search may take; each is one small layer.
MOST_TRIALS = 600
# Just past a tile of a kernel is where some failures begin.
_PAST_TILES = {2**power + 1 for power in range(4, 17)}


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """The smallest case found that still fails.

    First steps down from the case, one change at a time, as long as any change fails too. Then tries all tiny shapes,
    smallest first, so that a small case is found even where every single step toward it passes.

    Args:
        case: a failing case.
        fails: whether a case fails.
    """
    tried = {case}

    def fails_too(candidate: Case) -> bool:
        if candidate in tried or len(tried) > MOST_TRIALS:
            return False
        tried.add(candidate)
        return complexity(candidate) < complexity(case) and fails(candidate)

    while smaller := next(filter(fails_too, _steps(case)), None):
        case = smaller
    tiny = sorted(filter(lambda other: complexity(other) < complexity(case), _tiny(case)), key=complexity)
    return next(filter(fails_too, tiny), case)


def complexity(case: Case) -> tuple[int, ...]:
    """What is smaller: steps, then axes, elements of input, weight and output, numbers, and unusual features."""
    spec, given = case.spec, case.input
    features = (
        DTYPES.index(given.dtype),
        LAYOUTS.index(given.layout),
        WEIGHT_LAYOUTS.index(case.weight_layout),
        FILLS.index(case.fill.name),
        len(case.backward.requires_grad),
        COTANGENTS.index(case.backward.cotangent),
        ORIGINS.index(given.origin),
        MODES.index(case.mode),
        AUTOCAST.index(case.autocast),
        int(spec.bias),
        int(spec.stride is not None),
    )
    elements = math.prod(case.input_shape) + math.prod(case.weight_shape) + math.prod(case.output_shape)
    steps = sum(member != default for step in case.history for member, default in _members(step))
    return (
        len(case.history),
        steps,
        spec.data_dim,
        elements,
        spec.patch_size,
        spec.effective_stride,
        sum(features),
        *features,
        case.fill.seed,
    )


def _members(step: Step) -> Iterator[tuple[Any, Any]]:
    """What a step says, with the default of each."""
    for field in fields(step):
        yield getattr(step, field.name), field.default


def _shorter(case: Case) -> Iterator[Case]:
    """The case with a history of fewer or plainer steps."""
    for number, step in enumerate(case.history):
        before, after = case.history[:number], case.history[number + 1 :]
        yield replace(case, history=before + after)
        for field in fields(step):
            if getattr(step, field.name) != field.default:
                changes: dict[str, Any] = {field.name: field.default}
                yield replace(case, history=(*before, replace(step, **changes), *after))


def _steps(case: Case) -> Iterator[Case]:
    """Every case that is one change away and may be simpler, the largest changes first."""
    yield from _shorter(case)
    spec, given = case.spec, case.input
    windows = case.grid
    remainders = tuple(
        size - (g - 1) * spec.effective_stride - spec.patch_size for size, g in zip(given.sizes, windows, strict=True)
    )
    for axis in range(spec.data_dim if spec.data_dim > 1 else 0):
        fewer = replace(spec, data_dim=spec.data_dim - 1)
        yield from _reshaped(case, fewer, _without(windows, axis), _without(remainders, axis))
    for channels in _below(spec.in_features):
        yield from _reshaped(case, replace(spec, in_features=channels), windows, remainders)
    for channels in _below(spec.out_features):
        yield from _reshaped(case, replace(spec, out_features=channels), windows, remainders)
    for batch in _below(given.batch):
        yield from _changed(case, input=replace(given, batch=batch))
    for patch_size in _below(spec.patch_size):
        yield from _reshaped(case, replace(spec, patch_size=patch_size), windows, remainders)
    for stride in (None, *_below(spec.effective_stride)):
        if stride != spec.stride:
            yield from _reshaped(case, replace(spec, stride=stride), windows, remainders)
    for axis in range(spec.data_dim):
        for g in _below(windows[axis]):
            yield from _reshaped(case, spec, _with(windows, axis, g), remainders)
        for remainder in (0, *_below(remainders[axis])):
            yield from _reshaped(case, spec, windows, _with(remainders, axis, remainder))
    if spec.data_dim > 1:
        yield from _reshaped(case, spec, (min(windows),) * spec.data_dim, (min(remainders),) * spec.data_dim)
    yield from _plainer(case)


def _plainer(case: Case) -> Iterator[Case]:
    """The same shapes with one feature less out of the ordinary."""
    spec, given, backward = case.spec, case.input, case.backward
    for dtype in DTYPES:
        yield from _changed(case, input=replace(given, dtype=dtype))
    for layout in LAYOUTS:
        yield replace(case, input=replace(given, layout=layout))
    yield replace(case, weight_layout="plain")
    for fill in FILLS:
        yield from _changed(case, fill=replace(case.fill, name=fill))
    for subset in ((), *((name,) for name in backward.requires_grad)):
        yield replace(case, backward=replace(backward, requires_grad=subset))
    for name in backward.requires_grad:
        others = tuple(other for other in backward.requires_grad if other != name)
        yield replace(case, backward=replace(backward, requires_grad=others))
    for cotangent in COTANGENTS:
        yield replace(case, backward=replace(backward, cotangent=cotangent))
    yield from _changed(case, input=replace(given, origin=ORIGINS[0]))
    for mode in MODES:
        yield from _changed(case, mode=mode)
    for autocast in AUTOCAST:
        yield from _changed(case, autocast=autocast)
    if spec.bias:
        others = tuple(name for name in backward.requires_grad if name != "bias")
        without = replace(spec, bias=False)
        yield replace(case, spec=without, backward=replace(backward, requires_grad=others))
    for seed in range(3):
        yield replace(case, fill=replace(case.fill, seed=seed))


def _tiny(case: Case) -> Iterator[Case]:
    """All shapes of a few elements, with the other features of a case."""
    spec = case.spec
    for data_dim in range(1, spec.data_dim + 1):
        grids, all_remainders = product((1, 2), repeat=data_dim), product((0, 1), repeat=data_dim)
        numbers = product((1, 2, 3), (None, 1, 2, 3), (1, 2), (1, 2), grids, all_remainders)
        for patch_size, stride, in_features, out_features, windows, remainders in numbers:
            tiny = Spec(in_features, out_features, data_dim, patch_size, stride, spec.bias)
            if max(remainders) < tiny.effective_stride:
                yield from _reshaped(case, tiny, windows, remainders)


def _reshaped(case: Case, spec: Spec, windows: tuple[int, ...], remainders: tuple[int, ...]) -> Iterator[Case]:
    """The case with another spec, and sizes that give the same windows and, if possible, remainders."""
    sizes = tuple(
        (g - 1) * spec.effective_stride + spec.patch_size + min(remainder, spec.effective_stride - 1)
        for g, remainder in zip(windows, remainders, strict=True)
    )
    if case.fill.name == "address":
        spec = replace(spec, out_features=spec.terms)
    layout = case.weight_layout if spec.data_dim > 1 else "plain"
    yield from _changed(case, spec=spec, input=replace(case.input, sizes=sizes), weight_layout=layout)


def _changed(case: Case, **changes: Any) -> Iterator[Case]:
    """The case with other fields, unless they leave it as it is or make no valid one."""
    try:
        changed = replace(case, **changes)
    except CaseError:
        return
    if changed != case:
        yield changed


def _below(number: int) -> list[int]:
    """Smaller positive numbers, in rising order."""
    return sorted(({1, 2, number // 2, number - 1} | _PAST_TILES) & set(range(1, number)))


def _without(numbers: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return numbers[:axis] + numbers[axis + 1 :]


def _with(numbers: tuple[int, ...], axis: int, number: int) -> tuple[int, ...]:
    return (*numbers[:axis], number, *numbers[axis + 1 :])
