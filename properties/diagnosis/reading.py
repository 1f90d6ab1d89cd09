"""Which pixel every token reads at every tap: the input numbers its pixels, the weight picks one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.diagnosis.probe import Given, Look, Seen
from properties.diagnosis.words import place

# Rows of an identity weight: more would cost too much.
_MOST_TERMS = 400


@dataclass(frozen=True)
class Reading:
    """For every token and tap, the sample, pixel and channel that is read: int64 ``[B, *g, C_in, P, ..., 2 + d]``.

    -1 where nothing is read. ``grid`` is that of the output that was found.
    """

    source: Tensor
    given: Given
    grid: tuple[int, ...]


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


def table_of(source: Tensor, data_dim: int, axis: int) -> list[list[int | None]] | None:
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


def resized(given: Given, sizes: Sequence[int]) -> Given:
    """The same layer on another input, of so many numbered pixels along each axis."""
    x = torch.arange(1, given.x.shape[0] * math.prod(sizes) * given.x.shape[-1] + 1, dtype=torch.float64)
    return Given(x.reshape(given.x.shape[0], *sizes, given.x.shape[-1]), given.weight, given.bias, given.stride)


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
