"""The hypotheses: what a layer may do wrong, in one table, each with what it predicts.

A hypothesis predicts results for any input, so that it is held against several cases. Where it only measures something,
it predicts nothing else.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from oracles import adjoint
from oracles.precision import PRECISIONS
from oracles.windows import covered
from properties.cases.case import Case
from properties.diagnosis import building, changes, windows
from properties.diagnosis.changes import Change, Changes, Chosen
from properties.diagnosis.evidence import GRADIENTS, OUTPUT
from properties.diagnosis.probe import Measured, Seen, numbered
from properties.trials.layout import CHANNELS_LAST
from properties.trials.tensors import TORCH_DTYPES, Tensors
from properties.trials.trial import Trial

# What each result is made of.
_USED = {
    OUTPUT: ("x", "weight", "bias"),
    "input": ("cotangent", "weight"),
    "weight": ("cotangent", "x"),
    "bias": ("cotangent",),
}
_ANY = (OUTPUT, *GRADIENTS)
_OF_WEIGHT = (OUTPUT, "input", "weight")
# What is predicted of a pass, and what is particular to this layer. None where that was measured, and predicts nothing.
Predict = Callable[[Seen], Tensor]
Claims = Iterator[tuple[Mapping[str, object], Predict | None]]


@dataclass(frozen=True)
class Hypothesis:
    """Something that a layer may do wrong: what is said of it, last of all, and what it predicts of which results.

    ``extreme`` says whether it may be what is wrong where numbers are huge, tiny or not finite.
    """

    id: str
    text: str
    predict: Callable[[Measured], Claims]
    of: tuple[str, ...] = (OUTPUT,)
    extreme: bool = False


def _changing(*parts: str, by: Callable[[Tensor], Changes]) -> Callable[[Measured], Claims]:
    """One of several parts of what is given, or the ``result``, is changed in one of several ways."""

    def predict(m: Measured) -> Claims:
        for part in parts:
            if (tensor := _part(m, part)) is not None:
                for how, change in by(tensor):
                    yield {"part": part, "how": how}, partial(_changed, parts=(part,), change=change)

    return predict


def _part(m: Measured, part: str) -> Tensor | None:
    """The right result, or a part of what is given: None where there is none, or the result is not made of it."""
    tensor: Tensor | None = m.given.right if part == "result" else getattr(m.given, part)
    return tensor if part == "result" or part in _USED[m.view.of] else None


def _changed(seen: Seen, parts: tuple[str, ...], change: Change) -> Tensor:
    if parts == ("result",):
        return change(seen.given.right)
    there = {part: getattr(seen.given, part) for part in parts}
    return seen.given.having(**{part: change(tensor) for part, tensor in there.items() if tensor is not None}).right


def _of_weight(by: Callable[[Tensor], Changes]) -> Callable[[Measured], Claims]:
    """The weight is used changed; the weight's own gradient comes out changed."""
    return lambda m: _changing("result" if m.view.of == "weight" else "weight", by=by)(m)


def _random(m: Measured) -> Claims:
    again = m.look()
    if again.shape == m.found.shape and not torch.equal(again.nan_to_num(), m.found.nan_to_num()):
        yield {}, None


def _missing(m: Measured) -> Claims:
    if all(seen.found is None for seen in m.seen):
        yield {}, None


def _shapes(m: Measured) -> Claims:
    yield from () if m.same_shape else _changing("result", by=changes.shapes)(m)


# The bias, and places where values are wrong by one factor.


def _added(seen: Seen, change: Change) -> Tensor:
    """The products, with something else than the bias added."""
    bias = seen.given.bias
    return seen.given.right if bias is None else seen.given.products + change(bias)


def _bias_missing(m: Measured) -> Claims:
    yield {}, partial(_added, change=torch.zeros_like)


def _bias_repeated(m: Measured) -> Claims:
    if m.same_shape and m.given.bias is not None and bool(m.given.bias.any()):
        at = int(m.given.bias.abs().argmax())
        times = float((m.found - m.given.products)[..., at].flatten()[0] / m.given.bias[at])
        if math.isfinite(times):
            yield {"times": times}, partial(_added, change=lambda bias: times * bias)
        for words, count in (("every tap", lambda s: math.prod(s.taps)), ("every product", lambda s: s.terms)):
            yield {"times": f"once for {words}"}, partial(_repeated, count=count)


def _repeated(seen: Seen, count: Callable[[Any], int]) -> Tensor:
    return _added(seen, lambda bias: count(seen.given.case.spec) * bias)


