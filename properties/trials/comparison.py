"""Compares a result with its expectation, element by element, and says where it is worst."""

import math

import torch
from torch import Tensor

from properties.trials.trial import Expectation
from properties.trials.verdict import Failed, Inapplicable, Passed, Place, Verdict


def compare_exact(what: str, found: Tensor, expected: Expectation, tensor: str) -> Verdict:
    """Compare bitwise wherever no correct evaluation rounds: where the bound is zero."""
    return _compare(what, found, expected, expected.bound == 0, "no value of this case is exact", tensor)


def compare_bounded(what: str, found: Tensor, expected: Expectation, tensor: str) -> Verdict:
    """Compare within the bound wherever a correct evaluation may round."""
    judged = (expected.bound > 0) & expected.bound.isfinite()
    return _compare(what, found, expected, judged, "all values of this case are exact", tensor)


def compare_all(what: str, found: Tensor, expected: Expectation, tensor: str) -> Verdict:
    """Compare every value, bitwise or within its bound."""
    return _compare(what, found, expected, expected.bound.isfinite(), "every value of this case may overflow", tensor)


def _compare(what: str, found: Tensor, expected: Expectation, judged: Tensor, otherwise: str, tensor: str) -> Verdict:
    if not bool(judged.any()):
        return Inapplicable(otherwise)
    values = found.detach().double()
    errors = (values - expected.values).abs()
    right = (errors <= expected.bound) | ~judged
    if bool(right.all()):
        rounded = judged & (expected.bound > 0)
        return Passed(slack=float((errors / expected.bound)[rounded].max()) if bool(rounded.any()) else None)
    # The worst: not a number first, then the largest error in terms of its bound, then the first in memory order.
    badness = torch.nan_to_num(errors / expected.bound, nan=math.inf, posinf=math.inf).masked_fill(right, -1.0)
    at = tuple(int(i) for i in torch.unravel_index(badness.flatten().argmax(), badness.shape))
    bound = float(expected.bound[at])
    return Failed(
        what=f"{int((~right).sum())} of {right.numel()} {what}",
        where=Place(tensor, at),
        observed=f"{float(values[at]):.17g}",
        expected=f"{float(expected.values[at]):.17g}",
        bound="0: integers compare bitwise" if bound == 0 else f"{bound:.3g}",
    )
