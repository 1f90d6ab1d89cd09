"""What comes out, before any value is looked at (C4 to C6)."""

from dataclasses import replace

from torch import Tensor

from properties.cases.long_strides import of_long_strides
from properties.laws.law import law
from properties.trials.ending import Raised
from properties.trials.trial import Trial


@law("C4", needs_output=False, small_scope=True, owns="everything", as_built=True)
def runs_forward(trial: Trial) -> None:
    """The layer runs on every valid input, without an exception.

    Catches paths that only some spec, size, dtype or layout reaches.
    """
    trial.expect(trial.layer is not None, "there is no layer")
    if isinstance(trial.forward_pass, Raised):
        raise trial.forward_pass


def _output(trial: Trial) -> object:
    found = trial.forward_pass
    if isinstance(found, Raised):
        raise found.instead("forward raised (see runs_forward)")
    return found


def _tensor(trial: Trial) -> Tensor:
    output = _output(trial)
    if not isinstance(output, Tensor):
        trial.broken("the output is no tensor (see returns_tensor)")
    return output


@law("C4", needs_output=False, owns="everything", as_built=True)
def returns_tensor(trial: Trial) -> None:
    """The output is one tensor, of the input's dtype and device.

    Catches tuples and None, results left in the dtype of an intermediate, and results left on another device.
    """
    output = _output(trial)
    is_tensor = isinstance(output, Tensor)
    trial.expect(is_tensor, "the output is no tensor", observed=type(output).__name__, expected="torch.Tensor")
    assert isinstance(output, Tensor)
    observed, expected = f"{output.dtype} on {output.device}", f"{trial.dtype} on {trial.x.device}"
    what = "the output's dtype or device is not the input's"
    trial.expect(observed == expected, what, observed=observed, expected=expected)


@law("C5", "C4", "C9", "C10", needs_output=False, small_scope=True, owns="everything", as_built=True)
def grid_shape(trial: Trial) -> None:
    """The output is ``[B, *g, C_out]``, with as many tokens along each axis as windows fit on it.

    The windows are counted one by one, so this checks the formula of the contract rather than repeating it. Catches
    rounding up, axes that are mixed up, ignored strides, and channels that end up first.
    """
    trial.shaped("the output has the wrong shape", _tensor(trial), trial.case.output_shape)


@law("C6", needs_output=False, needs=("grid",))
def default_stride_grid(trial: Trial) -> None:
    """Where the stride is left at its default, every axis has ``s // P`` tokens.

    Catches a default that is not the patch size.
    """
    case = trial.case
    if case.spec.stride is not None:
        trial.inapplicable("the case names a stride")
    grid = list(_tensor(trial).shape[1:-1])
    expected = [size // case.spec.patch_size for size in case.input.sizes]
    trial.expect(grid == expected, "the grid is not s // patch_size", observed=grid, expected=expected)


@law("C5", "C4", "C7", on="drawn")
def grid_at_long_strides(trial: Trial) -> None:
    """At strides of any length, the last window is there where it just fits, and is not where one pixel is missing.

    Catches grids that are worked out by a reciprocal or in low precision, which is right but for a few strides.
    """
    cases = [case for case in of_long_strides(trial.case) if trial.is_for(case)]
    if not cases:
        trial.inapplicable("the domain has no such strides")
    for case in cases:
        other = Trial(case, trial.implementation, trial.device)
        doing = f"forward at stride {case.spec.stride}, patch_size {case.spec.patch_size}, sizes {case.input.sizes}"
        tokens = trial.shaped(
            f"{doing}: the output has the wrong shape",
            other.call(other.make_layer(), other.make_input(), doing),
            case.output_shape,
        )
        trial.close(f"output values are wrong at stride {case.spec.stride}", tokens, other.expected_tokens)
        x = other.make_input()[..., :-1, :]
        if trial.is_for(replace(case, input=replace(case.input, sizes=tuple(x.shape[1:-1])))):
            found = other.call(other.make_layer(), x, doing)
            fewer = (*case.output_shape[:-2], case.output_shape[-2] - 1, 1)
            trial.shaped(f"{doing} less one pixel: the output has the wrong shape", found, fewer)
