"""Hypotheses of what a backward pass computes instead of the adjoint."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import torch
from torch import Tensor

from oracles import adjoint
from oracles.windows import covered, origins
from properties.cases.case import Case
from properties.diagnosis.weight import weight_changes
from properties.diagnosis.words import axes_named, block, number, scaled


@dataclass(frozen=True)
class Pass:
    """One backward pass: what it was given, and one gradient that it gave; float64, on the CPU."""

    x: Tensor
    weight: Tensor
    cotangent: Tensor
    stride: int
    name: str
    found: Tensor
    roundoff: float

    @cached_property
    def right(self) -> Tensor:
        """The gradient by the adjoint."""
        return self.by(self.cotangent, self.weight, self.x)

    def by(self, cotangent: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """What the gradient is for something else."""
        match self.name:
            case "input":
                return adjoint.input_gradient(cotangent, weight, tuple(x.shape[1:-1]), self.stride)
            case "weight":
                return adjoint.weight_gradient(cotangent, x, weight.shape[-1], self.stride)
            case _:
                return adjoint.bias_gradient(cotangent)

    def same(self, one: Tensor, other: Tensor) -> bool:
        """Whether two gradients are the same but for a few roundings."""
        if one.shape != other.shape:
            return False
        largest = max(1e-30, float(other.nan_to_num(0, 0, 0).abs().max())) if other.numel() else 1.0
        return torch.allclose(one, other, rtol=0, atol=8 * self.roundoff * largest, equal_nan=True)

    def agrees(self, predicted: Tensor) -> bool:
        """Whether a prediction is what was found, and not what would be right as well."""
        return self.same(predicted, self.found) and not self.same(predicted, self.right)


def predictions(case: Case, one: Pass) -> Iterator[tuple[str, Callable[[Pass], Tensor]]]:
    """Candidates: another weight, another cotangent, or the right gradient rearranged."""
    data_dim = case.spec.data_dim
    if one.name == "input":
        for words, change in weight_changes(one.weight):
            yield f"in it {words}", lambda p, c=change: p.by(p.cotangent, c(p.weight), p.x)  # type: ignore[misc]
    for words, received in _cotangents(one):
        yield words, lambda p, r=received: p.by(r(p.cotangent), p.weight, p.x)  # type: ignore[misc]
    if one.name == "weight":
        for words, change in weight_changes(one.weight):
            yield f"in it {words}", lambda p, c=change: c(p.right)  # type: ignore[misc]
    first = {"input": 1, "weight": 2}.get(one.name)
    axes = [] if first is None else list(range(first, first + data_dim))
    for count in range(1, len(axes) + 1):
        for some in combinations(axes, count):
            named = axes_named([axis - axes[0] for axis in some])
            yield f"it runs backwards along {named}", lambda p, s=some: p.right.flip(s)  # type: ignore[misc]
    for a, b in combinations(axes, 2):
        yield f"its axes {a - axes[0]} and {b - axes[0]} are swapped", lambda p, a=a, b=b: p.right.transpose(a, b)  # type: ignore[misc]
    for axis in axes:
        for count in (1, -1):
            where = "further on" if count == 1 else "further back"
            words = f"it stands one pixel {where} along axis {axis - axes[0]}"
            yield words, lambda p, n=count, a=axis: p.right.roll(n, a)  # type: ignore[misc]
    yield "it has lost its sign", lambda p: p.right.abs()
    most = float(one.found.abs().max())
    yield f"it is clipped to {number(most)} in magnitude", lambda p: p.right.clamp(-most, most)
    if one.name == "input":
        yield "it is that of the first sample for every sample", lambda p: p.right[:1].expand_as(p.right)
        yield (
            "it is the sum over the samples for every sample",
            lambda p: p.right.sum(0, keepdim=True).expand_as(p.right),
        )
        yield "the samples are in the reverse order", lambda p: p.right.flip(0)


def _cotangents(one: Pass) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """What a backward pass may take its cotangent for."""
    for most in (1.0, 0.1, 10.0, 0.5):
        yield f"the cotangent is clamped to {number(most)} in magnitude", lambda t, m=most: t.clamp(-m, m)  # type: ignore[misc]
    yield "the sign of the cotangent is lost", torch.abs
    yield "only the signs of the cotangent count", torch.sign
    yield "the cotangent is taken for all ones", torch.ones_like
    yield (
        "the cotangent's memory is read in order, whatever its strides",
        (lambda t: t.movedim(-1, 1).contiguous().flatten().reshape(t.shape)),
    )
    yield "the cotangent of the first sample is used for all", lambda t: t[:1].expand_as(t)
    yield "the cotangent of an expanded batch counts once", lambda t: torch.cat([t[:1], torch.zeros_like(t[1:])])
    for axis in range(1, one.cotangent.ndim - 1):
        yield f"the cotangent is read backwards along axis {axis - 1}", lambda t, a=axis: t.flip(a)  # type: ignore[misc]
    for a, b in combinations(range(1, one.cotangent.ndim - 1), 2):
        words = f"axes {a - 1} and {b - 1} of the cotangent are swapped"
        yield words, lambda t, a=a, b=b: t.transpose(a, b) if t.shape[a] == t.shape[b] else t  # type: ignore[misc]


def overlaps(passes: list[Pass]) -> str | None:
    """Where windows overlap, what should be added up is not."""
    one = passes[0]
    if one.name != "input" or one.stride >= one.weight.shape[-1]:
        return None
    ones = torch.ones_like(one.cotangent[:1, ..., :1]), torch.ones_like(one.weight[:1, :1])
    covering = adjoint.input_gradient(*ones, tuple(one.x.shape[1:-1]), one.stride)
    if all(p.agrees(p.right / covering.clamp(min=1)) for p in passes):
        return "where windows overlap it is their mean instead of their sum"
    for p in passes:
        choices = torch.stack(list(_contributions(p)))
        there = choices.isfinite()
        matches = ((choices - p.found).abs() <= 8 * p.roundoff * float(p.right.abs().max())) & there
        uncovered = ~there.any(0)
        if not bool((matches.any(0) | (uncovered & (p.found == 0))).all()):
            return None
    return "where windows overlap it is that of one window instead of their sum"


def _contributions(one: Pass) -> Iterator[Tensor]:
    """For every tap, what it gives to each pixel, NaN where no window reaches a pixel by it."""
    patch_size, sizes = one.weight.shape[-1], one.x.shape[1:-1]
    firsts = [origins(size, patch_size, one.stride) for size in sizes]
    for index, tap in enumerate(product(range(patch_size), repeat=len(sizes))):
        found = torch.full_like(one.x, math.nan)
        read = [slice(first[0] + k, first[-1] + k + 1, one.stride) for first, k in zip(firsts, tap, strict=True)]
        found[(slice(None), *read)] = one.cotangent @ one.weight.flatten(2)[..., index]
        yield found


def uncovered(case: Case, passes: list[Pass]) -> str | None:
    """Right at every pixel that a window covers, and not zero at others."""
    if passes[0].name != "input":
        return None
    mask = torch.from_numpy(~covered(case.input.sizes, case.spec.patch_size, case.spec.step))
    for one in passes:
        if bool(mask.all()) or not one.same(one.found[:, ~mask], one.right[:, ~mask]):
            return None
    first = passes[0]
    values = torch.cat([one.found[:, mask].flatten() for one in passes])
    if bool((values == values[0]).all()):
        return f"it is {number(float(values[0]))} at pixels that no window covers, instead of zero"
    others = values[values != 0]
    if bool((others == others[0]).all()):
        return f"it is {number(float(others[0]))} at some pixels that no window covers, instead of zero"
    for axis in range(1, first.x.ndim - 1):
        for count, where in ((1, "before"), (-1, "after")):
            if all(
                bool(((one.found == one.right.roll(count, axis)) | (one.found == 0))[:, mask].all()) for one in passes
            ):
                return f"pixels that no window covers get that of the pixel {where} them along axis {axis - 1}"
    return "it is not zero at pixels that no window covers"


def some_places(passes: list[Pass]) -> str | None:
    """Wrong in one block of places only, by one factor."""
    one = passes[0]
    wrong = torch.stack([(p.found - p.right).abs() > 8 * p.roundoff * float(p.right.abs().max()) for p in passes]).any(
        0
    )
    axes = one.right.ndim - 2
    along = [""] if axes == 1 else [f" along axis {axis}" for axis in range(axes)]
    nouns = {
        "input": ["sample", *(f"pixel{words}" for words in along), "channel"],
        "weight": ["output channel", "input channel", *(f"tap{words}" for words in along)],
        "bias": ["channel"],
    }[one.name]
    places = None if bool(wrong.all()) else block(wrong, nouns)
    if places is None:
        return None
    ratios = torch.cat([(p.found / p.right)[wrong & (p.right != 0)] for p in passes])
    if ratios.numel() and torch.allclose(ratios, ratios[0].expand_as(ratios), rtol=1e-6, atol=0, equal_nan=True):
        factor = float(ratios[0])
        return f"for {places} it {'is NaN' if factor != factor else scaled(factor)}"
    return f"only for {places}"
