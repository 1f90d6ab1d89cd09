"""The gradients of input, weight and bias: the adjoint of the linear map (C11, C9)."""

from properties.comparison import PLACES, compare_bounded, compare_exact
from properties.property import checks
from properties.trial import Raised, Trial
from properties.verdict import Failed, Inapplicable, Passed, Verdict


@checks("C11")
def runs_backward(trial: Trial) -> Verdict:
    """Whichever of input, weight and bias require a gradient, each of them gets one, of its own shape and dtype.

    Catches detached results, hand-written backward passes that assume a dense cotangent, and mixed dtypes.
    """
    wanted = trial.case.backward.requires_grad
    if not wanted:
        return Inapplicable("the case asks for no gradients")
    if not trial.tokens.requires_grad:
        return Failed(
            f"the output does not require a gradient, but {' and '.join(wanted)} do",
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
        if gradient is None:
            return Failed(f"no gradient reaches the {name}", observed="None", expected="a gradient")
        found = f"{list(gradient.shape)} {gradient.dtype}"
        expected = f"{list(shapes[name])} {trial.case.torch_dtype}"
        if found != expected:
            return Failed(f"the gradient of the {name} has the wrong form", observed=found, expected=expected)
    return Passed()


def _exact(trial: Trial, name: str) -> Verdict:
    what = f"values of the {name} gradient differ from the adjoint"
    return compare_exact(what, trial.gradient(name), trial.expected_gradient(name), PLACES[name])


def _bounded(trial: Trial, name: str) -> Verdict:
    what = f"values of the {name} gradient differ from the adjoint"
    return compare_bounded(what, trial.gradient(name), trial.expected_gradient(name), PLACES[name])


@checks("C11", "C9", "C10")
def input_gradient_exact(trial: Trial) -> Verdict:
    """On integers, the input's gradient sums over all windows that cover a pixel, bit for bit.

    Catches windows that overwrite each other where they overlap, and gradients that land on the wrong pixel.
    """
    return _exact(trial, "input")


@checks("C11", "C9", "C10")
def input_gradient_bounded(trial: Trial) -> Verdict:
    """On real numbers, the input's gradient is within the rounding bound of the adjoint."""
    return _bounded(trial, "input")


@checks("C11")
def weight_gradient_exact(trial: Trial) -> Verdict:
    """On integers, the weight's gradient sums over all samples and windows, bit for bit.

    Catches missing samples or windows, swapped taps, and scaling by the batch.
    """
    return _exact(trial, "weight")


@checks("C11")
def weight_gradient_bounded(trial: Trial) -> Verdict:
    """On real numbers, the weight's gradient is within the rounding bound of the adjoint."""
    return _bounded(trial, "weight")


@checks("C11")
def bias_gradient_exact(trial: Trial) -> Verdict:
    """On integers, the bias's gradient is the cotangent summed over samples and tokens, bit for bit."""
    return _exact(trial, "bias")


@checks("C11")
def bias_gradient_bounded(trial: Trial) -> Verdict:
    """On real numbers, the bias's gradient is within the rounding bound of the adjoint."""
    return _bounded(trial, "bias")
