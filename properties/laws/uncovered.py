"""Pixels that no window covers: the remainder of an axis, and the gaps where S > P (C8)."""

import math

import torch

from oracles.windows import covered
from properties.laws.law import law
from properties.trials.trial import Trial

_NONE = "0: no token depends on them"


def _uncovered(trial: Trial) -> torch.Tensor:
    """Bool ``[*s]``, on the CPU."""
    case = trial.case
    mask = torch.from_numpy(~covered(case.input.sizes, case.spec.patch_size, case.spec.effective_stride))
    if not bool(mask.any()):
        trial.inapplicable("every pixel is covered")
    return mask


@law("C8", as_built=True)
def uncovered_pixels_ignored(trial: Trial) -> None:
    """Whatever stands in uncovered pixels, NaN and infinity too, the output is bitwise the same.

    Catches padding of the tail, windows that run over the end, and products with zero instead of no product.
    """
    mask = _uncovered(trial).unsqueeze(-1)
    outputs = []
    for value in (0.0, 1.0, math.nan, math.inf, -math.inf):
        x = trial.lay_out(trial.values.x.masked_fill(mask, value))
        outputs.append(trial.embed(trial.layer, x, f"forward with uncovered pixels at {value}").detach())
        what = f"the output depends on pixels that no window covers, here set to {value} instead of 0.0"
        trial.nowhere(outputs[-1] != outputs[0], what, "output", outputs[-1], outputs[0], _NONE)


@law("C8", "C11", needs_output=False, small_scope=True, needs=("gradients",))
def uncovered_gradient_zero(trial: Trial) -> None:
    """The input's gradient is exactly zero at uncovered pixels.

    Catches gradient buffers that are not cleared past the last window.
    """
    mask, gradient = _uncovered(trial), trial.gradient("input")
    wrong = (gradient != 0) & mask.to(gradient.device).unsqueeze(-1)
    what = f"{int(wrong.sum())} gradient values of pixels that no window covers are not zero"
    trial.nowhere(wrong, what, "input", gradient, "0", _NONE)
