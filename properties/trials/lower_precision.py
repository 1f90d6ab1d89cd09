"""What is right under autocast, which computes in a lower dtype."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from oracles import rounding
from oracles.precision import PRECISIONS
from properties.trials.comparison import Expectation
from properties.trials.tensors import TORCH_DTYPES


@contextmanager
def autocast_to(low: str, kind: str) -> Iterator[None]:
    """Autocast to a dtype, by its name, on a kind of device; what it has cached is forgotten at its end.

    Torch does so at the end of the outermost one, and a trial runs inside of one that is switched off.
    """
    try:
        with torch.autocast(kind, dtype=TORCH_DTYPES[low]):
            yield
    finally:
        torch.clear_autocast_cache()


def under_autocast(exact: Expectation, low: str, stored: torch.dtype) -> Expectation:
    """What is expected under autocast of what has exact values.

    Args:
        exact: what is expected without.
        low: the dtype of autocast: operands, sums and results may be rounded to it.
        stored: the dtype of the result; one that stays in another may overflow where the lower one does not.
    """
    dtype = TORCH_DTYPES[low]
    bound = rounding.bound(exact.magnitude, exact.terms, dtype, accumulation=dtype, operands=PRECISIONS[low])
    return Expectation(exact.values, rounding.overflowing(bound, exact.magnitude, stored), exact.magnitude, exact.terms)
