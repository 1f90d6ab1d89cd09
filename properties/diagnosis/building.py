"""What is measured of a layer without a pass over its case: its arguments, how it starts, which inputs it takes."""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from oracles import unfold
from properties.diagnosis.probe import Measured
from properties.trials.ending import Raised, blaming
from properties.trials.trial import Trial

_ARGUMENTS = ("in_features", "out_features", "data_dim", "patch_size", "stride", "bias")
# All different, so that none can stand in for another.
_UNLIKE = (2, 3, 1, 4, 5, False)
Claims = Iterator[tuple[dict[str, object], None]]


def swapped(m: Measured) -> Claims:
    """Two arguments that a positional call exchanges."""
    wanted = _built(m, **dict(zip(_ARGUMENTS, _UNLIKE, strict=True)))
    if wanted is None or _built(m, *_UNLIKE) == wanted:
        return
    for one, other in combinations(range(len(_UNLIKE)), 2):
        order = list(_UNLIKE)
        order[one], order[other] = order[other], order[one]
        if _built(m, *order) == wanted:
            yield {"one": _ARGUMENTS[one], "other": _ARGUMENTS[other]}, None


def _built(m: Measured, *arguments: object, **named: object) -> object:
    """What distinguishes layers that were built from different arguments; None where none is built."""
    m.subject.spend()
    try:
        with blaming("the constructor"):
            layer = m.subject.implementation(*arguments, **named)
    except Raised:
        return None
    found = {name: getattr(layer, name, None) for name in ("data_dim", "patch_size", "stride")}
    parameters = layer.named_parameters() if isinstance(layer, nn.Module) else ()
    return found | {name: list(each.shape) for name, each in parameters if not is_lazy(each)}


def unset(m: Measured) -> Claims:
    """Parameters that hold no values yet."""
    for parameter in _module(m).parameters():
        if is_lazy(parameter):
            advice = "call it once where it is built"
            yield {"why": "they have no shape before the first forward pass", "advice": advice}, None
        if parameter.is_meta:
            yield {"why": "they are on the meta device", "advice": "build it on another one"}, None


def wrapped(m: Measured) -> Claims:
    """A module around the layer that is asked for."""
    layer = _module(m)
    for name, inner in layer.named_modules():
        if name and isinstance(getattr(inner, "conv", None), nn.Module):
            yield {"of": type(layer).__name__, "inside": name}, None


def held_elsewhere(m: Measured) -> Claims:
    """Parameters of the right shapes under other names."""
    shapes = {name: tuple(parameter.shape) for name, parameter in _module(m, bias=True).named_parameters()}
    weights = [name for name, shape in shapes.items() if shape == m.case.weight_shape]
    biases = [name for name, shape in shapes.items() if shape == (m.case.spec.out_features,)]
    if len(weights) == len(biases) == 1 and weights != ["conv.weight"]:
        yield {"weight": weights[0], "names": (weights[0], biases[0])}, None


def _module(m: Measured, *, bias: bool | None = None) -> nn.Module:
    """The layer of the case, or one with a bias or without, as its constructor leaves it."""
    m.subject.spend()
    spec = m.case.spec
    asked = replace(m.case, spec=replace(spec, bias=spec.bias if bias is None else bias))
    layer: nn.Module = m.subject.trial(asked).construct()
    return layer


