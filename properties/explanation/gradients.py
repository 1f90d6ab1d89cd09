"""What is wrong with a gradient, where the output is right."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

import torch
from torch import Tensor

from oracles import adjoint
from oracles.rounding import PRECISIONS
from oracles.windows import covered, origins
from properties.case import Case, Fill
from properties.explanation.context import Judge
from properties.explanation.precision import significant, to_bits
from properties.explanation.probe import SEEDS, Subject
from properties.explanation.weight import weight_changes
from properties.explanation.words import axes_named, block, members, number, scaled
from properties.settings import undisturbed
from properties.trial import Raised, Trial, Unusable

# Probes that ask token by token which of them count.
_MOST_TOKENS = 40
# Values that must all have few bits before that counts as a rule.
_ENOUGH = 6


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

    @property
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


def cause_of_gradient(subject: Subject, case: Case) -> str | None:
    """Which gradients are wrong, and how; None where none is or nothing fits."""
    wanted = case.backward.requires_grad
    trials = [replace(case, fill=Fill("exact", seed), tf32=False) for seed in SEEDS]
    found = [_passes(subject, one) for one in trials]
    causes = {}
    for name in wanted:
        passes = [one[name] for one in found]
        if any(one is None for one in passes):
            causes[name] = "none reaches it"
        elif not all(one.same(one.right, one.found) for one in passes if one):
            causes[name] = _difference(subject, case, [one for one in passes if one]) or "?"
    if not causes or all(words == "?" for words in causes.values()):
        return None
    return _sentence(causes, [name for name in wanted if name not in causes])


def gradients_fail(subject: Subject, case: Case) -> Judge:
    """Whether the gradients that a case asks for are wrong on another one, None where it cannot be told."""

    def fails(other: Case) -> bool | None:
        if not other.backward.requires_grad:
            return None
        try:
            found = _passes(subject, replace(other, fill=Fill("exact", SEEDS[0]), tf32=False))
        except (Raised, Unusable):
            return None
        return any(one is None or not one.same(one.right, one.found) for one in found.values())

    return fails


def _sentence(causes: dict[str, str], right: list[str]) -> str:
    if len(set(causes.values())) == 1:
        names, words = list(causes), next(iter(causes.values()))
        if words == "none reaches it":
            though = f", though one reaches the {' and the '.join(right)}" if right else ""
            return f"no gradient reaches the {' or the '.join(names)}{though}"
        several = len(names) > 1
        named = f"the gradient{'s' if several else ''} of the {' and the '.join(names)}"
        return f"{'only ' if right else ''}{named} {'are' if several else 'is'} wrong: {words}"
    parts = []
    for name, words in causes.items():
        if words == "none reaches it":
            parts.append(f"no gradient reaches the {name}")
        else:
            parts.append(f"the gradient of the {name} is wrong" + ("" if words == "?" else f": {words}"))
    return "; ".join(parts)


def _passes(subject: Subject, case: Case, cotangent: Tensor | None = None) -> dict[str, Pass | None]:
    """Runs forward and backward, with the case's cotangent or another one."""
    subject.spend()
    trial = subject.trial(case)
    with undisturbed(subject.device, tf32=case.tf32):
        layer, x = trial.make_layer(), trial.make_input()
        tokens = trial.embed(subject.wrap(layer), x, "forward")
        given = trial.make_cotangent() if cotangent is None else cotangent.to(tokens.device, tokens.dtype)
        if not tokens.requires_grad:
            return dict.fromkeys(case.backward.requires_grad)
        gradients = trial.differentiate(layer, x, tokens, given)
    return {name: _pass(trial, name, gradient, cotangent) for name, gradient in gradients.items()}


def _pass(trial: Trial, name: str, gradient: Tensor | None, cotangent: Tensor | None) -> Pass | None:
    if gradient is None:
        return None
    values, case = trial.values, trial.case
    used = values.cotangent if cotangent is None else cotangent
    roundoff = PRECISIONS[case.torch_dtype].unit_roundoff
    found = gradient.detach().to("cpu", torch.float64, copy=True)
    return Pass(values.x.double(), values.weight.double(), used.double(), case.spec.step, name, found, roundoff)


def _difference(subject: Subject, case: Case, passes: list[Pass]) -> str | None:
    """How one gradient differs from the adjoint."""
    if any(one.found.shape != one.right.shape for one in passes):
        return f"it has the shape {list(passes[0].found.shape)} instead of {list(passes[0].right.shape)}"
    if all(bool(one.found.isnan().all()) for one in passes):
        return "it is NaN"
    if words := _factor(subject, case, passes):
        return words
    for words, predict in _predictions(case, passes[0]):
        if all(one.agrees(predict(one)) for one in passes):
            return words
    if words := _tokens_that_count(subject, case, passes[0]):
        return words
    return _overlaps(passes) or _uncovered(case, passes) or _some_places(passes)


