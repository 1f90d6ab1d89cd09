"""What becomes of bad arguments and inputs that are accepted, and what the error lacks where they are refused."""

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from oracles import unfold
from properties.cases.case import Case
from properties.diagnosis.cause import Cause
from properties.diagnosis.probe import Subject
from properties.trials.settings import undisturbed
from properties.trials.tensors import TORCH_DTYPES
from properties.trials.trial import Raised, blaming
from properties.trials.verdict import Failed


def _cause(words: str) -> Cause:
    return Cause(words)


def data_dim(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """What is built for a ``data_dim`` that should be refused."""
    value = int(verdict.what.partition("=")[2].split()[0])
    if "accepted" not in verdict.what:
        return _cause(f"data_dim={value} raises {verdict.observed} instead of ValueError")
    with undisturbed(subject.device):
        layer = _build(subject, _arguments(case) | {"data_dim": value})
    kind = type(getattr(layer, "conv", layer)).__name__
    return _cause(f"data_dim={value} is accepted, and a layer with a {kind} is built")


def _arguments(case: Case) -> dict[str, Any]:
    spec = case.spec
    return {
        "in_features": spec.in_features,
        "out_features": spec.out_features,
        "data_dim": spec.data_dim,
        "patch_size": spec.patch_size,
        "stride": spec.step,
        "bias": spec.bias,
    }


def _build(subject: Subject, arguments: dict[str, Any]) -> Any:
    subject.spend()
    with blaming("the constructor"):
        return subject.implementation(**arguments)


_TAKEN: dict[str, tuple[object, Callable[[Any], object]]] = {
    "is taken for its magnitude": (-3, abs),
    "is rounded down": (2.75, int),
    "is rounded to the nearest integer": (2.75, round),
    "is converted to an integer": ("3", int),
}


def arguments(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """What a bad argument is taken for, or what its error does not say."""
    found = re.match(r"(?:the error for )?(\w+)=(\S+) (.*)", verdict.what)
    if not found:
        return None
    name, value = found[1], ast.literal_eval(found[2])
    call = f"{name}={value!r}"
    if "does not name" in found[3]:
        lacks = [
            what for what, text in (("the argument", name), ("its value", str(value))) if text not in verdict.observed
        ]
        return _cause(f"the error for {call} does not name {' and '.join(lacks)}: {verdict.observed!r}")
    if "accepted" not in found[3]:
        return _cause(f"{call} raises {verdict.observed} instead of ValueError or TypeError")
    with undisturbed(subject.device):
        taken = _effective(subject, case, name, value)
        words = f"{call} is accepted" + ("" if taken is None else f" and taken for {taken}")
        for how, (other, rule) in _TAKEN.items():
            alike = type(other) is type(value) and (not isinstance(value, int) or isinstance(value, bool) or value < 0)
            if alike and _effective(subject, case, name, other) == rule(other):
                kind = {int: "a negative", float: "a fractional", str: "a textual"}[type(value)]
                return _cause(f"{call} is accepted: {kind} {name} {how}")
    return _cause(words)


def _effective(subject: Subject, case: Case, name: str, value: object) -> object:
    """The number that a layer ends up with for an argument, None where it cannot be told."""
    try:
        layer = _build(subject, _arguments(case) | {name: value})
    except Raised:
        return None
    conv = getattr(layer, "conv", None)
    attribute = {"in_features": "in_channels", "out_features": "out_channels", "patch_size": "kernel_size"}.get(
        name, name
    )
    found = getattr(layer, name, None) if name == "data_dim" else getattr(conv, attribute, None)
    if isinstance(found, tuple) and found:
        found = found[0]
    return int(found) if isinstance(found, int | float) else None


def inputs(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """What an input that should be refused is taken for, or what the error for it does not say."""
    if "is accepted" not in verdict.what:
        return _cause(f"{verdict.what}: it is {verdict.observed}")
    shape = ast.literal_eval(str(verdict.where).removeprefix("input "))
    trial = subject.trial(case)
    subject.spend()
    with undisturbed(subject.device), blaming("a probe"), torch.no_grad():
        x = torch.arange(1, 1 + int(torch.tensor(shape).prod()), dtype=torch.float64).reshape(shape)
        found = trial.make_layer()(x.to(trial.device, TORCH_DTYPES[case.input.dtype])).double().cpu()
    what = verdict.what.removesuffix(" is accepted")
    if found.numel() == 0:
        return _cause(f"{what} is accepted and gives an empty output, {list(found.shape)}")
    for words, predicted in _taken_for(x, case, trial):
        if predicted is not None and predicted.shape == found.shape and torch.allclose(predicted, found, rtol=1e-3):
            return _cause(f"{what} is accepted: {words}")
    return _cause(f"{what} is accepted and gives an output of shape {list(found.shape)}")


def _taken_for(x: Tensor, case: Case, trial: Any) -> Iterator[tuple[str, Tensor | None]]:
    """Hypotheses of what the layer makes of an input of the wrong shape, and their outputs."""
    spec, rank = case.spec, case.spec.data_dim + 2

    def embed(other: Tensor) -> Tensor | None:
        sizes = other.shape[1:-1]
        if other.ndim != rank or other.shape[-1] != spec.in_features or min(sizes) < spec.patch_size:
            return None
        values = trial.values
        bias = None if values.bias is None else values.bias.double()
        return unfold.forward(other, values.weight.double(), bias, spec.step)

    if x.ndim == rank - 1:
        whole = embed(x[None])
        # The rows of an unbatched image are as many as channels, and are read as such.
        rows = embed(x.movedim(-1, 1).movedim(0, -1)[None])
        if rows is not None:
            as_rows = rows[0].movedim(-1, 0).movedim(1, -1)
            if whole is None or not torch.equal(as_rows, whole[0]):
                yield "its first axis is read as the channels", as_rows
        if whole is not None:
            yield "it is embedded as a batch of one sample", whole[0]
            yield "it is embedded as a batch of one sample, and the batch is kept", whole
        yield "its first axis is read as the batch, and one is missing", embed(x.unsqueeze(1))
    if x.ndim == rank + 1:
        yield "its first two axes are folded into the batch", embed(x.flatten(0, 1))
        yield "its first axis is dropped", embed(x[0])
        folded = embed(x.flatten(0, 1))
        yield (
            "it is embedded sample by sample",
            None if folded is None else folded.reshape(*x.shape[:2], *folded.shape[1:]),
        )
    if x.ndim == rank and x.shape[-1] > spec.in_features:
        yield "the channels past the last expected one are dropped", embed(x[..., : spec.in_features])
        yield "the first channels are dropped", embed(x[..., -spec.in_features :])
    if x.ndim == rank and x.shape[-1] == 1:
        yield "the single channel is repeated", embed(x.expand(*x.shape[:-1], spec.in_features))
    if x.ndim == rank and x.shape[-1] < spec.in_features:
        missing = spec.in_features - x.shape[-1]
        yield "the missing channels are taken for zero", embed(functional.pad(x, (0, missing)))
    if x.ndim == rank:
        amounts, before = [0, 0], [0, 0]
        for size in reversed(x.shape[1:-1]):
            amounts += [0, max(0, spec.patch_size - size)]
            before += [max(0, spec.patch_size - size), 0]
        yield "it is filled up with zeros at the end", embed(functional.pad(x, amounts))
        yield "it is filled up with zeros at the beginning", embed(functional.pad(x, before))


def empty_batch(subject: Subject, case: Case, verdict: Failed) -> Cause | None:
    """What a batch of no samples gives."""
    if "gradient" in verdict.what:
        subject.spend()
        trial = subject.trial(case)
        with undisturbed(subject.device), blaming("backward of an empty batch"):
            layer = trial.make_layer()
            found = layer(trial.make_input().detach()[:0])
            name = "bias" if verdict.what.startswith("the bias") else "weight"
            (gradient,) = torch.autograd.grad(found, [getattr(layer.conv, name)], trial.make_cotangent()[:0])
        what = "NaN" if bool(gradient.isnan().all()) else "not zero"
        return _cause(f"the gradient of the {name} is {what} for an empty batch, instead of zero")
    if verdict.expected == "no exception":
        return None
    return _cause(f"an empty batch gives the shape {verdict.observed} instead of {verdict.expected}")
