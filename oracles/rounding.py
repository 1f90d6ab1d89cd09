"""How far a correct result may be from the exact one: the only source of tolerances.

A sum of ``n`` products that is evaluated in any order, with or without fused multiply-add, in an arithmetic of unit
roundoff ``u``, differs from the exact sum by at most ``n*u`` times the sum of the products' magnitudes
(Jeannerod and Rump, Improved error bounds for inner products in floating-point arithmetic, SIAM J. Matrix Anal. Appl.
34, 2013; Higham's gamma_n without its condition on n). A bias is one more term.

Where all terms are integers and their magnitudes add up to at most ``2**p``, p the significant bits, every partial sum
is a representable integer whatever the order: nothing is rounded, and the bound is zero.
"""

import math

import torch
from torch import Tensor

from oracles.precision import PRECISIONS, Precision


def precision_of(dtype: torch.dtype) -> Precision:
    """The precision of one of torch's dtypes."""
    return PRECISIONS[str(dtype).removeprefix("torch.")]


def bound(
    magnitude: Tensor,
    terms: int | Tensor,
    dtype: torch.dtype,
    accumulation: torch.dtype,
    *,
    operands: Precision | None = None,
    integral: bool = False,
) -> Tensor:
    """Largest error that a correct evaluation of a sum of products can have, element by element.

    Args:
        magnitude: the sum of the magnitudes of the terms, such as ``|W| |x| + |b|``, in float64, from the oracle.
        terms: number of terms of the sum, or of those that are not zero, element by element: only they round.
        dtype: what the result is stored in.
        accumulation: what partial sums are kept in, ``dtype`` or something more precise.
        operands: what both factors are rounded to first, where that is less precise than what they are given in, as
            autocast and TF32 do.
        integral: whether all operands are integers; then the bound is zero where no rounding can happen.

    Returns:
        float64, of the shape of ``magnitude``; infinite where a partial sum may overflow.
    """
    stored, accumulated, oracle = precision_of(dtype), precision_of(accumulation), precision_of(torch.float64)
    exact = min(stored.exact_limit, accumulated.exact_limit) if integral else -1.0
    if bool((magnitude <= exact).all()):
        return torch.zeros_like(magnitude)
    relative: float | Tensor = terms * accumulated.unit_roundoff
    if accumulation != dtype:
        relative += stored.unit_roundoff * (1 + relative)
    if operands is not None:
        rounded = operands.unit_roundoff
        relative += (2 * rounded + rounded**2) * (1 + relative)
    # The oracle evaluates the sum, and its magnitude, in float64, with an error of the same form.
    relative += 2 * terms * oracle.unit_roundoff
    errors = relative * magnitude + (terms + 1) * max(stored.smallest_subnormal, accumulated.smallest_subnormal)
    return overflowing(errors.masked_fill(magnitude <= exact, 0.0), magnitude, dtype)


def half_step(tensor: Tensor, bits: int | None) -> float:
    """How far from a number it may lie where all of a tensor are rounded to so many bits, on both sides of zero alike.

    In equal steps, ``2**(bits-1) - 1`` from zero to the largest magnitude; where each channel has steps of its own, or
    zero is none, they are no longer. None means that none is rounded.
    """
    if bits is None or tensor.numel() == 0:
        return 0.0
    steps: int = 2 ** (bits - 1) - 1
    return float(tensor.abs().max()) / steps / 2


def overflowing(errors: Tensor, magnitude: Tensor, dtype: torch.dtype) -> Tensor:
    """Bounds that are infinite wherever a partial sum may overflow: where even its magnitude, rounded up, may.

    Args:
        errors: the largest errors, float64.
        magnitude: the sum of the magnitudes of the terms, of the same shape.
        dtype: what partial sums and the result are stored in.
    """
    return errors.masked_fill(magnitude + errors > torch.finfo(dtype).max, math.inf)