def _factor(subject: Subject, case: Case, passes: list[Pass]) -> str | None:
    """One multiple of the right gradient everywhere, named for a number of the case where it follows that."""
    ratios = torch.cat([(one.found / one.right)[one.right != 0] for one in passes])
    if not ratios.numel() or not all(one.same(ratios[0] * one.right, one.found) for one in passes):
        return None
    factor = float(ratios[0])
    if abs(factor - 1) < 1e-3 or factor != factor:
        return None
    name = passes[0].name
    for words, count, other in _counts(case):
        if count > 1 and factor != 0 and abs(factor * count - 1) < 1e-3 and other is not None:
            again = _passes(subject, replace(other, fill=Fill("exact", SEEDS[0])))[name]
            if again is not None and again.same(again.right / _count_of(other, words), again.found):
                if words == "samples" and case.backward.cotangent == "expanded":
                    return "the samples of an expanded cotangent count once, instead of each"
                return f"it is the mean over the {words} instead of the sum"
    return f"it {scaled(factor)}"


def _counts(case: Case) -> Iterator[tuple[str, int, Case | None]]:
    """What a sum may have been divided by, and a case where that is another number."""
    more_samples = replace(case, input=replace(case.input, batch=case.input.batch + 1))
    sizes = tuple(size + case.spec.step for size in case.input.sizes)
    more_tokens = replace(case, input=replace(case.input, sizes=sizes))
    for words, other in {
        "samples": more_samples,
        "tokens of a sample": more_tokens,
        "tokens of all samples": more_samples,
    }.items():
        yield words, _count_of(case, words), other


def _count_of(case: Case, words: str) -> int:
    tokens = math.prod(case.grid)
    return {"samples": case.input.batch, "tokens of a sample": tokens}.get(words, case.input.batch * tokens)


def _predictions(case: Case, one: Pass) -> Iterator[tuple[str, Callable[[Pass], Tensor]]]:
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


def _tokens_that_count(subject: Subject, case: Case, one: Pass) -> str | None:
    """How often each sample and each token counts, asked one by one: a gradient is linear in the cotangent."""
    tokens = one.cotangent.flatten(1, -2).shape[1]
    if case.backward.cotangent not in ("random", "ones"):
        return None
    for noun, count in (("sample", one.cotangent.shape[0]), ("token", tokens)):
        if not 1 < count <= _MOST_TOKENS:
            continue
        counted = []
        for index in range(count):
            alone = torch.zeros_like(one.cotangent).flatten(1, -2)
            place = (index,) if noun == "sample" else (slice(None), index)
            alone[place] = one.cotangent.flatten(1, -2)[place]
            cotangent = alone.reshape(one.cotangent.shape)
            found = _passes(subject, replace(case, fill=Fill("exact", SEEDS[0])), cotangent)[one.name]
            if found is None:
                return None
            ratios = (found.found / found.right)[found.right != 0]
            if not ratios.numel() or not found.same(ratios[0] * found.right, found.found):
                break
            counted.append(round(float(ratios[0]), 6))
        usual = max(set(counted), key=counted.count, default=1.0)
        if len(counted) == count and len(set(counted)) == 2 and usual == 1:
            odd = next(factor for factor in counted if factor != 1)
            words = members([i for i, factor in enumerate(counted) if factor == odd], count, noun)
            where = words if noun == "sample" else f"{words} of every sample"
            return f"{where} does not count" if odd == 0 else f"{where} counts {number(odd)} times"
    return None


def _overlaps(passes: list[Pass]) -> str | None:
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


def _uncovered(case: Case, passes: list[Pass]) -> str | None:
    """Right at every pixel that a window covers, and not zero at others."""
    if passes[0].name != "input":
        return None
    mask = ~covered(case.input.sizes, case.spec.patch_size, case.spec.step)
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


def _some_places(passes: list[Pass]) -> str | None:
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


def cause_of_gradient_rounding(subject: Subject, case: Case) -> str | None:
    """Which gradient is kept in fewer bits than its dtype has."""
    bits = PRECISIONS[case.torch_dtype].significant_bits
    found = [_passes(subject, replace(case, fill=Fill("real", seed), tf32=False)) for seed in range(1300, 1308)]
    for name in case.backward.requires_grad:
        values = torch.cat([one[name].found.flatten() for one in found if one[name] is not None])  # type: ignore[union-attr]
        values = values[values != 0]
        for kept in range(2, bits):
            if len(set(values.tolist())) >= _ENOUGH and bool((to_bits(values, kept) == values).all()):
                return f"the gradient of the {name} is rounded to {significant(kept)}"
    return None