def _bias_on_some(m: Measured) -> Claims:
    for noun, axis in (("sample", 0), ("token", 1)) if m.same_shape else ():
        for words, chosen in changes.some(m.given.right.flatten(1, -2).shape[axis], noun):
            yield {"where": words}, partial(_without_on_some, axis=axis, chosen=chosen)


def _without_on_some(seen: Seen, axis: int, chosen: Chosen) -> Tensor:
    ones = torch.ones_like(seen.given.right[..., :1])
    times = changes.of_tokens(ones, lambda flat: changes.masked(flat, axis, chosen))
    return _added(seen, lambda bias: times * bias)


def _bias_elsewhere(m: Measured) -> Claims:
    yield {"how": "with its channels in the reverse order"}, partial(_added, change=lambda bias: bias.flip(0))
    for axis, size in enumerate((m.case.input.batch, *m.case.grid)):
        if m.case.spec.out_features == size:
            along = "along the samples" if axis == 0 else f"along axis {axis - 1} of the grid"
            turned = partial(torch.reshape, shape=[-1 if other == axis else 1 for other in range(m.given.x.ndim)])
            yield {"how": f"{along} instead of the channels"}, partial(_added, change=turned)


def _ratio(m: Measured) -> float | None:
    """The factor of a value that is wrong."""
    there = m.seen[0].wrong & (m.given.right != 0) if m.same_shape else torch.zeros(1, dtype=torch.bool)
    factor = float((m.found / m.given.right)[there][0]) if bool(there.any()) else math.nan
    return factor if math.isfinite(factor) else None


_COUNTS: dict[str, Callable[[Case], int]] = {
    "taps": lambda case: math.prod(case.spec.taps),
    "input channels": lambda case: case.spec.in_features,
    "products": lambda case: case.spec.terms,
    "samples": lambda case: case.input.batch,
    "tokens of a sample": lambda case: math.prod(case.grid),
    "tokens of all samples": lambda case: case.input.batch * math.prod(case.grid),
}


def _factor(m: Measured) -> Claims:
    """The result, or the sum of the products in it, times a number."""
    if (factor := _ratio(m)) is not None:
        yield {"what": "it", "factor": factor}, lambda seen: seen.given.right * factor
        products, what = m.given.products, "the sum of the products"
        at = tuple((m.seen[0].wrong & (products != 0)).nonzero()[0].tolist())
        of_sum = float(1 + (m.found - m.given.right)[at] / products[at])
        yield {"what": what, "factor": of_sum}, partial(_times, factor=of_sum)
        for words, count in _COUNTS.items():
            mean = {"what": what, "factor": f"their mean over the {words}"}
            yield mean, partial(_mean, count=count)


def _mean(seen: Seen, count: Callable[[Case], int]) -> Tensor:
    return _times(seen, 1 / count(seen.given.case))


def _times(seen: Seen, factor: float) -> Tensor:
    return seen.given.right + (factor - 1) * seen.given.products


def _factor_on_some(m: Measured) -> Claims:
    if (factor := _ratio(m)) is None:
        return
    along = [("token", 1 + axis, False, f" along axis {axis}") for axis in range(m.case.spec.data_dim)]
    for noun, axis, flat, where in (
        *(("sample", 0, False, ""), ("output channel", -1, False, ""), ("token", 1, True, "")),
        *(along if len(along) > 1 else ()),
    ):
        wrong = torch.stack([seen.wrong for seen in m.seen]).any(0)
        wrong = wrong.flatten(1, -2) if flat else wrong
        each = wrong.movedim(axis, 0).flatten(1).any(1)
        first = int(each.int().argmax())
        rules = [*changes.some(len(each), noun, where), (f"the {noun}s{where} from {first:,} on", changes.since(first))]
        for words, chosen in rules if not bool(each.all()) else ():
            if torch.equal(chosen(len(each)), each):
                change = partial(changes.masked, axis=axis, chosen=chosen, factor=factor)
                change = partial(changes.of_tokens, change=change) if flat else change
                yield {"where": words, "factor": factor}, partial(_changed, parts=("result",), change=change)


# The memory, and numbers that are rounded, lost or made.


def _memory(m: Measured) -> Claims:
    for part in _USED[m.view.of]:
        for how in dict(_readings(m.seen[0], part)) if part != "bias" else ():
            yield {"part": part, "how": how}, partial(_misread, part=part, how=how)


def _misread(seen: Seen, part: str, how: str) -> Tensor:
    change = dict(_readings(seen, part)).get(how)
    return seen.given.right if change is None else _changed(seen, (part,), change)


