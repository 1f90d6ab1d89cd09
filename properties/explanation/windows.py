"""Which pixel every token reads at every tap, read off the output: the input numbers its pixels, the weight picks one.

Where each axis is read by itself, windows are said by their first pixels, otherwise by a reading order that fits.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from oracles.windows import origins
from properties.case import Case
from properties.explanation.probe import Given, Look, Seen
from properties.explanation.words import axes_named, listed, place
from properties.trial import Raised

# Rows of an identity weight: more would cost too much.
_MOST_TERMS = 400
_MOST_STARTS = 6


@dataclass(frozen=True)
class Reading:
    """For every token and tap, the sample, pixel and channel that is read: int64 ``[B, *g, C_in, P, ..., 2 + d]``.

    -1 where nothing is read. ``grid`` is that of the output that was found.
    """

    source: Tensor
    given: Given
    grid: tuple[int, ...]


def other_shape(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """The output has another shape: its axes are in another order, merged or missing, or there are other windows."""
    found, right = seen[0].found, seen[0].given.right
    if found.shape == right.shape:
        return None
    data_dim = case.spec.data_dim
    for words, move in _reshapings(right, data_dim):
        moved = [move(one.given.right) for one in seen]
        if all(one.found.shape == m.shape and one.same(m, one.found) for one, m in zip(seen, moved, strict=True)):
            return words
    return None if found.ndim != right.ndim else other_windows(case, look, seen)


def _reshapings(right: Tensor, data_dim: int) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    # Cases are made to grow: one that still has an axis of size 1 needs it to fail.
    ones = [axis for axis, size in enumerate(right.shape[1:-1], start=1) if size == 1]
    if ones:
        yield "the axes of the grid that have one token are missing", lambda y: y.squeeze(ones)
    if right.shape[0] == 1:
        yield "the axis of a batch of one sample is missing", lambda y: y.squeeze(0)
    if right.shape[-1] == 1:
        yield "the axis of a single output channel is missing", lambda y: y.squeeze(-1)
    if 1 in right.shape:
        yield "all axes of size 1 are missing", lambda y: y.squeeze()
    yield "the output has its channels first, [B, C_out, *g]", lambda y: y.movedim(-1, 1)
    for one in range(data_dim):
        for other in range(one + 1, data_dim):
            words = f"axes {one} and {other} of the grid are swapped"
            yield words, lambda y, a=one + 1, b=other + 1: y.transpose(a, b)  # type: ignore[misc]
    yield (
        "the axes of the grid are in the reverse order",
        (lambda y: y.permute(0, *range(data_dim, 0, -1), data_dim + 1)),
    )
    if data_dim > 1:
        yield "the axes of the grid are flattened into one", lambda y: y.flatten(1, -2)
        yield "the grid is flattened and the channels come before it", lambda y: y.flatten(1, -2).movedim(-1, 1)
    yield "samples and tokens are flattened into one axis", lambda y: y.flatten(0, -2)
    yield "tokens and channels are flattened into one axis", lambda y: y.flatten(1)
    yield "there is only the first sample", lambda y: y[:1]
    yield "the last sample is missing", lambda y: y[:-1]
    yield "the first axis of the samples is there twice", lambda y: y[None]
    yield "the tokens are averaged into one", lambda y: y.mean(list(range(1, data_dim + 1)))


def other_windows(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """The windows are others, or their pixels are read in another order."""
    try:
        reading = read(case, look, seen[0].given)
    except Raised:
        reading = None
    if reading is not None:
        words = _by_axis(case, look, reading)
        if words:
            return words
    for words, reorder in _reading_orders(case):
        if all(one.found.shape == one.given.right.shape and one.agrees(reorder(one.given)) for one in seen):
            return words
    return None


def read(case: Case, look: Look, given: Given) -> Reading | None:
    """What every token reads at every tap; None where that is more than one pixel or none of the input's.

    Looks twice, with the pixels numbered upwards and downwards: where both agree, a number is no sum of others.
    """
    terms = case.spec.terms
    if terms > _MOST_TERMS:
        return None
    count = given.x.numel()
    identity = torch.eye(terms, dtype=torch.float64).reshape(terms, *given.weight.shape[1:])
    bias = None if given.bias is None else torch.zeros(terms, dtype=torch.float64)
    upwards = torch.arange(1, count + 1, dtype=torch.float64).reshape(given.x.shape)
    one = Given(upwards, identity, bias, given.stride)
    up, down = look(one), look(Given(count + 1 - upwards, identity, bias, given.stride))
    if up.ndim != given.x.ndim or up.shape[-1] != terms or up.shape[0] != given.x.shape[0]:
        return None
    nothing = (up == 0) & (down == 0)
    valid = (up + down == count + 1) & (up == up.round()) & (up >= 1) & (up <= count)
    if not bool((nothing | valid).all()):
        return None
    address = (up - 1).clamp(min=0).long()
    places = torch.stack(torch.unravel_index(address, given.x.shape), -1).masked_fill(nothing[..., None], -1)
    grid = tuple(up.shape[1:-1])
    return Reading(places.reshape(*up.shape[:-1], *given.weight.shape[1:], -1), one, grid)


def _by_axis(case: Case, look: Look, reading: Reading) -> str | None:
    """Says the first pixels of the windows, or the distances of the taps, where every axis is read by itself."""
    source, spec, sizes = reading.source, case.spec, reading.given.x.shape[1:-1]
    samples = source[..., 0]
    own = torch.arange(samples.shape[0]).reshape(-1, *[1] * (samples.ndim - 1))
    channels = source[..., -1]
    own_channel = torch.arange(spec.in_features).reshape(-1, *[1] * spec.data_dim)
    there = samples >= 0
    if bool(((samples != own) & there).any()) or bool(((channels != own_channel) & there).any()):
        return None
    tables = [_table(source, spec.data_dim, axis) for axis in range(spec.data_dim)]
    said: dict[str, list[int]] = {}
    for axis, table in enumerate(tables):
        if table is None:
            return None
        expected = origins(sizes[axis], spec.patch_size, spec.step)
        words = _windows_in_words(case, look, reading, axis, table, expected)
        if words:
            said.setdefault(words, []).append(axis)
    if not said:
        return None
    gist: dict[str, list[int]] = {}
    for words, axes in said.items():
        gist.setdefault(words.partition(": ")[2] or words, []).extend(axes)
    first, axes = next(iter(said.items()))
    sentence = first.replace("axis ?", axes_named(axes))
    others = [axis for axis in sorted(axis for some in said.values() for axis in some) if axis not in axes]
    alike = [axis for axis in gist[first.partition(": ")[2] or first] if axis not in axes]
    if others and alike == others:
        return f"{sentence}, and likewise on {axes_named(others)}"
    rest = [words.replace("axis ?", axes_named(axes)) for words, axes in list(said.items())[1:]]
    return "; ".join([sentence, *rest])


def _table(source: Tensor, data_dim: int, axis: int) -> list[list[int | None]] | None:
    """The pixel on one axis for every window and tap along it; None where it depends on anything else."""
    along = source[..., 1 + axis]
    window, tap = 1 + axis, 2 + data_dim + axis
    table: list[list[int | None]] = []
    for i in range(along.shape[window]):
        row: list[int | None] = []
        for k in range(along.shape[tap]):
            pixels = set(along.select(tap, k).select(window, i).flatten().tolist()) - {-1}
            if len(pixels) > 1:
                return None
            row.append(pixels.pop() if pixels else None)
        table.append(row)
    return table


def _windows_in_words(
    case: Case, look: Look, reading: Reading, axis: int, table: list[list[int | None]], expected: list[int]
) -> str | None:
    patch_size, size = case.spec.patch_size, reading.given.x.shape[1 + axis]
    plain = list(range(patch_size))
    if table == [[first + k for k in plain] for first in expected]:
        return None
    whole = (row for row in table if None not in row)
    offsets = next(([pixel - row[0] for pixel in row] for row in whole), plain)  # type: ignore[operator]
    if offsets != plain:
        repeats = size - 1
        fits = all(
            pixel is None or pixel in (first + offset, repeats)
            for row, first in zip(table, expected, strict=False)
            for pixel, offset in zip(row, offsets, strict=True)
        )
        steps = {b - a for a, b in pairwise(offsets)}
        if fits and len(table) == len(expected) and len(steps) == 1 and (step := steps.pop()) > 1:
            past = ", and past the end the last pixel repeats" if expected[-1] + offsets[-1] > repeats else ""
            return f"the taps on axis ? are {step} pixels apart instead of 1 (dilation {step}){past}"
        return (
            f"windows on axis ? read the pixels {_numbers(offsets)} from their first, but should read {_numbers(plain)}"
        )
    starts = [next((pixel - k for k, pixel in enumerate(row) if pixel is not None), None) for row in table]
    for row, start in zip(table, starts, strict=True):
        if any(pixel is not None and start is not None and pixel != start + k for k, pixel in enumerate(row)):
            return None
    gist = _gist(case, look, reading, axis, starts, expected)
    gap = [start is not None for start in starts]
    holes = all(pixel is not None for row in table for pixel in row)
    if starts == expected and not holes:
        missing = sorted({k for row in table for k, pixel in enumerate(row) if pixel is None})
        pixels = "pixel" if len(missing) == 1 else "pixels"
        return f"windows on axis ? do not read their {pixels} {_numbers(missing)}" if all(gap) else None
    return (
        f"windows on axis ? start at {_starts(starts)}, but should start at {_starts(expected)}{gist and f': {gist}'}"
    )


def _starts(starts: Sequence[int | None]) -> str:
    words = ["outside" if start is None else str(start) for start in starts]
    return ", ".join(words[:_MOST_STARTS]) + (", ..." if len(words) > _MOST_STARTS else "")


def _numbers(numbers: Sequence[int]) -> str:
    return listed(numbers)


def _gist(
    case: Case, look: Look, reading: Reading, axis: int, starts: Sequence[int | None], expected: list[int]
) -> str:
    """What the starts have in common, where it can be told."""
    spec, size = case.spec, reading.given.x.shape[1 + axis]
    known = [start for start in starts if start is not None]
    steps = {b - a for a, b in pairwise(known)}
    if (
        len(known) > 1
        and len(steps) == 1
        and None not in starts
        and known[0] == 0
        and (step := min(steps)) != spec.step
    ):
        return f"stride {step} instead of {spec.step}" if step > 0 else ""
    if len(known) == len(starts) == len(expected):
        moves = [start - first for start, first in zip(known, expected, strict=True)]
        if len(set(moves)) == 1:
            return _shift_in_words(case, look, reading, axis, moves[0])
        changed = [i for i, move in enumerate(moves) if move]
        if changed == [len(starts) - 1] and known[-1] == size - spec.patch_size:
            return "the last one is moved to the end of the axis"
        if changed == [1] and known[1] == min(spec.patch_size, size - spec.patch_size):
            return "the second one starts where the first one ends"
        return ""
    if len(starts) != len(expected):
        return _count_in_words(case, look, reading, axis, starts, expected)
    moves = [start - first for start, first in zip(starts, expected, strict=True) if start is not None]
    return _shift_in_words(case, look, reading, axis, moves[0]) if moves and len(set(moves)) == 1 else ""


def _shift_in_words(case: Case, look: Look, reading: Reading, axis: int, shift: int) -> str:
    """Whether windows are moved by what is left over, by half of it, or by the same number everywhere."""
    step, patch_size = case.spec.step, case.spec.patch_size
    base = patch_size + 2 * step
    seen = {}
    for rest in range(min(step, 5)):
        sizes = list(reading.given.x.shape[1:-1])
        sizes[axis] = base + rest
        other = _resized(reading.given, sizes)
        again = read(case, look, other)
        table = None if again is None else _table(again.source, case.spec.data_dim, axis)
        firsts = [] if table is None else [pixel - k - i * step for i, row in enumerate(table)
                                           for k, pixel in enumerate(row) if pixel is not None]  # fmt: skip
        if len(set(firsts)) != 1:
            return f"every window is moved by {shift}"
        seen[rest] = firsts[0]
    if len(seen) > 1 and all(found == rest for rest, found in seen.items()):
        return "the first pixels of the axis are dropped instead of the last"
    if len(seen) > 1 and all(found == rest // 2 for rest, found in seen.items()):
        return "half of what is left over is dropped on either side"
    if len(seen) > 1 and all(found == -(-rest // 2) for rest, found in seen.items()):
        return "half of what is left over is dropped on either side, the larger half in front"
    pixels = "1 pixel" if abs(shift) == 1 else f"{abs(shift)} pixels"
    return f"every window begins {pixels} {'late' if shift > 0 else 'early'}"


def _resized(given: Given, sizes: Sequence[int]) -> Given:
    x = torch.arange(1, given.x.shape[0] * math.prod(sizes) * given.x.shape[-1] + 1, dtype=torch.float64)
    return Given(x.reshape(given.x.shape[0], *sizes, given.x.shape[-1]), given.weight, given.bias, given.stride)


def _count_in_words(
    case: Case, look: Look, reading: Reading, axis: int, starts: Sequence[int | None], expected: list[int]
) -> str:
    """How the number of windows comes about, measured at several sizes."""
    patch_size = case.spec.patch_size
    gap = len(starts) - len(expected)
    for words in _formulas(case, look, reading, axis):
        if gap == 1 and starts[-1] is not None and len(starts) > 1 and starts[-1] == starts[-2]:
            return f"{words}, and the last one repeats the one before it"
        return words
    for other, count in enumerate(case.grid if len(set(case.grid)) > 1 else ()):
        if other != axis and len(starts) == count:
            return f"there are as many as there should be on axis {other}"
    if list(starts[: len(expected)]) == expected:
        more = len(starts) - len(expected)
        over = [start is None or start + patch_size > reading.given.x.shape[1 + axis] for start in starts[-more:]]
        hangs = ", past the end of the axis" if all(over) else ""
        return f"{'one window' if more == 1 else f'{more} windows'} too many{hangs}"
    if expected[: len(starts)] == list(starts):
        fewer = len(expected) - len(starts)
        return "the last one is missing" if fewer == 1 else f"the last {fewer} are missing"
    return ""


def _formulas(case: Case, look: Look, reading: Reading, axis: int) -> list[str]:
    """What gives the number of windows on an axis at several sizes, where only one formula does.

    Formulas that agree at the stride of the case are told apart at others, where the layer takes them.
    """
    patch_size, step = case.spec.patch_size, case.spec.step
    fitting = list(_COUNTS)
    for stride in (step, *(other for other in (2, 3, 4, 5) if other != step)):
        square = len(set(reading.given.x.shape[1:-1])) == 1
        counts = {}
        for size in range(patch_size, patch_size + 3 * stride + 2)[:12]:
            sizes = [size if square or other == axis else n for other, n in enumerate(reading.given.x.shape[1:-1])]
            with suppress(Raised, IndexError):
                counts[size] = look(replace(_resized(reading.given, sizes), stride=stride)).shape[1 + axis]
        fits = [
            words
            for words in fitting
            if all(_COUNTS[words](size, patch_size, stride) == count for size, count in counts.items())
        ]
        if stride == step or fits:
            fitting = fits
        if len(fitting) < 2:
            return fitting
    return []


# Windows by size, patch and stride, as layers get it wrong.
_COUNTS: dict[str, Callable[[int, int, int], int]] = {
    "their number is rounded up instead of down": lambda s, p, n: -(-(s - p) // n) + 1,
    "their number is rounded to the nearest instead of down": lambda s, p, n: (2 * (s - p) + n) // (2 * n) + 1,
    "the last one is missing where it fits exactly": lambda s, p, n: max(1, -(-(s - p) // n)),
    "the last one is always missing": lambda s, p, n: (s - p) // n,
    "an odd size is taken for one pixel less": lambda s, p, n: (max(p, s - s % 2) - p) // n + 1,
    "an even size is taken for one pixel less": lambda s, p, n: (max(p, s - 1 + s % 2) - p) // n + 1,
    "there is one for every whole stride of the size": lambda s, p, n: s // n,
    "there is one for every stride of the size, the last one past the end": lambda s, p, n: -(-s // n),
    "there is one for every whole patch of the size": lambda s, p, n: s // p,
    "there is always one more": lambda s, p, n: (s - p) // n + 2,
}


def _reading_orders(case: Case) -> Iterator[tuple[str, Callable[[Given], Tensor]]]:
    """Ways to mistake the memory of an input for something else."""
    spec = case.spec
    if spec.data_dim > 1 and spec.step == spec.patch_size:
        yield "patches are made by a reshape without swapping its axes, so tokens are stripes of the input", _stripes
    yield "rows are taken to be as long as their windows, so what is left over shifts all rows after it", _wrapped


def _stripes(given: Given) -> Tensor:
    grid, patch_size = given.right.shape[1:-1], given.weight.shape[-1]
    cropped = given.x[(slice(None), *(slice(n * patch_size) for n in grid))]
    data_dim = given.data_dim
    patches = cropped.reshape(given.x.shape[0], *grid, *[patch_size] * data_dim, given.x.shape[-1])
    return _times_weight(patches.movedim(-1, data_dim + 1), given)


def _times_weight(patches: Tensor, given: Given) -> Tensor:
    tokens = patches.flatten(given.data_dim + 1) @ given.weight.flatten(1).T
    return tokens if given.bias is None else tokens + given.bias


def _wrapped(given: Given) -> Tensor:
    patch_size, grid = given.weight.shape[-1], given.right.shape[1:-1]
    used = [(n - 1) * given.stride + patch_size for n in grid]
    x = given.x.flatten(1, -2)[:, : math.prod(used)].reshape(given.x.shape[0], *used, given.x.shape[-1])
    return Given(x, given.weight, given.bias, given.stride).right


def first_difference(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """Where nothing more general fits: one token and tap, and the pixels that it reads and should read."""
    reading = read(case, look, seen[0].given)
    if reading is None:
        return None
    given = reading.given
    numbered = torch.arange(given.x.numel(), dtype=torch.float64).reshape(given.x.shape)
    right = Given(numbered, given.weight, given.bias, given.stride).right
    if tuple(right.shape[1:-1]) != reading.grid:
        return None
    places = torch.stack(torch.unravel_index(right.long(), given.x.shape), -1).reshape(reading.source.shape)
    wrong = (places != reading.source).any(-1)
    if not bool(wrong.any()):
        return None
    data_dim = given.data_dim
    at = tuple(wrong.nonzero()[0].tolist())
    found, expected = reading.source[at].tolist(), places[at].tolist()
    tap = tuple(at[-data_dim:])
    what = "nothing" if found[0] < 0 else f"pixel {place(found[1:-1])}"
    if found[0] >= 0 and found[0] != expected[0]:
        what = f"{what} of sample {found[0]}"
    elif found[0] >= 0 and found[-1] != expected[-1]:
        what = f"channel {found[-1]} of {what}"
    share = f"{int(wrong.sum())} of {wrong.numel()}"
    reads = f"token {place(at[1 : 1 + data_dim])} reads {what} at tap {place(tap)}"
    return f"pixels are read in a wrong order, {share}: {reads} instead of pixel {place(expected[1:-1])}"
