"""The gradients of input, weight and bias: the adjoint of the linear map (C11, C9)."""

import math
from dataclasses import replace
from functools import partial

import torch

from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Fill
from properties.cases.fill import false_pass_probability
from properties.laws.law import law
from properties.trials.comparison import EXACT, ROUNDED, Expectation
from properties.trials.ending import Raised, blaming
from properties.trials.trial import Trial


@law("C11", small_scope=True, owns="clause", needs=("gradients",))
def runs_backward(trial: Trial) -> None:
    """Whichever of input, weight and bias require a gradient, each of them gets one, of its own shape and dtype.

    Catches detached results, hand-written backward passes that assume a dense cotangent, and mixed dtypes.
    """
    wanted = trial.case.backward.requires_grad
    if not wanted:
        trial.inapplicable("the case asks for no gradients")
    named = f"{' and '.join(wanted)} {'does' if len(wanted) == 1 else 'do'}"
    trial.expect(
        trial.tokens.requires_grad,
        f"the output does not require a gradient, but {named}",
        observed="requires_grad False",
        expected="requires_grad True",
    )
    if isinstance(trial.backward_pass, Raised):
        raise trial.backward_pass
    shapes = {
        "input": trial.case.input_shape,
        "weight": trial.case.weight_shape,
        "bias": (trial.case.spec.out_features,),
    }
    for name, gradient in trial.backward_pass.items():
        reaches = gradient is not None
        trial.expect(reaches, f"no gradient reaches the {name}", observed="None", expected="a gradient")
        assert gradient is not None
        found = f"{list(gradient.shape)} {gradient.dtype}"
        expected = f"{list(shapes[name])} {trial.dtype}"
        what = f"the gradient of the {name} has the wrong form"
        trial.expect(found == expected, what, observed=found, expected=expected)


def _compare(trial: Trial, name: str, which: str) -> None:
    what = f"values of the {name} gradient differ from the adjoint"
    trial.close(what, trial.gradient(name), trial.expected_gradient(name), name, which)


_FALSE_PASS = partial(false_pass_probability, gradient=True)


@law("C11", "C9", "C10", needs_output=False, small_scope=True, false_pass=_FALSE_PASS, needs=("gradients",))
def input_gradient_exact(trial: Trial) -> None:
    """On integers, the input's gradient sums over all windows that cover a pixel, bit for bit.

    Catches windows that overwrite each other where they overlap, and gradients that land on the wrong pixel.
    """
    _compare(trial, "input", EXACT)


@law("C11", "C9", "C10", needs_output=False, needs=("gradients",))
def input_gradient_bounded(trial: Trial) -> None:
    """On real numbers, the input's gradient is within the rounding bound of the adjoint."""
    _compare(trial, "input", ROUNDED)


@law("C11", needs_output=False, small_scope=True, false_pass=_FALSE_PASS, needs=("gradients",))
def weight_gradient_exact(trial: Trial) -> None:
    """On integers, the weight's gradient sums over all samples and windows, bit for bit.

    Catches missing samples or windows, swapped taps, and scaling by the batch.
    """
    _compare(trial, "weight", EXACT)


@law("C11", needs_output=False, needs=("gradients",))
def weight_gradient_bounded(trial: Trial) -> None:
    """On real numbers, the weight's gradient is within the rounding bound of the adjoint."""
    _compare(trial, "weight", ROUNDED)


@law("C11", needs_output=False, false_pass=_FALSE_PASS, needs=("gradients",))
def bias_gradient_exact(trial: Trial) -> None:
    """On integers, the bias's gradient is the cotangent summed over samples and tokens, bit for bit."""
    _compare(trial, "bias", EXACT)


@law("C11", needs_output=False, needs=("gradients",))
def bias_gradient_bounded(trial: Trial) -> None:
    """On real numbers, the bias's gradient is within the rounding bound of the adjoint."""
    _compare(trial, "bias", ROUNDED)