def _readings(seen: Seen, part: str) -> Changes:
    """How the memory of a part may be misread, as it is laid out in a case."""
    given = seen.given
    trial = Trial(given.case, lambda: None)
    trial.values = Tensors(given.x, given.weight, given.cotangent, given.bias)
    if part == "weight":
        if given.case.weight_layout == "plain":
            return iter(())
        return changes.readings(given.weight.to(memory_format=CHANNELS_LAST[given.case.spec.data_dim]))
    return changes.readings(numbered(trial.make_input().detach() if part == "x" else trial.make_cotangent()))


def _rounding(m: Measured) -> Claims:
    bits = PRECISIONS[m.case.input.dtype].significant_bits
    there = tuple(part for part in _USED[m.view.of] if _part(m, part) is not None)
    for how, change in changes.roundings(bits):
        for parts in (*((part,) for part in there), tuple(part for part in there if part != "bias")):
            yield {"parts": parts, "how": how}, partial(_changed, parts=parts, change=change)
    for kept in (8, 11, 24):
        for part in ("result", "sum of the products") if kept < bits else ():
            found = {"parts": (part,), "how": f"rounded to {kept} significant bits"}
            yield found, partial(_kept, bits=kept, products=part != "result")


def _kept(seen: Seen, bits: int, products: bool) -> Tensor:
    """What comes out where that, or all of it but the bias, is a number of so many bits, and as near as one can be."""
    given = seen.given
    if seen.found is None or seen.found.shape != given.right.shape:
        return given.right
    added = given.right - given.products if products else torch.zeros_like(seen.found)
    near = (seen.found - given.right).abs() <= 2.0**-bits * (1 + given.case.spec.terms) * given.magnitude
    return torch.where(near, changes.to_bits(seen.found - added, bits) + added, math.nan)


def _lost(m: Measured) -> Claims:
    """What is not finite is taken for a number."""
    largest = torch.finfo(TORCH_DTYPES[m.case.input.dtype]).max
    kept: dict[str, Change] = {
        "NaN is taken for zero": lambda t: t.nan_to_num(0.0, math.inf, -math.inf),
        "infinity is taken for the largest finite number": lambda t: t.clamp(-largest, largest),
        "NaN and infinity are taken for finite numbers": lambda t: t.nan_to_num(0.0, largest, -largest),
    }
    return _changing("x", "weight", "bias", "cotangent", "result", by=lambda tensor: iter(kept.items()))(m)


def _range(m: Measured) -> Claims:
    """Powers of two that do not come through, products with ones."""
    info = torch.finfo(TORCH_DTYPES[m.case.input.dtype])
    ones = {"weight": torch.ones_like(m.given.weight), "x": torch.ones_like(m.given.x)}
    ones |= {} if m.given.bias is None else {"bias": torch.zeros_like(m.given.bias)}
    right = m.given.having(**ones).right
    if not torch.equal(m.look(**ones), right):
        return
    for sign, last in ((1, math.log2(info.max) - 8), (-1, -math.log2(info.smallest_normal * info.eps))):
        powers = {10, 16, 20, 27, 40, 64, 100, 128, 160, 300, 512, 900, 1000, int(last)}
        for scale in (2.0 ** (sign * power) for power in sorted(powers) if power <= last):
            if not torch.equal(m.look(**{**ones, "x": ones["x"] * scale}), right * scale):
                yield {"power": round(math.log2(scale))}, None
                return


def _activation(m: Measured) -> Claims:
    largest = float(m.found.abs().nan_to_num(0, 0, 0).max()) if m.found.numel() else 0.0
    yield from _changing("result", by=lambda t: changes.activations(largest))(m)
    yield from _changing("x", "weight", "cotangent", by=lambda t: changes.activations(1.0))(m)


def _normalised(m: Measured) -> Claims:
    yield from _of_weight(changes.normalised_rows)(m)
    yield from _changing("x", *(["result"] if m.view.of == OUTPUT else []), by=changes.normalised_tokens)(m)


def _constant(m: Measured) -> Claims:
    if m.same_shape:
        extra = m.found - m.given.right
        at = tuple((extra != 0).nonzero()[0].tolist())
        alike = bool((extra == extra[at]).all())
        yield {"value": float(extra[at]), "place": None if alike else at}, partial(_with_extra, extra=extra)


def _with_extra(seen: Seen, extra: Tensor) -> Tensor:
    there = seen.given.right.shape == extra.shape or seen.found is None
    return seen.given.right + extra if there else seen.found  # type: ignore[return-value]


