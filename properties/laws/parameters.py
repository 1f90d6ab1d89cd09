"""The parameters that a layer was built with count, and what torch's own tools do to them (C7, H5)."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from properties.cases.case import Fill
from properties.laws.law import law
from properties.trials.comparison import Expectation
from properties.trials.declaration import domain_of
from properties.trials.ending import blaming
from properties.trials.trial import Trial


@law("C7", "C11", as_built=True)
def right_as_built(trial: Trial) -> None:
    """With the parameters that the constructor gave it, the layer is the map that they say, forward and backward.

    All other laws set the parameters first; a layer that is handed over built keeps its own here. Catches what is
    derived from the parameters when the layer is built and set, and what it is built with beside them.
    """
    with blaming("reading conv"):
        layer = trial.construct().to(trial.device, trial.dtype)
        names = ("weight", "bias") if trial.case.spec.bias else ("weight",)
        own = {name: getattr(layer.conv, name).detach().cpu().clone() for name in names}
        if trial.case.mode != "train":
            layer.eval()
        for name in names:
            getattr(layer.conv, name).requires_grad_(name in trial.case.backward.requires_grad)
    domain = domain_of(trial.implementation)
    # Of parameters that cannot be set nobody asks for gradients.
    learns = [name for name in trial.case.backward.requires_grad if domain.settable or name == "input"]
    case = replace(trial.case, fill=Fill("real", trial.case.fill.seed)).wanting(*(learns if domain.gradients else ()))
    given = Trial(case, trial.implementation, trial.device)
    given.values = replace(trial.values, **own)
    x = given.make_input()
    tokens = given.embed(layer, x, "forward as it was built")
    trial.close(
        "output values are not those of its own parameters", tokens, given.with_rounded_operands(given.expected_tokens)
    )
    if given.case.backward.requires_grad:
        trial.right_gradients(
            given.differentiate(layer, x, tokens, given.make_cotangent()),
            "for its own parameters",
            lambda name, _: given.with_rounded_operands(given.expected_gradient(name), name),
        )


class _Negated(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with the opposite sign."""
        return -weight


@law("H5", on="drawn", needs=("interface",))
def follows_parametrization(trial: Trial) -> None:
    """A parametrization of ``conv.weight``, such as weight normalisation, shows in the output, and learns.

    Catches copies of the weight, and layers that hold on to the parameter itself.
    """
    layer = trial.make_layer()
    trial.embed(layer, trial.make_input(), "forward")
    with blaming("a parametrization of conv.weight"):
        parametrize.register_parametrization(layer.conv, "weight", _Negated(), unsafe=True)
    tokens = trial.embed(layer, trial.make_input(), "forward with a parametrization")
    mirrored = Expectation(2 * trial.bias - trial.tokens.detach().double(), 3 * trial.expected_tokens.bound)
    trial.close("output values do not follow a parametrization", tokens, mirrored)
    original = layer.conv.parametrizations.weight.original
    if not (original.requires_grad and trial.case.backward.requires_grad):
        return
    trial.spare_memory()
    with blaming("backward with a parametrization"):
        (gradient,) = torch.autograd.grad(tokens, [original], trial.make_cotangent())
    what = "values of the gradient of what is parametrized are wrong"
    trial.close(what, -gradient, trial.expected_gradient("weight"), "weight")


@law("H5", on="drawn", needs=("interface",))
def follows_reset(trial: Trial) -> None:
    """After ``conv.reset_parameters()`` the output is that of the new parameters.

    Catches copies of the weight.
    """
    layer = trial.make_layer()
    trial.embed(layer, trial.make_input(), "forward")
    with blaming("conv.reset_parameters()"), torch.no_grad():
        layer.conv.reset_parameters()
        names = ("weight", "bias") if trial.case.spec.bias else ("weight",)
        values = {name: getattr(layer.conv, name).detach().cpu().clone() for name in names}
    given = Trial(replace(trial.case, fill=Fill("real", trial.case.fill.seed)), trial.implementation, trial.device)
    given.values = replace(trial.values, **values)
    tokens = trial.embed(layer, trial.make_input(), "forward after conv.reset_parameters()")
    trial.close("output values do not follow conv.reset_parameters()", tokens, given.expected_tokens)