def starts(m: Measured) -> Claims:
    """The distribution that weight and bias start from, where it is not torch's default, uniform in ±1/sqrt(K)."""
    m.subject.spend()
    torch.default_generator.manual_seed(0)
    with blaming("the constructor"):
        conv = m.subject.implementation(9, 256, 2, 2, None, True).conv
        tensors = {name: getattr(conv, name) for name in ("weight", "bias")}
        terms = conv.weight[0].numel()
    for name, tensor in tensors.items():
        known = isinstance(tensor, Tensor) and not tensor.is_meta
        values = tensor.detach().double().flatten() if known else torch.empty(0)
        if not values.numel():
            continue
        deviation, largest = float(values.square().mean().sqrt()), float(values.abs().max())
        # Mean squares scatter by about one part in the square root of their number.
        near = 3.5 / math.sqrt(values.numel())
        if largest == float(values.abs().min()):
            yield {"name": f"conv.{name}", "how": f"at {float(values[0]):.4g}"}, None
        elif largest > math.sqrt(3) * deviation * (1 + near):
            yield {"name": f"conv.{name}", "how": f"with standard deviation {deviation:.2g}"}, None
        elif abs(math.sqrt(3 * terms) * deviation - 1) >= near:
            yield {"name": f"conv.{name}", "how": f"uniform in ±{math.sqrt(3) * deviation:.3g}, K = {terms}"}, None


def taken_for(m: Measured) -> Claims:
    """What the layer makes of the input that it should refuse: the output that each reading of it would give."""
    shape = _taken(m)
    if shape is None:
        return
    x = torch.arange(1, 1 + shape.numel(), dtype=torch.float64).reshape(shape) % 97
    with suppress(Raised):
        found = _output(m, x)
        for how, other in _readings(x, m):
            predicted = _embedded(m, other)
            if predicted is None or predicted.numel() != found.numel():
                continue
            # The axes of such an output may be in any order.
            one, two = (each.flatten().sort().values for each in (predicted, found))
            if torch.allclose(one, two, rtol=1e-3):
                yield {"what": f"an input {list(shape)} in place of {list(m.case.input_shape)}", "how": how}, None


def _taken(m: Measured) -> torch.Size | None:
    """The shape of the last input that the layer took while the law judged it; None where it refused all."""
    taken: list[torch.Size] = []

    def noting(*arguments: object, **named: object) -> Any:
        layer = m.subject.implementation(*arguments, **named)
        layer.register_forward_hook(lambda module, given, output: taken.append(given[0].shape))
        return layer

    m.subject.spend()
    m.subject.law(Trial(m.case, noting, m.subject.device))
    return taken[-1] if taken else None


def _output(m: Measured, x: Tensor) -> Tensor:
    m.subject.spend()
    trial = m.subject.trial(m.case)
    with blaming("a probe"), torch.no_grad():
        found: Any = trial.make_layer()(x.to(trial.device, trial.dtype))
        return torch.as_tensor(found).double().cpu()


def _embedded(m: Measured, x: Tensor) -> Tensor | None:
    spec, values = m.case.spec, m.subject.trial(m.case).values
    if x.ndim != spec.data_dim + 2 or x.shape[-1] != spec.in_features or min(x.shape[1:-1]) < spec.patch_size:
        return None
    bias = None if values.bias is None else values.bias.double()
    return unfold.forward(x, values.weight.double(), bias, spec.effective_stride)


def _readings(x: Tensor, m: Measured) -> Iterator[tuple[str, Tensor]]:
    """What an input of the wrong shape may be read as."""
    spec = m.case.spec
    rank, channels = spec.data_dim + 2, spec.in_features
    if x.ndim == rank - 1:
        yield "its first axis is read as the channels", x.movedim(-1, 1).movedim(0, -1)[None]
        yield "it is embedded as a batch of one sample", x[None]
    if x.ndim == rank + 1:
        yield "its first two axes are folded into the batch", x.flatten(0, 1)
        yield "its first axis is dropped", x[0]
    if x.ndim == rank and x.shape[-1] > channels:
        yield "the channels past the last expected one are dropped", x[..., :channels]
    if x.ndim == rank and x.shape[-1] == 1:
        yield "the single channel is repeated", x.expand(*x.shape[:-1], channels)
    if x.ndim == rank and min(x.shape[1:-1]) < spec.patch_size:
        amounts = [0, 0]
        for size in reversed(x.shape[1:-1]):
            amounts += [0, max(0, spec.patch_size - size)]
        yield "it is filled up with zeros", functional.pad(x, amounts)
