"""Parameters are read anew on every call, and the layer survives being copied and converted (C13, H5)."""

import copy
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from properties.laws.law import checks
from properties.laws.purity import same_tokens
from properties.trials.trial import Trial, blaming
from properties.trials.verdict import Failed, Passed, Verdict


def _load(layer: Any, *, assign: bool = False) -> None:
    layer.load_state_dict({name: -value for name, value in layer.state_dict().items()}, assign=assign)


def _negate(layer: Any) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.neg_()


def _negate_data(layer: Any) -> None:
    for parameter in layer.parameters():
        parameter.data.neg_()


def _step(layer: Any) -> None:
    """Plain gradient descent with gradient ``2*w`` and rate 1 negates every parameter exactly."""
    for parameter in (layer.conv.weight, layer.conv.bias):
        if parameter is not None:
            parameter.grad = 2 * parameter.detach()
    torch.optim.SGD(layer.parameters(), lr=1.0).step()


# Each negates all parameters.
_UPDATES: dict[str, Callable[[Any], None]] = {
    "loading a state dict": _load,
    "loading a state dict by assignment": partial(_load, assign=True),
    "an update in place": _negate,
    "an update of .data": _negate_data,
    "an optimizer's step": _step,
}


def _shows(trial: Trial, *ways: str, inference: bool = False) -> Verdict:
    """Negate all parameters of a layer that has run before: the output changes its sign, bit for bit.

    Args:
        trial: what both calls are of.
        ways: to negate them, each with a layer of its own.
        inference: whether the layer is in eval mode, and no gradients are wanted, from before the first call.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    when = " in eval mode under no_grad" if inference else ""
    verdict: Verdict = Passed()
    for way in ways:
        layer = trial.make_layer().requires_grad_()
        layer.train(not inference)
        with torch.set_grad_enabled(not inference):
            trial.embed(layer, trial.make_input(), f"forward{when}")
            with blaming(way):
                _UPDATES[way](layer)
            tokens = trial.embed(layer, trial.make_input(), f"forward after {way}{when}")
        verdict = same_tokens(trial, -tokens, f"do not follow {way}{when}")
        if isinstance(verdict, Failed):
            return verdict
    return verdict


@checks("C13", on="drawn")
def loaded_state_shows(trial: Trial) -> Verdict:
    """After ``load_state_dict``, the next output is that of the loaded parameters, copied or assigned.

    Catches copies of the weight that are made once (sglang#20463).
    """
    return _shows(trial, "loading a state dict", "loading a state dict by assignment")


@checks("C13", on="drawn")
def in_place_update_shows(trial: Trial) -> Verdict:
    """After an update in place, with or without autograd's notice, the next output is that of the new parameters.

    Catches caches that compare addresses or versions of the weight.
    """
    return _shows(trial, "an update in place", "an update of .data")


@checks("C13", on="drawn")
def optimizer_step_shows(trial: Trial) -> Verdict:
    """After an optimizer's step, the next output is that of the new parameters.

    Catches parameters that the optimizer does not see.
    """
    return _shows(trial, "an optimizer's step")


@checks("C13", on="drawn")
def updates_show_in_inference(trial: Trial) -> Verdict:
    """In eval mode and under ``no_grad``, too, the next output is that of the new parameters, however they came.

    Catches copies of the weight that are kept for inference alone (sglang#20463).
    """
    return _shows(trial, *_UPDATES, inference=True)


@checks("H5", on="drawn")
def survives_copying(trial: Trial) -> Verdict:
    """A layer that has run can be deep-copied, pickled and saved; the copy gives the same output, and is a copy.

    A class that is defined inside a function cannot be pickled by Python's own rules; it is deep-copied only.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer = trial.make_layer()
    trial.embed(layer, trial.make_input(), "forward")
    ways: dict[str, Callable[[Any], Any]] = {"copy.deepcopy": copy.deepcopy}
    if "<locals>" not in type(layer).__qualname__:
        ways |= {"pickle": lambda original: pickle.loads(pickle.dumps(original)), "torch.save": _saved}
    verdict: Verdict = Passed()
    for way, make in ways.items():
        with blaming(way):
            other = make(layer)
        verdict = same_tokens(trial, trial.embed(other, trial.make_input(), f"forward after {way}"), f"change by {way}")
        if isinstance(verdict, Failed):
            return verdict
        with torch.no_grad():
            other.conv.weight.neg_()
            if trial.case.spec.bias:
                other.conv.bias.neg_()
        negated = -trial.embed(other, trial.make_input(), f"forward after {way}")
        verdict = same_tokens(trial, negated, f"do not follow the parameters of a copy made by {way}")
        if isinstance(verdict, Failed):
            return verdict
    return same_tokens(trial, trial.embed(layer, trial.make_input(), "forward"), "change with the parameters of a copy")


def _saved(layer: Any) -> Any:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@checks("H5", on="drawn")
def survives_conversion(trial: Trial) -> Verdict:
    """A layer that has run follows ``.to(dtype)`` there and back, and ``.to(device)``.

    Catches buffers and caches that stay in the old dtype.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer = trial.make_layer()
    trial.embed(layer, trial.make_input(), "forward")
    other = torch.float64 if trial.dtype != torch.float64 else torch.float32
    with blaming(f"conversion to {other}"):
        layer = layer.to(other)
        tokens = layer(trial.make_input().to(other))
    if not isinstance(tokens, torch.Tensor) or tokens.dtype != other:
        found = tokens.dtype if isinstance(tokens, torch.Tensor) else type(tokens).__name__
        return Failed("the output does not follow a conversion", observed=str(found), expected=str(other))
    with blaming("conversion back"):
        layer = layer.to(trial.dtype).to(trial.device)
        # Narrower numbers do not hold the parameters: they are set anew, in place.
        trial.set_parameters(layer)
    after = trial.embed(layer, trial.make_input(), "forward after conversion")
    return same_tokens(trial, after, "change after a conversion there and back")
