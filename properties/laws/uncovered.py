"""Pixels that no window covers: the remainder of an axis, and the gaps where S > P (C8)."""

import math

import torch

from oracles.windows import covered
from properties.laws.law import checks
from properties.trials.layout import lay_out
from properties.trials.trial import Trial, Unusable
from properties.trials.verdict import Failed, Passed, Place, Verdict


def _uncovered(trial: Trial) -> torch.Tensor:
    """Bool ``[*s]``, on the CPU."""
    case = trial.case
    mask = torch.from_numpy(~covered(case.input.sizes, case.spec.patch_size, case.spec.step))
    if not bool(mask.any()):
        raise Unusable("every pixel is covered")
    return mask


@checks("C8")
def uncovered_pixels_ignored(trial: Trial) -> Verdict:
    """Whatever stands in uncovered pixels, NaN and infinity too, the output is bitwise the same.

    Catches padding of the tail, windows that run over the end, and products with zero instead of no product.
    """
    mask = _uncovered(trial).unsqueeze(-1)
    trial.tokens  # noqa: B018 - unusable where the plain forward pass is
    outputs = []
    for value in (0.0, 1.0, math.nan, math.inf, -math.inf):
        x = lay_out(trial.values.x.masked_fill(mask, value).to(trial.device), trial.case.input.layout)
        outputs.append(trial.embed(trial.layer, x, f"forward with uncovered pixels at {value}").detach())
        different = outputs[-1] != outputs[0]
        if bool(different.any()):
            at = tuple(int(i) for i in different.nonzero()[0])
            return Failed(
                f"the output depends on pixels that no window covers, here set to {value} instead of 0.0",
                where=Place("output", at),
                observed=f"{float(outputs[-1][at]):.17g}",
                expected=f"{float(outputs[0][at]):.17g}",
                bound="0: no token depends on them",
            )
    return Passed()


@checks("C8", "C11")
def uncovered_gradient_zero(trial: Trial) -> Verdict:
    """The input's gradient is exactly zero at uncovered pixels.

    Catches gradient buffers that are not cleared past the last window.
    """
    mask, gradient = _uncovered(trial), trial.gradient("input")
    wrong = (gradient != 0) & mask.to(gradient.device).unsqueeze(-1)
    if bool(wrong.any()):
        at = tuple(int(i) for i in wrong.nonzero()[0])
        return Failed(
            f"{int(wrong.sum())} gradient values of pixels that no window covers are not zero",
            where=Place("input", at),
            observed=f"{float(gradient[at]):.17g}",
            expected="0",
            bound="0: no token depends on them",
        )
    return Passed()
