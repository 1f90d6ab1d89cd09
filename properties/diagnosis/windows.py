"""Which pixel every token reads at every tap, read off the output: the input numbers its pixels, the weight picks one.

Where each axis is read by itself, windows are said by their first pixels, otherwise by a reading order that fits.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from oracles.windows import origins
from properties.cases.case import Case
from properties.diagnosis.counts import count_in_words, shift_in_words
from properties.diagnosis.probe import Given, Look, Seen
from properties.diagnosis.reading import Reading, read, table_of
from properties.diagnosis.words import axes_named, listed
from properties.trials.trial import Raised

_MOST_STARTS = 6


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
    tables = [table_of(source, spec.data_dim, axis) for axis in range(spec.data_dim)]
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
            return shift_in_words(case, look, reading, axis, moves[0])
        changed = [i for i, move in enumerate(moves) if move]
        if changed == [len(starts) - 1] and known[-1] == size - spec.patch_size:
            return "the last one is moved to the end of the axis"
        if changed == [1] and known[1] == min(spec.patch_size, size - spec.patch_size):
            return "the second one starts where the first one ends"
        return ""
    if len(starts) != len(expected):
        return count_in_words(case, look, reading, axis, starts, expected)
    moves = [start - first for start, first in zip(starts, expected, strict=True) if start is not None]
    return shift_in_words(case, look, reading, axis, moves[0]) if moves and len(set(moves)) == 1 else ""


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
