"""Bad arguments and bad inputs are refused, in words that help (H1 to H3)."""

import math
import re
from collections.abc import Sequence
from functools import partial
from itertools import product

import torch

from properties.laws.law import law
from properties.trials.implementation import said
from properties.trials.trial import Trial


@law("H1", needs_output=False, needs=("interface",))
def rejects_bad_arguments(trial: Trial) -> None:
    """A size that is zero, negative, no integer or a boolean raises ``ValueError`` or ``TypeError``, naming both.

    Catches a stride of zero that dies later, and ``True`` that passes for one.
    """
    spec, refused = trial.case.spec, "ValueError or TypeError"
    good = {
        "in_features": spec.in_features,
        "out_features": spec.out_features,
        "data_dim": spec.data_dim,
        "patch_size": spec.patch_size,
        "stride": spec.effective_stride,
    }
    # With the stride named, and left to its default.
    for name, stride, value in product(good, (good["stride"], None), (0, -1, True, 1.5, "2", [2])):
        call = f"{name}={value!r}"
        arguments = {**good, "stride": stride, name: value}
        error = trial.refusal(partial(trial.implementation, **arguments, bias=spec.bias))
        trial.expect(error is not None, f"{call} is accepted", observed="no exception", expected=refused)
        right = isinstance(error, ValueError | TypeError)
        trial.expect(right, f"{call} raises another error", observed=type(error).__name__, expected=refused)
        trial.expect(
            name in said(error) and str(value) in said(error),
            f"the error for {call} does not name argument and value",
            observed=said(error),
            expected=f"a message with {name} and {value!r}",
        )


# What is refused is small: a layer of many channels needs a large input to be misled.
_MOST_ELEMENTS = 2**20


@law("H2", needs_output=False, as_built=True)
def rejects_wrong_rank(trial: Trial) -> None:
    """An input with too few or too many axes is refused, above all an unbatched one that could pass for a batch.

    An unbatched image ``[H, W, C]`` with ``H = C_in`` has a size that fits on every axis of an unbatched convolution,
    which then reads the rows as channels.
    """
    spec, sizes = trial.case.spec, trial.case.input.sizes
    misread = (spec.in_features, *(max(size, spec.patch_size) for size in sizes[1:]), spec.in_features)
    if math.prod(misread) <= _MOST_ELEMENTS:
        _refuses(trial, "an unbatched input whose first size equals in_features", misread)
    _refuses(trial, "an unbatched input", (*sizes, spec.in_features))
    _refuses(trial, "an input with one axis too many", (1, *trial.case.input_shape))
    _refuses(trial, "an input with one axis", (spec.in_features,))


@law("H3", needs_output=False, needs=("interface",))
def rejects_wrong_channels(trial: Trial) -> None:
    """An input with the wrong number of channels is refused, naming both numbers.

    Catches layers that broadcast a single channel, or read channels as pixels.
    """
    right = trial.case.spec.in_features
    for wrong in (right + 1, 2 * right, right - 1, 1):
        if wrong not in (0, right):
            shape = (*trial.case.input_shape[:-1], wrong)
            _refuses(trial, f"an input with {wrong} channels", shape, named=(wrong, right))


@law("H3", needs_output=False, needs=("interface",))
def rejects_small_sizes(trial: Trial) -> None:
    """An axis that is smaller than the patch is refused, naming the axis and both numbers.

    Catches empty outputs, and errors from inside a kernel that name no axis.
    """
    patch_size = trial.case.spec.patch_size
    if patch_size == 1:
        trial.inapplicable("no axis is smaller than a patch of one pixel")
    for axis in range(1, trial.case.spec.data_dim + 1):
        small = patch_size - 1
        shape = [*trial.case.input_shape]
        shape[axis] = small
        _refuses(trial, f"an input with {small} pixels on axis {axis}", shape, named=(axis, small, patch_size))


@law("H10", needs_output=False, on="outside", as_built=True)
def refuses_what_it_declares_unsupported(trial: Trial) -> None:
    """What is just outside the declared domain, a spec or an input, is refused by the constructor or by the call.

    Catches domains that are too narrow, and layers that give something else where they were not made for it.
    """
    spec, outputs = trial.case.spec, list[object]()

    def build_and_call() -> None:
        layer = trial.implementation(
            in_features=spec.in_features,
            out_features=spec.out_features,
            data_dim=spec.data_dim,
            patch_size=spec.patch_size,
            stride=spec.stride,
            bias=spec.bias,
        )
        outputs.append(layer.to(trial.device, trial.dtype)(trial.make_input().detach()))

    trial.refusal(build_and_call)
    observed = [list(output.shape) if isinstance(output, torch.Tensor) else output for output in outputs]
    trial.expect(
        not outputs or trial.is_for(trial.case),
        "what the domain excludes is accepted",
        observed=f"output {observed}",
        expected="an exception",
    )


def _refuses(trial: Trial, description: str, shape: Sequence[int], named: Sequence[int] = ()) -> None:
    """Expect an input of the given shape to be refused, with all the numbers that are to be named."""
    where, layer, outputs = f"input {list(shape)}", trial.layer, []
    x = torch.ones(tuple(shape), dtype=trial.dtype, device=trial.device)
    error = trial.refusal(lambda: outputs.append(layer(x)))
    for output in outputs:
        observed = f"output {list(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        trial.expect(False, f"{description} is accepted", where, observed=observed, expected="an exception")
    numbers = {int(digits) for digits in re.findall(r"\d+", said(error))}
    trial.expect(
        numbers >= set(named),
        f"the error for {description} does not name the numbers",
        where,
        observed=f"{type(error).__name__}: {said(error)}",
        expected=f"a message with {', '.join(map(str, named))}",
    )
