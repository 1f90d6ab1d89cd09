"""What is wrong with a layer as it is built: its constructor's arguments, what it holds, how it starts."""

import inspect
import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import torch
from torch import nn

from properties.cases.case import Case, Spec
from properties.diagnosis.cause import Cause
from properties.diagnosis.probe import Subject
from properties.diagnosis.words import listed, number
from properties.trials.settings import undisturbed
from properties.trials.trial import Raised, blaming
from properties.trials.verdict import Failed

_ARGUMENTS = ("in_features", "out_features", "data_dim", "patch_size", "stride", "bias")
# Arguments that are all different, so that none can stand in for another.
_UNLIKE = (2, 3, 1, 4, 5, False)
_CHANNELS = 256


def constructs(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """Which arguments the constructor takes in another order, under another name, or with another default."""
    with undisturbed(subject.device):
        words = _renamed(subject, verdict) or _reordered(subject) or _default(subject)
        return _cause(words, ()) if words else _cause(_refused(verdict))


def defaults(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """Which default is another than the contract's."""
    with undisturbed(subject.device):
        return _cause(_default(subject), ())


def _cause(words: str | None, features: tuple[str, ...] | None = None) -> Cause | None:
    return Cause(words, features=features) if words else None


def _refused(verdict: Failed) -> str | None:
    if verdict.expected != "no exception":
        return None
    return f"{verdict.what.removesuffix(' raised an exception').rstrip(',')} raises {verdict.observed}"


def _renamed(subject: Subject, verdict: Failed) -> str | None:
    """Arguments that the constructor does not know by name."""
    try:
        names = list(inspect.signature(subject.implementation).parameters.values())
    except (TypeError, ValueError):
        return None
    if "argument" not in verdict.observed:
        return None
    called = [parameter.name for parameter in names if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    # By position, as a reordered name is no other name.
    pairs = [(ours, theirs) for ours, theirs in zip(_ARGUMENTS, called, strict=False) if theirs not in _ARGUMENTS]
    pairs = [(ours, theirs) for ours, theirs in pairs if ours not in called]
    if not pairs:
        return None
    return f"the constructor calls {listed([ours for ours, _ in pairs])} {listed([theirs for _, theirs in pairs])}"


def _fingerprint(layer: Any) -> object:
    """What distinguishes layers that were built from different arguments."""
    found: dict[str, object] = {
        name: getattr(layer, name) for name in ("data_dim", "patch_size", "stride") if hasattr(layer, name)
    }
    if isinstance(layer, nn.Module):
        found |= {name: list(parameter.shape) for name, parameter in layer.named_parameters()}
    return found


def _build(subject: Subject, *arguments: object, **named: object) -> Any:
    subject.spend()
    with blaming("the constructor"):
        return subject.implementation(*arguments, **named)


def _reordered(subject: Subject) -> str | None:
    """Two arguments that a positional call exchanges."""
    try:
        wanted = _fingerprint(_build(subject, **dict(zip(_ARGUMENTS, _UNLIKE, strict=True))))
    except Raised:
        return None
    with_order = _UNLIKE
    try:
        if _fingerprint(_build(subject, *with_order)) == wanted:
            return None
    except Raised:
        pass
    for one, other in combinations(range(len(_UNLIKE)), 2):
        order = list(_UNLIKE)
        order[one], order[other] = order[other], order[one]
        try:
            if _fingerprint(_build(subject, *order)) == wanted:
                names = f"{_ARGUMENTS[one]} and {_ARGUMENTS[other]}"
                return f"in a positional call the constructor takes {names} for one another"
        except Raised:
            continue
    return None


def _default(subject: Subject) -> str | None:
    """What stride and bias are where they are left out."""
    required = dict(zip(_ARGUMENTS[:4], _UNLIKE[:4], strict=True))
    found = []
    for patch_size in (4, 3, 2):
        given = {**required, "patch_size": patch_size}
        try:
            layer = _build(subject, **given)
        except Raised as raised:
            for name, value in (("stride", None), ("bias", True)):
                try:
                    _build(subject, **given, **{name: value})
                except Raised:
                    continue
                return f"{name} has no default: the constructor raises {raised.observed}"
            return None
        found.append((getattr(getattr(layer, "conv", None), "bias", None) is not None, getattr(layer, "stride", None)))
    if not any(bias for bias, _ in found):
        return "the bias is off where it is left out, instead of on"
    strides = [stride for _, stride in found]
    if strides != [4, 3, 2]:
        what = strides[0] if len(set(strides)) == 1 else listed(strides)
        return f"the stride is {what} where it is left out, instead of patch_size"
    return None


def holds_conv(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """What of the convolution and the parameters is another than asked for, and whether it follows the arguments."""
    name = verdict.what.removesuffix(" differs from the contract")
    if name == verdict.what:
        return _cause(f"{verdict.what}: {verdict.observed}")
    with undisturbed(subject.device):
        return _cause(_held(subject, case, name, verdict))


def _held(subject: Subject, case: Case, name: str, verdict: Failed) -> str:
    plain = f"{name} is {verdict.observed} instead of {verdict.expected}"
    layer = subject.trial(case).construct()
    if name == "conv":
        others = [
            path
            for path, module in layer.named_modules()
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and path != "conv"
        ]
        return f"the convolution is held as {others[0]} instead of conv" if others else plain
    if name == "parameters":
        return _parameters(verdict)
    follows = _follows(subject, case.spec, name)
    return f"{plain}{(follows and f', {follows}') or ''}"


def _parameters(verdict: Failed) -> str:
    found, wanted = (
        set() if text == "none" else set(text.split(", ")) for text in (verdict.observed, verdict.expected)
    )
    extra, missing = sorted(found - wanted), sorted(wanted - found)
    if extra == ["conv.bias"]:
        return "there is a bias where none is asked for"
    if missing == ["conv.bias"]:
        return "there is no bias where one is asked for"
    parts = [f"a parameter {listed(extra)} too many"] if extra else []
    parts += [f"no parameter {listed(missing)}"] if missing else []
    order = "the parameters are in another order: " + verdict.observed
    return f"the layer has {listed(parts)}" if parts else order


def _follows(subject: Subject, spec: Spec, name: str) -> str:
    """Whether an attribute stays the same when the argument behind it changes."""
    holder, _, attribute = name.rpartition(".")
    argument = {"kernel_size": "patch_size", "in_channels": "in_features", "out_channels": "out_features"}.get(
        attribute, attribute
    )
    if argument not in ("patch_size", "stride", "in_features", "out_features"):
        return ""
    found = []
    for value in (1, 2, 3, 5):
        arguments = {
            "in_features": spec.in_features, "out_features": spec.out_features, "data_dim": spec.data_dim,
            "patch_size": spec.patch_size, "stride": spec.stride, "bias": spec.bias,
        }  # fmt: skip
        try:
            layer = _build(subject, **{**arguments, argument: value})
        except Raised:
            continue
        found.append(repr(getattr(getattr(layer, holder) if holder else layer, attribute, "missing")))
    if len(found) > 1 and len(set(found)) == 1 and found[0] != "'missing'":
        return f"whatever {argument} is"
    return ""


# Initialisations by the half width of their uniform distribution, of fan-in K, channels and fan-out.
_RANGES: dict[str, Callable[[int, int, int, int], float]] = {
    "1/sqrt(C_in), which leaves out the taps": lambda c, k, o, t: 1 / math.sqrt(c),
    "1/sqrt(P**d), which leaves out the channels": lambda c, k, o, t: 1 / math.sqrt(t),
    "sqrt(6/(fan_in + fan_out)), Xavier's": lambda c, k, o, t: math.sqrt(6 / (k + o * t)),
    "sqrt(6/K), Kaiming's for ReLU": lambda c, k, o, t: math.sqrt(6 / k),
    "sqrt(3/K), Kaiming's for a linear map": lambda c, k, o, t: math.sqrt(3 / k),
    "1/sqrt(fan_out)": lambda c, k, o, t: 1 / math.sqrt(o * t),
    "1/K": lambda c, k, o, t: 1 / k,
    "1": lambda c, k, o, t: 1.0,
}


def initialisation(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """Which distribution weight and bias start from."""
    with undisturbed(subject.device):
        for name in ("weight", "bias"):
            words = _starts(subject, name)
            if words:
                return _cause(f"the {name} starts {words}")
    return None


def _samples(subject: Subject, name: str) -> Iterator[tuple[tuple[int, int, int, int], torch.Tensor]]:
    for channels, patch_size in ((4, 3), (9, 2)):
        subject.spend()
        torch.default_generator.manual_seed(0)
        with blaming("the constructor"):
            layer = subject.implementation(channels, _CHANNELS, 2, patch_size, None, True)
            tensor = getattr(layer.conv, name)
        if isinstance(tensor, torch.Tensor):
            taps = patch_size**2
            yield (channels, channels * taps, _CHANNELS, taps), tensor.detach().double().flatten()


def _starts(subject: Subject, name: str) -> str | None:
    samples = list(_samples(subject, name))
    if not samples:
        return None
    right = "instead of uniform in ±1/sqrt(K)"
    if all(bool((values == values[0]).all()) for _, values in samples):
        constant = float(samples[0][1][0])
        return f"at {'zero' if constant == 0 else number(constant)} {right}"
    # Mean squares scatter by about one part in the square root of their number.
    near = [3.5 / math.sqrt(values.numel()) for _, values in samples]
    deviations = [float(values.square().mean().sqrt()) for _, values in samples]
    uniform = all(
        float(v.abs().max()) <= math.sqrt(3) * d * (1 + n)
        for (_, v), d, n in zip(samples, deviations, near, strict=True)
    )
    if not uniform:
        same = abs(deviations[0] / deviations[1] - 1) < sum(near)
        return f"normal with standard deviation {deviations[0]:.2g}{'' if same else ' or other, by shape'} {right}"
    widths = [math.sqrt(3) * deviation for deviation in deviations]
    if all(abs(w * math.sqrt(sizes[1]) - 1) < n for w, (sizes, _), n in zip(widths, samples, near, strict=True)):
        return None
    for words, formula in _RANGES.items():
        if all(abs(w / formula(*sizes) - 1) < n for w, (sizes, _), n in zip(widths, samples, near, strict=True)):
            return f"uniform in ±{words}, {right}"
    return f"uniform in ±{widths[0]:.3g} {right}"
