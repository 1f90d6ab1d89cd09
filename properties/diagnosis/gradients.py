"""What is wrong with a gradient, where the output is right."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from oracles.precision import PRECISIONS
from properties.cases.case import Case, Fill
from properties.diagnosis.backward import Pass, overlaps, predictions, some_places, uncovered
from properties.diagnosis.features import Judge
from properties.diagnosis.precision import significant, to_bits
from properties.diagnosis.probe import SEEDS, Subject
from properties.diagnosis.words import members, number, scaled
from properties.trials.settings import undisturbed
from properties.trials.trial import Raised, Trial, Unusable

# Probes that ask token by token which of them count.
_MOST_TOKENS = 40


# Values that must all have few bits before that counts as a rule.
_ENOUGH = 6


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
    roundoff = PRECISIONS[case.input.dtype].unit_roundoff
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
    for words, predict in predictions(case, passes[0]):
        if all(one.agrees(predict(one)) for one in passes):
            return words
    if words := _tokens_that_count(subject, case, passes[0]):
        return words
    return overlaps(passes) or uncovered(case, passes) or some_places(passes)


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


def cause_of_gradient_rounding(subject: Subject, case: Case) -> str | None:
    """Which gradient is kept in fewer bits than its dtype has."""
    bits = PRECISIONS[case.input.dtype].significant_bits
    found = [_passes(subject, replace(case, fill=Fill("real", seed), tf32=False)) for seed in range(1300, 1308)]
    for name in case.backward.requires_grad:
        values = torch.cat([one[name].found.flatten() for one in found if one[name] is not None])  # type: ignore[union-attr]
        values = values[values != 0]
        for kept in range(2, bits):
            if len(set(values.tolist())) >= _ENOUGH and bool((to_bits(values, kept) == values).all()):
                return f"the gradient of the {name} is rounded to {significant(kept)}"
    return None
