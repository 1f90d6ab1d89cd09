"""Compares a result with its expectation, element by element, and says where it is worst."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from properties.trials.verdict import Failed, Place


@dataclass(frozen=True)
class Expectation:
    """What a result should be, and how far a correct one may be from it: float64, on the trial's device.

    ``magnitude`` is the sum of the magnitudes of the terms of each value, and ``terms`` their number, of all or of
    those that are not zero.
    """

    values: Tensor
    bound: Tensor
    magnitude: Tensor = field(default_factory=lambda: torch.empty(0))
    terms: int | Tensor = 0


# Which values are judged, by their bounds, and what is said where there are none.
EXACT, ROUNDED, ALL = "exact", "rounded", "all"
NOTHING_JUDGED = {
    EXACT: "no value of this case is exact",
    ROUNDED: "all values of this case are exact",
    ALL: "every value of this case may overflow",
}


def judged(expected: Expectation, which: str) -> Tensor:
    """The values whose bound is zero, since no correct evaluation rounds there; those that may round; or all."""
    if which == EXACT:
        return expected.bound == 0
    finite = expected.bound.isfinite()
    return finite & (expected.bound > 0) if which == ROUNDED else finite


def compare(what: str, found: Tensor, expected: Expectation, chosen: Tensor, tensor: str) -> Failed | float | None:
    """Compare the chosen values, bitwise where the bound is zero, else within it.

    Args:
        what: what the values are where they are wrong, such as "output values differ from unfold + matmul".
        found: the result.
        expected: what it should be.
        chosen: bool, of the same shape.
        tensor: what the result is, as a ``Place`` names it.

    Returns:
        What is wrong where it is worst, or the largest error over its bound, None where no value may round.
    """
    values = found.detach().double()
    errors = (values - expected.values).abs()
    right = (errors <= expected.bound) | ~chosen
    if bool(right.all()):
        rounded = chosen & (expected.bound > 0)
        return float((errors / expected.bound)[rounded].max()) if bool(rounded.any()) else None
    # The worst: not a number first, then the largest error in terms of its bound, then the first in memory order.
    badness = torch.nan_to_num(errors / expected.bound, nan=math.inf, posinf=math.inf).masked_fill(right, -1.0)
    # torch.unravel_index would import a system of computer algebra.
    at = tuple((badness == badness.max()).nonzero()[0].tolist())
    bound = float(expected.bound[at])
    return Failed(
        what=f"{int((~right).sum())} of {right.numel()} {what}",
        where=Place(tensor, at),
        observed=f"{float(values[at]):.17g}",
        expected=f"{float(expected.values[at]):.17g}",
        bound="0: integers compare bitwise" if bound == 0 else f"{bound:.3g}",
    )