def _nan(m: Measured) -> Claims:
    """Right wherever it is a number, and not a number elsewhere."""
    if m.same_shape and all(seen.found is not None and bool(seen.found[seen.wrong].isnan().all()) for seen in m.seen):
        yield {}, None


def _nonlinear(m: Measured) -> Claims:
    """Twice the input does not give twice the products."""
    for part in ("x", "weight"):
        nothing, once, twice = (m.look(**{part: n * getattr(m.given, part)}) for n in (0, 1, 2))
        if nothing.shape == once.shape == twice.shape and not torch.equal(twice - nothing, 2 * (once - nothing)):
            yield {"part": part}, None


def _stale(m: Measured) -> Claims:
    if torch.equal(m.look(weight=1 - m.given.weight), m.found):
        yield {}, None


# Which pixels tokens read.


def _stripes(m: Measured) -> Claims:
    if m.case.spec.effective_stride == m.case.spec.patch_size and m.case.spec.data_dim > 1:
        yield {}, lambda seen: windows.striped(seen.given)


def _outside(m: Measured) -> Claims:
    """A token that is wrong changes with a pixel that its window does not cover, found by halving those that may be."""
    if not m.same_shape:
        return
    at = tuple(m.seen[0].wrong.any(-1).nonzero()[0].tolist())
    first = [starts[i] for i, starts in zip(at[1:], windows.right_starts(m.case), strict=True)]
    outside = torch.ones(m.given.x.shape[:-1], dtype=torch.bool)
    outside[(at[0], *(slice(pixel, pixel + m.case.spec.patch_size) for pixel in first))] = False
    pixels = outside.nonzero()

    def reached(pixels: Tensor) -> bool:
        x = m.given.x.clone()
        x[tuple(pixels.T)] += torch.arange(1.0, 1 + len(pixels), dtype=x.dtype)[:, None]
        return bool((m.look(x=x)[at] != m.found[at]).any())

    if len(pixels) and reached(pixels):
        while len(pixels) > 1:
            half, rest = pixels.tensor_split(2)
            pixels = half if reached(half) else rest
        sample, *pixel = pixels[0].tolist()
        yield {"token": at[1:], "pixel": tuple(pixel), "sample": None if sample == at[0] else sample}, None


# What is special to gradients.


def _not_counted(m: Measured) -> Claims:
    """Some samples or tokens are left out."""
    for noun, axis in (("sample", 0), ("token", 1)):
        for words, chosen in changes.some(m.given.cotangent.flatten(1, -2).shape[axis], noun):
            change = partial(changes.of_tokens, change=partial(changes.masked, axis=axis, chosen=chosen))
            where = f"{words}{' of every sample' if axis else ''}"
            yield {"where": where}, partial(_changed, parts=("cotangent",), change=change)


def _overlap(m: Measured) -> Claims:
    yield {"how": "their mean"}, _mean_of_windows
    for how in ("first", "last"):
        yield {"how": f"that of the {how} one"}, partial(_one_window, last=how == "last")


def _mean_of_windows(seen: Seen) -> Tensor:
    case, ones = seen.given.case, (torch.ones_like(seen.given.cotangent), torch.ones_like(seen.given.weight))
    covering = adjoint.input_gradient(*ones, case.input.sizes, case.spec.effective_stride) / case.spec.out_features
    return seen.given.right / covering.clamp(min=1)


def _one_window(seen: Seen, last: bool) -> Tensor:
    """Every pixel's gradient by one of the windows that cover it, in the order of their first pixels."""
    given, found, patch_size = seen.given, torch.zeros_like(seen.given.right), seen.given.case.spec.patch_size
    starts = [torch.tensor(each) for each in windows.right_starts(given.case)]
    places = list(torch.cartesian_prod(*starts).reshape(-1, len(starts)).tolist())
    tokens = given.cotangent.flatten(1, -2).unbind(1)
    for first, cotangent in list(zip(places, tokens, strict=True))[:: 1 if last else -1]:
        pixels = (slice(None), *(slice(at, at + patch_size) for at in first))
        found[pixels] = torch.tensordot(cotangent, given.weight, dims=1).movedim(1, -1)
    return found


def _uncovered(m: Measured) -> Claims:
    """Right at every pixel that a window covers, and not zero at others."""
    mask = torch.from_numpy(covered(m.case.input.sizes, m.case.spec.patch_size, m.case.spec.effective_stride))
    if m.same_shape and not bool(mask.all()) and not any(bool(seen.wrong[:, mask].any()) for seen in m.seen):
        yield {}, None


def _windows(id: str) -> Callable[[Measured], Claims]:
    return lambda m: ((found, None) for kind, found in windows.wrong_windows(m) if kind == id)


