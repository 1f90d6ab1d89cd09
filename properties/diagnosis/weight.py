"""The weight that a layer applies, solved for from what comes out, and how it differs from the one that it has."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, permutations

import torch
from torch import Tensor

from properties.cases.case import Case
from properties.diagnosis.probe import SEEDS, Look, Seen, given_of
from properties.diagnosis.words import backwards, block, number, scaled

# Runs that the equations may take.
_MOST_RUNS = 40


def other_weight(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """The layer applies one linear map to every window, but not that of its weight.

    Solves for the map, from as many random inputs as it has unknowns, and then some.
    """
    if any(one.found.shape != one.given.right.shape for one in seen):
        return None
    applied = applied_weight(case, look, seen[0])
    if applied is None:
        return None
    words = describe_weight(seen[0].given.weight, applied)
    if words is None and len(seen) > 1:
        other = applied_weight(case, look, seen[1])
        if other is not None and torch.allclose(other, applied, rtol=1e-4):
            return "a weight is applied that does not change with conv.weight"
    return words


def applied_weight(case: Case, look: Look, one: Seen) -> Tensor | None:
    """The weight that is applied, ``[C_out, C_in, P, ...]``; None where there is no one weight for all windows."""
    given, terms = one.given, case.spec.terms
    tokens = one.found[..., 0].numel()
    runs = math.ceil((terms + 1 + 8) / tokens)
    if runs > _MOST_RUNS or one.roundoff > 2.0**-24:
        return None
    inputs = [given] + [replace(given, x=given_of(case, SEEDS[0] + 10 + run).x) for run in range(runs)]
    outputs = [one.found] + [look(other) for other in inputs[1:]]
    if any(output.shape != one.found.shape for output in outputs):
        return None
    vectors = torch.cat([other.patches.flatten(0, -2) for other in inputs])
    scale = float(vectors.abs().max()) or 1.0
    found = torch.cat([output.flatten(0, -2) for output in outputs])
    if given.bias is not None:
        found = found - given.bias
    if not bool(found.isfinite().all()):
        return None
    solution = torch.linalg.lstsq(vectors / scale, found / scale).solution
    applied = solution.T.reshape(given.weight.shape)
    residual = vectors @ solution - found
    if float(residual.abs().max()) > 1e-6 * max(1.0, float(found.abs().max())):
        return None
    rounded = applied.round()
    close = (applied - rounded).abs() <= 1e-6 * float(applied.abs().max())
    return torch.where(close, rounded, applied)


def describe_weight(weight: Tensor, applied: Tensor) -> str | None:
    """How the weight that is applied, ``[C_out, C_in, P, ...]``, differs from the one that was given."""
    tolerance = 1e-6 * float(applied.abs().max())

    def same(predicted: Tensor) -> bool:
        return predicted.shape == applied.shape and bool(((predicted - applied).abs() <= tolerance).all())

    if same(weight):
        return None
    for words, change in (*_multiples(weight, applied), *weight_changes(weight), *_clippings(applied)):
        if same(change(weight)):
            return words
    wrong = (weight - applied).abs() > tolerance
    ratios = (applied / weight)[wrong & (weight != 0)]
    if ratios.numel() and bool(((ratios - ratios[0]).abs() <= 1e-5).all()):
        where = block(wrong, _nouns(weight.ndim - 2)) or _flat_terms(wrong)
        factor = float(ratios[0].round(decimals=6))
        if where:
            return f"the weight of {where} {'is taken for zero' if factor == 0 else scaled(factor)}"
    places = {value: place for place, value in enumerate(weight.flatten().tolist())}
    first = tuple(wrong.nonzero()[0].tolist())
    used = float(applied[first])
    if used in places:
        other = tuple(int(i) for i in torch.unravel_index(torch.tensor(places[used]), weight.shape))
        return f"the weight's entries are mixed up: in the place of {list(first)} stands {list(other)}"
    return None


def _nouns(data_dim: int) -> list[str]:
    taps = ["tap"] if data_dim == 1 else [f"tap along axis {axis}" for axis in range(data_dim)]
    return ["output channel", "input channel", *taps]


def _flat_terms(wrong: Tensor) -> str | None:
    """Products counted through, channel by channel, where from one of them on they are wrong for every channel."""
    each = wrong.flatten(1)
    first = int(each[0].nonzero()[0]) if bool(each[0].any()) else 0
    if first and bool((each == (torch.arange(each.shape[1]) >= first)).all()):
        return f"products from {first} on"
    return None


Change = tuple[str, Callable[[Tensor], Tensor]]


def _multiples(weight: Tensor, applied: Tensor) -> Iterator[Change]:
    """One factor for all entries."""
    for words, count in {
        "the products are averaged over the taps instead of summed": weight[0, 0].numel(),
        "the products are averaged over the input channels instead of summed": weight.shape[1],
        "the products are averaged over taps and input channels instead of summed": weight[0].numel(),
    }.items():
        if count > 1:
            yield words, lambda w, n=count: w / n  # type: ignore[misc]
    ratio = float(applied.flatten()[0] / weight.flatten()[0]) if float(weight.flatten()[0]) else 1.0
    words = "the products are not added at all" if ratio == 0 else f"the sum of the products {scaled(ratio)}"
    yield words, lambda w: w * ratio


def _clippings(applied: Tensor) -> Iterator[Change]:
    most = float(applied.abs().max())
    yield f"the weight is clipped to {number(most)} in magnitude", lambda w: w.clamp(-most, most)


def weight_changes(weight: Tensor) -> Iterator[Change]:
    """What is done to a weight, ``[C_out, C_in, P, ...]``, by mistake."""
    taps = list(range(2, weight.ndim))
    yield from backwards(taps, "the taps are read")
    for one, other in combinations(taps, 2):
        words = f"axes {one - 2} and {other - 2} of the kernel are swapped"
        yield words, lambda w, a=one, b=other: w.transpose(a, b)  # type: ignore[misc]
    for order in permutations(taps):
        words = f"the axes of the kernel are in the order {', '.join(str(axis - 2) for axis in order)}"
        if len(taps) == 2 and order != tuple(taps):
            words = "axes 0 and 1 of the kernel are swapped"
        yield words, lambda w, o=order: w.permute(0, 1, *o)  # type: ignore[misc]
        for axis in taps if order != tuple(taps) else ():
            turned = f"{words}, and then the taps are read backwards along axis {axis - 2}"
            yield turned, lambda w, o=order, a=axis: w.permute(0, 1, *o).flip(a)  # type: ignore[misc]
    yield "the input channels are read in the reverse order", lambda w: w.flip(1)
    yield "the output channels of the weight are in the reverse order", lambda w: w.flip(0)
    if weight.shape[0] == weight.shape[1]:
        yield "the input and output channels of the weight are swapped", lambda w: w.transpose(0, 1)
    yield "the patch is flattened (taps, channel), but the weight (channel, taps)", _taps_before_channel
    yield "the weight is flattened (taps, channel), but the patch (channel, taps)", _channel_before_taps
    yield (
        "the weight is read in memory order as (in, out, taps) instead of (out, in, taps)",
        (lambda w: w.reshape(w.shape[1], w.shape[0], *w.shape[2:]).transpose(0, 1)),
    )
    for axis, noun in enumerate(("output channel", "input channel")):
        for count in (1, -1):
            where = "before" if count == 1 else "after"
            yield f"every {noun} uses the weight of the one {where} it", lambda w, n=count, a=axis: w.roll(n, a)  # type: ignore[misc]
    for axis in taps:
        for count in (1, -1):
            where = "before" if count == 1 else "after"
            yield (
                f"every tap uses the weight of the one {where} it along axis {axis - 2}, around the end",
                (
                    lambda w, n=count, a=axis: w.roll(n, a)  # type: ignore[misc]
                ),
            )
    yield "each output channel reads its own input channel only", _diagonal
    yield "every output channel uses the weight of the first", lambda w: w[:1].expand_as(w)
    yield "the mean of each window is subtracted from it", lambda w: w - w.flatten(1).mean(1).reshape(_rows(w))
    for name, size in {
        "its largest magnitude": lambda w: w.abs().flatten(1).amax(1),
        "its norm": lambda w: w.flatten(1).norm(dim=1),
        "the sum of its magnitudes": lambda w: w.abs().flatten(1).sum(1),
        "its sum": lambda w: w.flatten(1).sum(1),
    }.items():
        yield f"every row of the weight is divided by {name}", lambda w, s=size: w / s(w).reshape(_rows(w))  # type: ignore[misc]
    for name, size in {"its largest magnitude": lambda w: w.abs().max(), "its norm": lambda w: w.norm()}.items():
        yield f"the weight is divided by {name}", lambda w, s=size: w / s(w)  # type: ignore[misc]
    yield "the sign of the weight is lost", torch.abs
    yield "negative weights become zero", torch.relu


def _rows(weight: Tensor) -> list[int]:
    return [-1] + [1] * (weight.ndim - 1)


def _taps_before_channel(weight: Tensor) -> Tensor:
    return weight.reshape(weight.shape[0], *weight.shape[2:], weight.shape[1]).movedim(-1, 1)


def _channel_before_taps(weight: Tensor) -> Tensor:
    return weight.movedim(1, -1).reshape(weight.shape)


def _diagonal(weight: Tensor) -> Tensor:
    own = torch.eye(*weight.shape[:2], dtype=weight.dtype)
    return weight * own.reshape(*own.shape, *[1] * (weight.ndim - 2))
