"""Bad arguments and bad inputs are refused, in words that help (H1 to H3)."""

import re
from collections.abc import Sequence

import torch

from properties.laws.law import checks
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Inapplicable, Passed, Verdict


@checks("H1")
def rejects_bad_arguments(trial: Trial) -> Verdict:
    """A size that is zero, negative, no integer or a boolean raises ``ValueError`` or ``TypeError``, naming both.

    Catches a stride of zero that dies later, and ``True`` that passes for one.
    """
    spec = trial.case.spec
    good = {
        "in_features": spec.in_features,
        "out_features": spec.out_features,
        "data_dim": spec.data_dim,
        "patch_size": spec.patch_size,
        "stride": spec.step,
    }
    for name in good:
        for value in (0, -1, True, 1.5, "2"):
            call = f"{name}={value!r}"
            try:
                trial.implementation(**(good | {name: value}), bias=spec.bias)
            except (ValueError, TypeError) as error:
                if name in str(error) and str(value) in str(error):
                    continue
                return Failed(
                    f"the error for {call} does not name argument and value",
                    observed=str(error),
                    expected=f"a message with {name} and {value!r}",
                )
            except (Exception, SystemExit) as error:
                return Failed(
                    f"{call} raises another error", observed=type(error).__name__, expected="ValueError or TypeError"
                )
            return Failed(f"{call} is accepted", observed="no exception", expected="ValueError or TypeError")
    return Passed()


@checks("H2")
def rejects_wrong_rank(trial: Trial) -> Verdict:
    """An input with too few or too many axes is refused, above all an unbatched one that could pass for a batch.

    An unbatched image ``[H, W, C]`` with ``H = C_in`` has a size that fits on every axis of an unbatched convolution,
    which then reads the rows as channels.
    """
    spec, sizes = trial.case.spec, trial.case.input.sizes
    misread = (spec.in_features, *(max(size, spec.patch_size) for size in sizes[1:]), spec.in_features)
    for description, shape in (
        ("an unbatched input whose first size equals in_features", misread),
        ("an unbatched input", (*sizes, spec.in_features)),
        ("an input with one axis too many", (1, *trial.case.input_shape)),
        ("an input with one axis", (spec.in_features,)),
    ):
        if error := _accepted(trial, description, shape):
            return error
    return Passed()


@checks("H3")
def rejects_wrong_channels(trial: Trial) -> Verdict:
    """An input with the wrong number of channels is refused, naming both numbers.

    Catches layers that broadcast a single channel, or read channels as pixels.
    """
    right = trial.case.spec.in_features
    for wrong in (right + 1, 2 * right, right - 1, 1):
        if wrong not in (0, right):
            shape = (*trial.case.input_shape[:-1], wrong)
            if error := _accepted(trial, f"an input with {wrong} channels", shape, named=(wrong, right)):
                return error
    return Passed()


@checks("H3")
def rejects_small_sizes(trial: Trial) -> Verdict:
    """An axis that is smaller than the patch is refused, naming the axis and both numbers.

    Catches empty outputs, and errors from inside a kernel that name no axis.
    """
    patch_size = trial.case.spec.patch_size
    if patch_size == 1:
        return Inapplicable("no axis is smaller than a patch of one pixel")
    for axis in range(1, trial.case.spec.data_dim + 1):
        small = patch_size - 1
        shape = [*trial.case.input_shape]
        shape[axis] = small
        description = f"an input with {small} pixels on axis {axis}"
        if error := _accepted(trial, description, shape, named=(axis, small, patch_size)):
            return error
    return Passed()


def _accepted(trial: Trial, description: str, shape: Sequence[int], named: Sequence[int] = ()) -> Failed | None:
    """Say so where an input of the given shape is not refused, or not with all the numbers that were to be named."""
    x = torch.ones(tuple(shape), dtype=trial.dtype, device=trial.device)
    where, layer = f"input {list(shape)}", trial.layer
    try:
        output: object = layer(x)
    except (Exception, SystemExit) as error:
        numbers = {int(digits) for digits in re.findall(r"\d+", str(error))}
        if numbers >= set(named):
            return None
        return Failed(
            f"the error for {description} does not name the numbers",
            where=where,
            observed=f"{type(error).__name__}: {error}",
            expected=f"a message with {', '.join(map(str, named))}",
        )
    observed = f"output {list(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
    return Failed(f"{description} is accepted", where=where, observed=observed, expected="an exception")