_STARTS = "windows{from} on {axes} start at {found} instead of {expected}{rule}"
HYPOTHESES: tuple[Hypothesis, ...] = (
    Hypothesis("random", "it is random: two runs on the same data differ", _random, _ANY),
    Hypothesis("gradient_missing", "no gradient reaches it", _missing, GRADIENTS),
    Hypothesis("output_axes", "its axes are others: {how}", _shapes),
    Hypothesis("bias_missing", "the bias is not added", _bias_missing),
    Hypothesis("bias_repeated", "the bias is added {times}", _bias_repeated),
    Hypothesis("bias_on_some", "the bias is missing for {where}", _bias_on_some),
    Hypothesis("bias_elsewhere", "the bias is added {how}", _bias_elsewhere),
    Hypothesis("factor", "{what} is {factor}", _factor, _ANY),
    Hypothesis("factor_on_some", "for {where} it is {factor}", _factor_on_some),
    Hypothesis("memory_order", "the memory of {part} is read {how}", _memory, _ANY),
    Hypothesis("not_counted", "{where} counts for nothing", _not_counted, GRADIENTS),
    Hypothesis("samples_mixed", "samples are in wrong places: {how}", _changing("result", by=changes.samples)),
    Hypothesis("index_wraps", "{how}", _changing("result", "x", "cotangent", by=changes.indices_wrap), _ANY),
    Hypothesis("tokens_moved", "tokens are in wrong places: {how}", _changing("result", by=changes.moved)),
    Hypothesis("taps_reordered", "the taps are {how}", _of_weight(changes.taps), _OF_WEIGHT),
    Hypothesis("flattened_differently", "{how}", _of_weight(changes.flattened), _OF_WEIGHT),
    Hypothesis("channels_reordered", "{how}", _changing("result", by=changes.reordered)),
    Hypothesis("channels_reordered", "{how}", _of_weight(changes.channels), _OF_WEIGHT),
    Hypothesis("products_dropped", "products are left out: {how}", _of_weight(changes.dropped), _OF_WEIGHT),
    Hypothesis("weight_stale", "it does not change with conv.weight", _stale),
    Hypothesis("stripes", "patches are reshaped without swapping axes: tokens are stripes of the input", _stripes),
    Hypothesis("dilation", "taps are {taps} pixels apart instead of 1", _windows("dilation")),
    Hypothesis("stride", "the stride on {axes} is {stride} instead of {instead}", _windows("stride")),
    Hypothesis("window_count", _STARTS, _windows("window_count")),
    Hypothesis("window_origin", _STARTS, _windows("window_origin")),
    Hypothesis("axes_swapped", "{part} is read {how}", _changing("x", "result", by=changes.swapped), (OUTPUT, "input")),
    Hypothesis("normalised", "{how}", _normalised, _ANY),
    Hypothesis("activation", "a function is applied to {part}: {how}", _activation, _ANY),
    Hypothesis("gradient_overlap", "where windows overlap it is {how} instead of their sum", _overlap, ("input",)),
    Hypothesis("gradient_uncovered", "it is not zero at pixels that no window covers", _uncovered, ("input",)),
    Hypothesis("rounding", "{parts} {how}", _rounding, _ANY),
    Hypothesis("constant_added", "{value} is added{place}, whatever goes in", _constant),
    Hypothesis("nonfinite_lost", "{how}, in {part}", _lost, _ANY, extreme=True),
    Hypothesis("range", "numbers of 2**{power} do not come through", _range, extreme=True),
    Hypothesis("is_nan", "values are NaN that should not be", _nan, _ANY),
    Hypothesis("reads_outside", "token {token} changes with pixel {pixel}{sample}, outside of its window", _outside),
    Hypothesis("not_linear", "it is not linear in {part}", _nonlinear),
    Hypothesis("arguments_swapped", "by position, {one} and {other} change places", building.swapped, ("arguments",)),
    Hypothesis("unset", "its parameters hold no values, for {why}: {advice}", building.unset, ("start",)),
    Hypothesis(
        "wrapped", "the layer is inside another module, {of}, as {inside}: give that", building.wrapped, ("start",)
    ),
    Hypothesis(
        "held_elsewhere",
        "its weight is called {weight}: adapt(make, names={names}) judges such a layer",
        building.held_elsewhere,
        ("start",),
    ),
    Hypothesis("starts", "{name} starts {how}, not uniform in ±1/sqrt(K)", building.starts, ("start",)),
    Hypothesis("accepted_as", "{what} is accepted: {how}", building.taken_for, ("refusal",)),
)
