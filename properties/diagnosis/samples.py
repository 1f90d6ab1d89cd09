"""What goes wrong in a batch of more samples than 16 bits can number."""

import torch

from properties.cases.case import Case
from properties.diagnosis.probe import SEEDS, Look, given_of
from properties.diagnosis.words import members, scaled

# A little more than 2**16, so that an index that starts again shows with several samples.
_SAMPLES = 2**16 + 4


def cause_of_huge_batch(case: Case, look: Look) -> str | None:
    """From which sample on the output is wrong, and what stands there.

    Raises:
        Raised: where the layer does.
    """
    given = given_of(case, SEEDS[0])
    one = type(given)(_many(given.x), given.weight, given.bias, given.stride)
    found, right = look(one), one.right
    if found.shape != right.shape:
        return f"a batch of {_SAMPLES:,} gives the shape {list(found.shape)}"
    wrong = (found != right).flatten(1).any(1)
    if not bool(wrong.any()):
        return None
    chosen = wrong.nonzero().flatten().tolist()
    which = members(chosen, _SAMPLES, "sample")
    values = found[wrong]
    if bool((values == 0).all()):
        return f"for {which} the output {scaled(0)}"
    if torch.equal(values, right[: len(values)]):
        return f"in {which} stands the output of the samples from 0 on: the index of a sample wraps at {chosen[0]:,}"
    return f"wrong only for {which}"


def _many(x: torch.Tensor) -> torch.Tensor:
    """Samples of small integers, each unlike the ones before it."""
    count = x[0].numel()
    numbers = torch.arange(_SAMPLES * count, dtype=torch.float64).reshape(_SAMPLES, *x.shape[1:])
    return numbers % 1021 - 510 + numbers // 2**16
