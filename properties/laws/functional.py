"""The layer under torch's transformations: torch.func, export, meta tensors, autocast; and the empty batch (H6, H7)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, jacrev, jvp, vmap

from properties.cases.case import autocasts
from properties.laws.law import law
from properties.trials.comparison import Expectation
from properties.trials.compilation import fresh_call, later_cases
from properties.trials.ending import blaming
from properties.trials.layout import with_plain_ones
from properties.trials.lower_precision import autocast_to, under_autocast
from properties.trials.tensors import TORCH_DTYPES
from properties.trials.trial import Trial

_MOST_JACOBIAN = 2**14


@law("H6", on="drawn", needs=("native",))
def vmap_agrees(trial: Trial) -> None:
    """``vmap`` over a stack of batches gives each batch its own output.

    Catches data-dependent code, and layers that count axes in a way that a hidden one upsets.
    """
    x = trial.values.x.to(trial.device)
    with blaming("vmap"), torch.no_grad():
        found: object = vmap(trial.layer)(torch.stack((x, -x)))
    tokens = trial.shaped("vmap gives another shape", found, (2, *trial.case.output_shape))
    trial.unchanged(tokens[0], "change under vmap")
    mirrored = Expectation(2 * trial.bias - trial.tokens.detach().double(), 3 * trial.expected_tokens.bound)
    trial.close("output values of the second batch are wrong under vmap", tokens[1], mirrored)


@law("H6", on="drawn", needs=("native",))
def functional_call_agrees(trial: Trial) -> None:
    """``functional_call`` with other parameters uses those, differentiates by them, and leaves the layer's own alone.

    They are results of operations, as those of a hypernetwork or after an inner optimizer's step. Catches layers that
    keep a reference to their weight somewhere else, and gradients for leaves alone.
    """
    wanted = {f"conv.{name}" for name in trial.case.backward.requires_grad}
    leaves = {
        name: value.detach().clone().requires_grad_(name in wanted) for name, value in trial.layer.named_parameters()
    }
    with blaming("functional_call"):
        negated = {name: -leaf for name, leaf in leaves.items()}
        found: object = functional_call(trial.layer, negated, (trial.make_input().detach(),))
    tokens = trial.shaped("functional_call gives another kind of output", found, trial.case.output_shape)
    trial.unchanged(-tokens.detach(), "do not follow the parameters of functional_call")
    trial.unchanged(trial.embed(trial.layer, trial.make_input(), "forward"), "change after functional_call")
    differentiated = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if not differentiated:
        return
    trial.spare_memory()
    with blaming("backward through functional_call"):
        gradients = torch.autograd.grad(tokens, list(differentiated.values()), trial.make_cotangent())
    for name, gradient in zip(differentiated, gradients, strict=True):
        tensor = name.removeprefix("conv.")
        what = f"values of the {tensor} gradient are wrong through functional_call"
        trial.close(what, -gradient, trial.expected_gradient(tensor), tensor)


@law("H6", on="drawn", needs=("native", "gradients"))
def jacrev_agrees(trial: Trial) -> None:
    """``jacrev`` by the input, contracted with a cotangent, is the input gradient."""
    x = trial.values.x.to(trial.device, copy=True)
    if x.numel() * trial.tokens.numel() > _MOST_JACOBIAN:
        trial.inapplicable("the Jacobian would cost too much")
    with blaming("jacrev"):
        jacobian: Tensor = jacrev(trial.layer)(x)
    trial.shaped("the Jacobian has the wrong shape", jacobian, (*trial.case.output_shape, *x.shape))
    cotangent = trial.values.cotangent.to(trial.device).double()
    found = torch.tensordot(cotangent, jacobian.double(), dims=cotangent.ndim)
    # Each entry of the Jacobian is one weight: contracting it in float64 rounds less than the layer may.
    trial.close("values of the contracted Jacobian are wrong", found, trial.expected_gradient("input"), "input")


@law("H6", on="drawn", needs=("native",))
def runs_on_meta(trial: Trial) -> None:
    """On the meta device the layer gives the shape and dtype of its output without computing it.

    Catches code that reads values.
    """
    with blaming("forward on the meta device"):
        layer = trial.make_layer().to("meta")
        found = layer(torch.empty(trial.case.input_shape, dtype=trial.dtype, device="meta"))
    observed = f"{list(found.shape)} {found.dtype} on {found.device}"
    expected = f"{list(trial.case.output_shape)} {trial.dtype} on meta"
    what = "the output on the meta device has another form"
    trial.expect(observed == expected, what, observed=observed, expected=expected)


@law("H6", on="drawn", needs=("native",))
def vmap_over_parameters_agrees(trial: Trial) -> None:
    """``vmap`` over a stack of parameters gives each set of them its own output, as an ensemble does.

    Catches layers that keep their weight somewhere else, or in another form.
    """
    stacked = {name: torch.stack((value, -value)).detach() for name, value in trial.layer.named_parameters()}
    x = trial.make_input().detach()
    with blaming("vmap over parameters"), torch.no_grad():
        found: object = vmap(lambda parameters: functional_call(trial.layer, parameters, (x,)))(stacked)
    tokens = trial.shaped("vmap over parameters gives another shape", found, (2, *trial.case.output_shape))
    trial.unchanged(tokens[0], "change under vmap over parameters")
    trial.unchanged(-tokens[1], "do not follow the parameters of vmap")


@law("H6", on="drawn", needs=("native", "gradients"))
def func_gradients_agree(trial: Trial) -> None:
    """``torch.func.grad`` by the parameters, and the sum of ``vmap(grad)`` over samples, are the gradients.

    Catches backward passes that ``torch.func`` cannot transform.
    """
    parameters = {name: value.detach() for name, value in trial.layer.named_parameters()}
    x, cotangent = trial.make_input().detach(), trial.values.cotangent.to(trial.device)

    def loss(parameters: dict[str, Tensor], x: Tensor, cotangent: Tensor) -> Tensor:
        tokens: Tensor = functional_call(trial.layer, parameters, (x,))
        return (tokens * cotangent).sum()

    def loss_of_one(parameters: dict[str, Tensor], x: Tensor, cotangent: Tensor) -> Tensor:
        return loss(parameters, x.unsqueeze(0), cotangent.unsqueeze(0))

    trial.spare_memory()
    with blaming("torch.func.grad"):
        whole = grad(loss)(parameters, x, cotangent)
    with blaming("vmap(grad)"):
        samples = vmap(grad(loss_of_one), in_dims=(None, 0, 0))(parameters, x, cotangent)
    for name, tensor in (("conv.weight", "weight"), ("conv.bias", "bias")):
        if name not in parameters:
            continue
        expected = trial.expected_gradient(tensor)
        trial.close(f"values of torch.func's {tensor} gradient are wrong", whole[name], expected, tensor)
        summed = samples[name].double().sum(0)
        trial.close(f"values of the {tensor} gradients of single samples are wrong", summed, expected, tensor)


@law("H6", on="drawn", needs=("native", "gradients"))
def jvp_agrees(trial: Trial) -> None:
    """In forward mode, the derivative by the input in the direction of the input is the output without the bias.

    Catches layers that have no forward-mode derivative, or a wrong one.
    """
    x = trial.make_input("contiguous").detach()
    with blaming("jvp"):
        tokens, tangent, *_ = jvp(trial.layer, (x,), (x.clone(),))
    trial.unchanged(tokens, "change under jvp")
    direction = trial.shaped("the derivative in a direction has another shape", tangent, trial.case.output_shape)
    expected = Expectation(trial.tokens.detach().double() - trial.bias, 3 * trial.expected_tokens.bound)
    trial.close("values of the derivative in a direction are wrong", direction, expected)


@law("H6", autocast=True, needs=("native",))
def runs_under_autocast(trial: Trial) -> None:
    """Under autocast, output and gradients are those of the lower dtype's precision, or better.

    To bfloat16, or to float16 where that holds the values. Catches layers whose dtypes do not meet, and that compute in
    no more than the result of autocast needs.
    """
    _under_autocast(trial, trial.layer, "forward under autocast")


@law("H6", on="compiled", autocast=True, needs=("native",))
def compiled_under_autocast(trial: Trial) -> None:
    """Compiled, too, output and gradients under autocast are those of the lower dtype's precision, or better.

    As most models are trained. Traced without a compiler behind it, since this is about what a graph keeps. Catches
    dtypes that a graph takes for constants.
    """
    layer = trial.make_layer()
    _under_autocast(
        trial, layer, "forward under autocast, compiled,", torch.compile(fresh_call(layer), backend="aot_eager")
    )


def _under_autocast(trial: Trial, layer: Any, doing: str, called: Callable[[Tensor], object] | None = None) -> None:
    """Expect what a layer gives under the autocast of the case; ``called`` is what is called in its place."""
    case, low = trial.case, trial.case.autocast
    if low == "off":
        trial.inapplicable("the case asks for no autocast")
    if not autocasts(low, case.fill.name, case.input.dtype):
        trial.inapplicable(f"{low} may not hold the values of this case")
    dtype, x = TORCH_DTYPES[low], trial.make_input()
    x = with_plain_ones(x) if trial.device.type == "cpu" else x
    with autocast_to(low, trial.device.type):
        found = trial.call(called or layer, x, f"{doing} to {low}")
    allowed = dict.fromkeys((dtype, torch.float32, trial.dtype))
    trial.expect(
        isinstance(found, Tensor) and found.dtype in allowed,
        "the output under autocast has another dtype",
        observed=found.dtype if isinstance(found, Tensor) else type(found).__name__,
        expected=" or ".join(map(str, allowed)),
    )
    assert isinstance(found, Tensor)
    what = f"output values under autocast are further off than {low} explains"
    trial.close(what, trial.shaped("the output under autocast has another shape", found, case.output_shape),
                under_autocast(trial.expected_tokens, low, found.dtype))  # fmt: skip
    if not case.backward.requires_grad:
        return
    trial.right_gradients(
        trial.differentiate(layer, x, found, trial.make_cotangent().to(found.dtype)),
        f"under autocast to {low}",
        lambda name, gradient: under_autocast(trial.expected_gradient(name), low, gradient.dtype),
    )


@law("H6", on="compiled", needs=("native",))
def exports(trial: Trial) -> None:
    """``torch.export`` takes the layer, with fixed and with dynamic shapes, and the program gives the same output.

    A program of dynamic shapes is run at a later size, too. Catches data-dependent control flow, and sizes that are
    made constants.
    """
    x = trial.make_input("contiguous").detach()
    with blaming("torch.export"), torch.no_grad():
        program = torch.export.export(trial.layer, (x,))
        found: object = program.module()(x)
    tokens = trial.shaped("the exported program gives another kind of output", found, trial.case.output_shape)
    trial.unchanged(tokens, "change by torch.export")
    for case in later_cases(trial)[:1]:
        given = Trial(case, trial.implementation, trial.device)
        given.values = replace(given.values, weight=trial.values.weight, bias=trial.values.bias)
        later = given.make_input("contiguous").detach()
        # Not every size can be a dynamic one: torch takes a size of 1 for a constant, so the larger input is exported.
        dynamic = (dict.fromkeys(range(later.ndim - 1), torch.export.Dim.AUTO),)
        with blaming("torch.export with dynamic shapes"), torch.no_grad():
            program = torch.export.export(trial.layer, (later,), dynamic_shapes=dynamic)
            found = program.module()(later)
        what = "the program exported with dynamic shapes gives another kind of output"
        trial.close(
            "output values of the exported program are wrong",
            trial.shaped(what, found, case.output_shape),
            given.expected_tokens,
        )


@law("H7", on="drawn", empty_batch=True, as_built=True)
def empty_batch(trial: Trial) -> None:
    """An empty batch gives an empty output of the right shape, and zero gradients of the parameters.

    The batch of a case is emptied, and nothing else of it changed. Catches reshapes that infer a size from nothing.
    """
    layer, wanted = trial.make_layer(), trial.case.backward.requires_grad
    x = trial.make_input().detach()[:0].requires_grad_("input" in wanted)
    found = trial.call(layer, x, "forward of an empty batch")
    tokens = trial.shaped("an empty batch has the wrong shape", found, (0, *trial.case.output_shape[1:]))
    if not wanted:
        return
    tensors = [x if name == "input" else getattr(layer.conv, name) for name in wanted]
    with blaming("backward of an empty batch"):
        gradients = torch.autograd.grad(tokens, tensors, trial.make_cotangent()[:0])
    for name, gradient in zip(wanted, gradients, strict=True):
        what = f"the {name} gradient of an empty batch is not zero"
        trial.expect(not bool((gradient != 0).any()), what, observed="other values", expected="0")


@law("H7", on="compiled", needs=("native",))
def empty_batch_compiled(trial: Trial) -> None:
    """Compiled, too, an empty batch gives an empty output of the right shape.

    Traced without a compiler behind it, since this is about shapes. Catches operators of one's own whose fakes divide
    by the batch.
    """
    layer = trial.make_layer()
    x = trial.make_input().detach()[:0]
    with blaming("forward of an empty batch, compiled"):
        found: object = torch.compile(fresh_call(layer), fullgraph=True, backend="aot_eager")(x)
    trial.shaped("compiled, an empty batch has the wrong shape", found, (0, *trial.case.output_shape[1:]))
