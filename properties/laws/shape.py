"""What comes out, before any value is looked at (C4 to C6)."""

from torch import Tensor

from properties.laws.law import checks
from properties.trials.trial import Raised, Trial, Unusable
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict


@checks("C4")
def runs_forward(trial: Trial) -> Verdict:
    """The layer runs on every valid input, without an exception.

    Catches paths that only some spec, size, dtype or layout reaches.
    """
    trial.layer  # noqa: B018 - unusable where there is none, and then nothing is said here
    if isinstance(trial.forward_pass, Raised):
        raise trial.forward_pass
    return Passed()


def _output(trial: Trial) -> object:
    if isinstance(trial.forward_pass, Raised):
        raise Unusable("forward raised (see runs_forward)")
    return trial.forward_pass


@checks("C4")
def returns_tensor(trial: Trial) -> Verdict:
    """The output is one tensor, of the input's dtype and device.

    Catches tuples and None, results left in the dtype of an intermediate, and results left on another device.
    """
    output = _output(trial)
    if not isinstance(output, Tensor):
        return Failed("the output is no tensor", observed=type(output).__name__, expected="torch.Tensor")
    expected = f"{trial.dtype} on {trial.x.device}"
    if (output.dtype, output.device) != (trial.dtype, trial.x.device):
        observed = f"{output.dtype} on {output.device}"
        return Failed("the output's dtype or device is not the input's", observed=observed, expected=expected)
    return Passed()


@checks("C5", "C4", "C9", "C10")
def grid_shape(trial: Trial) -> Verdict:
    """The output is ``[B, *g, C_out]``, with as many tokens along each axis as windows fit on it.

    The windows are counted one by one, so this checks the formula of the contract rather than repeating it. Catches
    rounding up, axes that are mixed up, ignored strides, and channels that end up first.
    """
    output = _output(trial)
    if not isinstance(output, Tensor):
        raise Unusable("the output is no tensor (see returns_tensor)")
    expected = list(trial.case.output_shape)
    if list(output.shape) != expected:
        return Failed("the output has the wrong shape", observed=str(list(output.shape)), expected=str(expected))
    return Passed()


@checks("C6")
def default_stride_grid(trial: Trial) -> Verdict:
    """Where the stride is left at its default, every axis has ``s // P`` tokens.

    Catches a default that is not the patch size.
    """
    case = trial.case
    if case.spec.stride is not None:
        return Inapplicable("the case names a stride")
    output = _output(trial)
    if not isinstance(output, Tensor):
        raise Unusable("the output is no tensor (see returns_tensor)")
    expected = [size // case.spec.patch_size for size in case.input.sizes]
    if list(output.shape[1:-1]) != expected:
        return Failed("the grid is not s // patch_size", observed=str(list(output.shape[1:-1])), expected=str(expected))
    return Passed()
