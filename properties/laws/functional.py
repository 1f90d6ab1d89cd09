"""The layer under torch's transformations: torch.func, export, meta tensors, autocast; and the empty batch (H6, H7)."""

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from oracles import rounding
from oracles.precision import PRECISIONS
from properties.laws.law import checks
from properties.laws.purity import same_tokens
from properties.trials.comparison import compare_all
from properties.trials.layout import with_plain_ones
from properties.trials.trial import Expectation, Trial, blaming
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict

_MOST_JACOBIAN = 2**14


@checks("H6", on="drawn")
def vmap_agrees(trial: Trial) -> Verdict:
    """``vmap`` over a stack of batches gives each batch its own output.

    Catches data-dependent code, and layers that count axes in a way that a hidden one upsets.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    x = trial.values.x.to(trial.device)
    with blaming("vmap"), torch.no_grad():
        found: object = vmap(trial.layer)(torch.stack((x, -x)))
    if not isinstance(found, Tensor) or found.shape != (2, *trial.case.output_shape):
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        expected = [2, *trial.case.output_shape]
        return Failed("vmap gives another shape", observed=str(shape), expected=str(expected))
    verdict = same_tokens(trial, found[0], "change under vmap")
    if isinstance(verdict, Failed):
        return verdict
    bias = 0.0 if trial.values.bias is None else trial.values.bias.to(trial.device).double()
    mirrored = Expectation(2 * bias - trial.tokens.detach().double(), 3 * trial.expected_tokens.bound)
    return compare_all("output values of the second batch are wrong under vmap", found[1], mirrored, "output")


@checks("H6", on="drawn")
def functional_call_agrees(trial: Trial) -> Verdict:
    """``functional_call`` with other parameters uses those, and leaves the layer's own alone.

    Catches layers that keep a reference to their weight somewhere else.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    parameters = {name: -value.detach() for name, value in trial.layer.named_parameters()}
    with blaming("functional_call"), torch.no_grad():
        found: object = functional_call(trial.layer, parameters, (trial.make_input(),))
    if not isinstance(found, Tensor) or found.shape != trial.case.output_shape:
        return Failed("functional_call gives another kind of output", observed=type(found).__name__, expected="Tensor")
    verdict = same_tokens(trial, -found, "do not follow the parameters of functional_call")
    if isinstance(verdict, Failed):
        return verdict
    after = trial.embed(trial.layer, trial.make_input(), "forward")
    return same_tokens(trial, after, "change after functional_call")


@checks("H6", on="drawn")
def jacrev_agrees(trial: Trial) -> Verdict:
    """``jacrev`` by the input, contracted with a cotangent, is the input gradient."""
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    x = trial.values.x.to(trial.device, copy=True)
    if x.numel() * trial.tokens.numel() > _MOST_JACOBIAN:
        return Inapplicable("the Jacobian would cost too much")
    with blaming("jacrev"):
        jacobian: Tensor = jacrev(trial.layer)(x)
    shape = (*trial.case.output_shape, *x.shape)
    if jacobian.shape != shape:
        return Failed("the Jacobian has the wrong shape", observed=str(list(jacobian.shape)), expected=str(list(shape)))
    cotangent = trial.values.cotangent.to(trial.device).double()
    found = torch.tensordot(cotangent, jacobian.double(), dims=cotangent.ndim)
    # Each entry of the Jacobian is one weight: contracting it in float64 rounds less than the layer may.
    return compare_all("values of the contracted Jacobian are wrong", found, trial.expected_gradient("input"), "input")


@checks("H6", on="drawn")
def runs_on_meta(trial: Trial) -> Verdict:
    """On the meta device the layer gives the shape and dtype of its output without computing it.

    Catches code that reads values.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    with blaming("forward on the meta device"):
        layer = trial.make_layer().to("meta")
        found = layer(torch.empty(trial.case.input_shape, dtype=trial.dtype, device="meta"))
    if found.shape != trial.case.output_shape or found.dtype != trial.dtype or found.device.type != "meta":
        observed = f"{list(found.shape)} {found.dtype} on {found.device}"
        expected = f"{list(trial.case.output_shape)} {trial.dtype} on meta"
        return Failed("the output on the meta device has another form", observed=observed, expected=expected)
    return Passed()


@checks("H6", on="drawn", autocast=True)
def runs_under_autocast(trial: Trial) -> Verdict:
    """Under autocast to bfloat16 a layer gives its output to the precision of bfloat16, or to its own.

    Catches layers whose dtypes do not meet, and that compute in no more than the result of autocast needs.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    with blaming("forward under autocast"), torch.autocast(trial.device.type, dtype=torch.bfloat16):
        x = trial.make_input()
        found: object = trial.layer(with_plain_ones(x) if trial.device.type == "cpu" else x)
    allowed = dict.fromkeys((torch.bfloat16, torch.float32, trial.dtype))
    if not isinstance(found, Tensor) or found.dtype not in allowed:
        return Failed(
            "the output under autocast has another dtype",
            observed=str(found.dtype if isinstance(found, Tensor) else type(found).__name__),
            expected=" or ".join(map(str, allowed)),
        )
    expected = trial.expected_tokens
    bound = rounding.bound(
        expected.magnitude,
        expected.terms,
        torch.bfloat16,
        accumulation=torch.bfloat16,
        operands=PRECISIONS["bfloat16"],
    )
    # What stays in float16 overflows where bfloat16 does not.
    bound = rounding.overflowing(bound, expected.magnitude, found.dtype)
    what = "output values under autocast are further off than bfloat16 explains"
    return compare_all(what, found, Expectation(expected.values, bound), "output")


@checks("H6", on="compiled")
def exports(trial: Trial) -> Verdict:
    """``torch.export`` takes the layer, and the exported program gives the same output.

    Catches data-dependent control flow.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    x = trial.make_input("contiguous").detach()
    with blaming("torch.export"), torch.no_grad():
        program = torch.export.export(trial.layer, (x,))
        found: object = program.module()(x)
    if not isinstance(found, Tensor) or found.shape != trial.case.output_shape:
        return Failed(
            "the exported program gives another kind of output", observed=type(found).__name__, expected="Tensor"
        )
    return same_tokens(trial, found, "change by torch.export")


@checks("H7", on="drawn")
def empty_batch(trial: Trial) -> Verdict:
    """An empty batch gives an empty output of the right shape, and zero gradients of the parameters.

    The batch of a case is emptied, and nothing else of it changed. Catches reshapes that infer a size from nothing.
    """
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    layer, wanted = trial.make_layer(), trial.case.backward.requires_grad
    x = trial.make_input().detach()[:0].requires_grad_("input" in wanted)
    found = trial.call(layer, x, "forward of an empty batch")
    shape = (0, *trial.case.output_shape[1:])
    if not isinstance(found, Tensor) or found.shape != shape:
        observed = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        return Failed("an empty batch has the wrong shape", observed=str(observed), expected=str(list(shape)))
    if not wanted:
        return Passed()
    tensors = [x if name == "input" else getattr(layer.conv, name) for name in wanted]
    with blaming("backward of an empty batch"):
        gradients = torch.autograd.grad(found, tensors, trial.make_cotangent()[:0])
    for name, gradient in zip(wanted, gradients, strict=True):
        if bool((gradient != 0).any()):
            return Failed(f"the {name} gradient of an empty batch is not zero", observed="other values", expected="0")
    return Passed()