@law("C11", on="drawn", needs=("gradients", "second_derivatives"))
def second_derivative(trial: Trial) -> None:
    """Each gradient can be differentiated again, and that gives what the adjoint's own derivative is.

    For the gradients that the case asks for, all where it asks for none. The layer is bilinear. So the input gradient,
    contracted with the input, has the weight gradient as its derivative by the weight, and the weight gradient,
    contracted with the weight, the input gradient as its derivative by the input; both have the output without bias as
    their derivative by the cotangent. The bias gradient, contracted with the bias, has the bias as its own. Catches
    backward passes that cannot be differentiated, and ones whose derivative is another.
    """
    _spare_time(trial)
    every = trial if trial.case.backward.requires_grad else _wanting_every_gradient(trial)
    layer, x, cotangent = every.make_layer(), every.make_input(), every.make_cotangent().requires_grad_()
    names = every.case.backward.requires_grad
    tensors = {name: x if name == "input" else getattr(layer.conv, name) for name in names} | {"output": cotangent}
    tokens = every.embed(layer, x, "forward")
    if not tokens.requires_grad:
        trial.broken("the output requires no gradient (see runs_backward)")
    trial.spare_memory()
    with blaming("the second backward pass"):
        wanted = [tensors[name] for name in names]
        gradients = torch.autograd.grad(tokens, wanted, cotangent, create_graph=True)
    for name, gradient in zip(names, gradients, strict=True):
        along = getattr(every.values, "x" if name == "input" else name).to(every.device, copy=True).nan_to_num()
        by = [other for other in tensors if other == "output" or (other != name and "bias" not in (other, name))]
        with blaming("the second backward pass"):
            again = torch.autograd.grad(gradient, [tensors[other] for other in by], along, retain_graph=True)
        for other, found in zip(by, again, strict=True):
            what = f"values of the derivative of the {name} gradient by the {other} are wrong"
            trial.close(what.replace("output", "cotangent"), found, _derivative(every, name, other), other)


def _derivative(trial: Trial, name: str, by: str) -> Expectation:
    """What the derivative of a gradient is, contracted with what it is the gradient of; by the cotangent: "output"."""
    if by != "output":
        return trial.expected_gradient(by)
    tokens, bias = trial.expected_tokens, torch.as_tensor(trial.bias, dtype=torch.float64)
    if name == "bias":
        return Expectation(bias.expand(tokens.values.shape), torch.zeros_like(tokens.bound))
    return Expectation(tokens.values - bias, tokens.bound)


# Torch's convolution makes its second derivative of dilated windows, whose gaps are as wide as the stride.
_MOST_PRODUCTS = 2**22


def _spare_time(trial: Trial) -> None:
    """End the law where the second derivative of torch's convolution would take a minute, or crash for its size."""
    spec, batch = trial.case.spec, trial.case.input.batch
    if batch * spec.terms * spec.out_features * spec.effective_stride**spec.data_dim > _MOST_PRODUCTS:
        trial.inapplicable("a second derivative would cost too much at this stride")


def _wanting_every_gradient(trial: Trial) -> Trial:
    """The trial with a gradient for the input and for every parameter."""
    return trial.wanting(*(PARAMETERS_AND_INPUT if trial.case.spec.bias else PARAMETERS_AND_INPUT[:2]))


# Elements of input, weight and output together: gradgradcheck runs forward and backward twice for each.
_MOST_ELEMENTS_TO_PERTURB = 200


@law("C11", on="drawn", needs=("gradients", "second_derivatives"))
def second_derivative_numerically(trial: Trial) -> None:
    """By torch's ``gradgradcheck``, the derivative of every gradient is its difference quotient.

    Judged in float64, at small sizes and values, where a difference quotient of a bilinear map is accurate. Catches,
    with nothing of ours in between, what ``second_derivative`` catches, and derivatives of the bias's gradient.
    """
    case = trial.case
    if case.input.dtype != "float64":
        trial.inapplicable("the case is not float64")
    if sum(map(math.prod, (case.input_shape, case.weight_shape, case.output_shape))) > _MOST_ELEMENTS_TO_PERTURB:
        trial.inapplicable("gradgradcheck would cost too much")
    case = replace(case, fill=Fill("real", case.fill.seed), backward=Backward((), "random"))
    every = _wanting_every_gradient(Trial(case, trial.implementation, trial.device))
    trial.spare_memory()
    layer, cotangent = every.make_layer(), every.make_cotangent().requires_grad_()
    parameters = (getattr(layer.conv, name) for name in every.case.backward.requires_grad if name != "input")
    inputs = (every.make_input("contiguous"), *parameters)
    with blaming("gradgradcheck"):
        agrees = torch.autograd.gradgradcheck(
            lambda x, *_: every.embed(layer, x, "forward"),
            inputs,
            cotangent,
            check_undefined_grad=False,
            # The order of summation may differ from run to run on a GPU.
            nondet_tol=1e-10,
        )
    trial.expect(agrees, "gradgradcheck fails")
