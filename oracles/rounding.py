"""How far a correct result may be from the exact one: the only source of tolerances.

A sum of ``n`` products that is evaluated in any order, with or without fused multiply-add, in an arithmetic of unit
roundoff ``u``, differs from the exact sum by at most ``n*u`` times the sum of the products' magnitudes
(Jeannerod and Rump, Improved error bounds for inner products in floating-point arithmetic, SIAM J. Matrix Anal. Appl.
34, 2013; Higham's gamma_n without its condition on n). A bias is one more term.

Where all terms are integers and their magnitudes add up to at most ``2**p``, p the significant bits, every partial sum
is a representable integer whatever the order: nothing is rounded, and the bound is zero.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Precision:
    """What bounds the rounding in one floating-point dtype."""

    significant_bits: int
    smallest_subnormal: float

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of one rounding to nearest, ``u = 2**-p``."""
        return 2.0**-self.significant_bits

    @property
    def exact_limit(self) -> float:
        """Every integer of at most this magnitude is representable, ``2**p``."""
        return 2.0**self.significant_bits


PRECISIONS = {
    torch.float64: Precision(53, 2.0**-1074),
    torch.float32: Precision(24, 2.0**-149),
    torch.float16: Precision(11, 2.0**-24),
    torch.bfloat16: Precision(8, 2.0**-133),
}
# The tensor cores' reading of a float32 operand: 11 significant bits, but what is beyond them may be cut off instead of
# rounded, which costs one more.
TF32 = Precision(10, 2.0**-136)


def bound(
    magnitude: Tensor,
    terms: int,
    dtype: torch.dtype,
    accumulation: torch.dtype,
    *,
    operands: Precision | None = None,
    integral: bool = False,
) -> Tensor:
    """Largest error that a correct evaluation of a sum of products can have, element by element.

    Args:
        magnitude: the sum of the magnitudes of the terms, such as ``|W| |x| + |b|``, in float64, from the oracle.
        terms: number of terms of the sum.
        dtype: what the result is stored in.
        accumulation: what partial sums are kept in, ``dtype`` or something more precise.
        operands: what both factors are rounded to first, where that is less precise than what they are given in, as
            autocast and TF32 do.
        integral: whether all operands are integers; then the bound is zero where no rounding can happen.

    Returns:
        float64, of the shape of ``magnitude``; infinite where a partial sum may overflow.
    """
    stored, accumulated, oracle = PRECISIONS[dtype], PRECISIONS[accumulation], PRECISIONS[torch.float64]
    relative = terms * accumulated.unit_roundoff
    if accumulation != dtype:
        relative += stored.unit_roundoff * (1 + relative)
    if operands is not None:
        rounded = operands.unit_roundoff
        relative += (2 * rounded + rounded**2) * (1 + relative)
    # The oracle evaluates the sum, and its magnitude, in float64, with an error of the same form.
    relative += 2 * terms * oracle.unit_roundoff
    errors = relative * magnitude + (terms + 1) * max(stored.smallest_subnormal, accumulated.smallest_subnormal)
    if integral:
        errors = errors.masked_fill(magnitude <= min(stored.exact_limit, accumulated.exact_limit), 0.0)
    return errors.masked_fill(magnitude > torch.finfo(dtype).max, math.inf)
