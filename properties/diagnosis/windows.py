"""Which windows the tokens are of: where each begins, and by which rule, read off what came out."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product

import torch
from torch import Tensor

from oracles.windows import origins
from properties.cases.case import Case
from properties.diagnosis.probe import Given, Measured, Seen

# The first pixel of every window along an axis, None where it is that of no window.
Starts = Sequence[int | None]
# Size, patch size and stride.
Sizes = tuple[int, int, int]


def right_starts(case: Case) -> list[list[int]]:
    """Where the windows should begin along each axis."""
    return [origins(size, case.spec.patch_size, case.spec.effective_stride) for size in case.input.sizes]


def _starts_read(seen: Seen, dilation: int = 1) -> list[Starts]:
    """Where the windows begin along each axis; none where that depends on anything else, or no token is a window's.

    Every token of the first sample is looked up among those of all windows, whose taps are so many pixels apart.
    """
    given, found = seen.given, seen.found
    extent = dilation * (given.weight.shape[-1] - 1) + 1
    if found is None or found.ndim != given.x.ndim or not found.numel() or min(given.case.input.sizes) < extent:
        return []
    x = given.x[:1]
    for axis in range(1, x.ndim - 1):
        x = x.unfold(axis, extent, 1)[..., ::dilation]
    every = x.flatten(1 + given.case.spec.data_dim) @ given.weight.flatten(1).T
    every = (every if given.bias is None else every + given.bias)[0]
    indices = product(*map(range, every.shape[:-1]))
    places = dict(zip(map(tuple, every.flatten(0, -2).tolist()), indices, strict=True))
    if len(places) < every[..., 0].numel():
        return []
    nowhere = (-1,) * given.case.spec.data_dim
    read = torch.tensor([places.get(tuple(token), nowhere) for token in found[0].flatten(0, -2).tolist()])
    read = read.reshape(*found.shape[1:-1], -1)
    tables = [_along(read[..., axis], axis) for axis in range(read.shape[-1])]
    return [] if any(set(table) <= {None} for table in tables) else tables


def _along(read: Tensor, axis: int) -> Starts:
    each = [set(read.select(axis, window).flatten().tolist()) - {-1} for window in range(read.shape[axis])]
    return [] if any(len(found) > 1 for found in each) else [min(found, default=None) for found in each]


def _expected(found: Starts, right: Sequence[int]) -> bool:
    return len(found) == len(right) and all(start in (None, first) for start, first in zip(found, right, strict=True))


def wrong_windows(m: Measured) -> Iterator[tuple[str, dict[str, object]]]:
    """The id of what is wrong with the windows, and where they begin."""
    right, case = right_starts(m.case), m.case
    for taps in (2, 3) if m.same_shape and case.spec.patch_size > 1 else ():
        read = _starts_read(m.seen[0], taps)
        if read and all(map(_expected, read, right)):
            yield "dilation", {"taps": taps}
    read = _starts_read(m.seen[0])
    axes = [axis for axis, found in enumerate(read) if not _expected(found, right[axis])]
    if not axes:
        return
    found, expected = read[axes[0]], right[axes[0]]
    first = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] not in (None, pair[1])), 0)
    since = max(0, first - 4)
    at = {
        "axes": tuple(axes),
        "from": since,
        "found": tuple(found[since:][:7]),
        "expected": tuple(expected[since:][:7]),
    }
    strides = {_stride_read(read[axis], case.spec.effective_stride) for axis in axes}
    if len(strides) == 1 and None not in strides:
        yield "stride", {**at, "stride": strides.pop(), "instead": case.spec.effective_stride}
    elif len(found) != len(expected):
        counts = {sizes: seen.found.shape[1 + axes[0]] for sizes, seen in m.longer(axes[0]) if seen.found is not None}
        fits = [words for words, rule in _COUNTS.items() if all(rule(*sizes) == n for sizes, n in counts.items())]
        fits += [
            f"there are as many as on axis {a}" for a, n in enumerate(case.grid) if a != axes[0] and n == len(found)
        ]
        yield "window_count", {**at, "rule": fits[0] if len(fits) == 1 else ""}
    else:
        each = {sizes: table[axes[0]] for sizes, seen in m.longer(axes[0]) if (table := _starts_read(seen))}
        yield "window_origin", {**at, "rule": _shift_rule(each)}


def _stride_read(starts: Starts, stride: int) -> int | None:
    """The stride that windows have, where it is another."""
    steps = {b - a for a, b in pairwise(starts) if a is not None and b is not None}
    other = len(steps) == 1 and None not in starts and starts[0] == 0 and steps != {stride}
    return max(steps) if other and max(steps) > 0 else None


# How layers count windows by mistake, of size, patch size and stride.
_COUNTS: dict[str, Callable[[int, int, int], int]] = {
    "their number is rounded up instead of down": lambda s, p, n: -(-(s - p) // n) + 1,
    "their number is rounded to the nearest instead of down": lambda s, p, n: (2 * (s - p) + n) // (2 * n) + 1,
    "the last one is missing where it fits exactly": lambda s, p, n: max(1, -(-(s - p) // n)),
    "the last one is always missing": lambda s, p, n: (s - p) // n,
    "an odd size is taken for one pixel less": lambda s, p, n: (max(p, s - s % 2) - p) // n + 1,
    "there is one for every whole stride of the size": lambda s, p, n: s // n,
    "there is one for every stride of the size, the last one past the end": lambda s, p, n: -(-s // n),
    "there is one for every whole patch of the size": lambda s, p, n: s // p,
    "there is always one more": lambda s, p, n: (s - p) // n + 2,
}
# By how much windows are moved by mistake, of the remainder.
_SHIFTS: dict[str, Callable[[int], int]] = {
    "the first pixels of the axis are dropped instead of the last": lambda r: r,
    "half of the remainder is dropped on either side": lambda r: r // 2,
    "half of the remainder is dropped on either side, the larger half in front": lambda r: -(-r // 2),
}


def _shift_rule(read: dict[Sizes, Starts]) -> str:
    """By which rule windows are moved, read at several sizes; "" where none fits."""
    moves: dict[int, set[int]] = {}
    for (size, patch_size, stride), starts in read.items():
        right = origins(size, patch_size, stride)
        if len(starts) > 1 and list(starts[:-1]) == right[:-1] and starts[-1] == size - patch_size != right[-1]:
            return "the last one is moved to the end of the axis"
        pairs = zip(starts, right, strict=False)
        moves.setdefault((size - patch_size) % stride, set()).update(a - b for a, b in pairs if a is not None)
    if any(len(move) > 1 for move in moves.values()):
        return ""
    by = {r: min(move) for r, move in moves.items() if move}
    fits = [words for words, rule in _SHIFTS.items() if all(rule(r) == move for r, move in by.items())]
    if len(set(by.values())) == 1:
        move = min(by.values())
        return f"every window begins {abs(move)} pixel{'s'[: abs(move) > 1]} {'late' if move > 0 else 'early'}"
    return fits[0] if len(fits) == 1 else ""


def striped(given: Given) -> Tensor:
    """The output where patches are made by a reshape without swapping its axes: tokens are stripes of the input."""
    grid, spec = given.case.grid, given.case.spec
    cropped = given.x[(slice(None), *(slice(n * spec.patch_size) for n in grid))]
    stripes = cropped.reshape(len(cropped), *grid, *spec.taps, spec.in_features)
    tokens = stripes.movedim(-1, spec.data_dim + 1).flatten(spec.data_dim + 1) @ given.weight.flatten(1).T
    return tokens if given.bias is None else tokens + given.bias
