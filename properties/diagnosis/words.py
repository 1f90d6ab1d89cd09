"""Numbers, factors, places and lists of them in words."""

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import combinations

import torch
from torch import Tensor


def listed(parts: Sequence[object]) -> str:
    """``a, b and c``."""
    *most, last = map(str, parts)
    return f"{', '.join(most)} and {last}" if most else last


def backwards(axes: Sequence[int], doing: str) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Every way to reverse some axes of a tensor, with words for it.

    Args:
        axes: those of the tensor that are spatial, in order.
        doing: what is done in the wrong direction.
    """
    for count in range(1, len(axes) + 1):
        for some in combinations(axes, count):
            named = axes_named([axis - axes[0] for axis in some])
            yield f"{doing} backwards along {named}", partial(torch.flip, dims=some)


def axes_named(axes: Sequence[int]) -> str:
    """``axis 0``, or ``axes 0 and 1``."""
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {listed(axes)}"


def place(index: Sequence[int]) -> str:
    """``(0, 2)``, and ``(0)`` on a single axis, as in verdicts."""
    return f"({', '.join(map(str, index))})"


def first_sentence(text: str) -> str:
    """The first sentence of an exception's message, without its full stop."""
    return text.partition(". ")[0].rstrip(".,: ")


def number(value: float) -> str:
    """A factor as a person writes it: ``2``, ``1/3``, ``0.7071``."""
    if not math.isfinite(value):
        return str(value)
    fraction = Fraction(value).limit_denominator(64)
    return str(fraction) if abs(float(fraction) - value) <= 1e-6 * abs(value) else f"{value:.4g}"


def scaled(factor: float) -> str:
    """What has happened to something that is a multiple of what it should be."""
    if factor == 0:
        return "is zero"
    return "has the wrong sign" if factor == -1 else f"is {number(factor)} times what it should be"


def members(indices: Sequence[int], size: int, noun: str) -> str:
    """Which of the things that are numbered from 0 to ``size - 1`` are meant, such as ``the last token``."""
    chosen = sorted(indices)
    numbers = range(size)
    if chosen == list(numbers):
        return f"every {noun}"
    named = {
        f"the first {noun}": numbers[:1],
        f"the last {noun}": numbers[-1:],
        f"every {noun} but the first": numbers[1:],
        f"every {noun} but the last": numbers[:-1],
        f"every second {noun}": numbers[1::2],
        f"every second {noun} from the first on": numbers[::2],
    }
    for words, meant in named.items():
        if chosen == list(meant):
            return words
    thing, along, axis = noun.partition(" along ")
    plural = f"{thing}s{along}{axis}"
    if len(chosen) > 1 and chosen == list(numbers[chosen[0] :]):
        return f"all {plural} from {chosen[0]:,} on"
    return f"{noun} {chosen[0]:,}" if len(chosen) == 1 else f"{plural} {listed(chosen[:8])}"


def block(mask: Tensor, nouns: Sequence[str]) -> str | None:
    """In words, which elements of a tensor a mask chooses, if they are a block: some indices along each axis.

    Args:
        mask: bool, one axis for each noun; some elements are chosen and some not.
        nouns: what the indices of each axis number, such as ``sample``.
    """
    chosen = [mask.any(dim=tuple(a for a in range(mask.ndim) if a != axis)) if mask.ndim > 1 else mask
              for axis in range(mask.ndim)]  # fmt: skip
    outer = torch.ones_like(mask)
    for axis, along in enumerate(chosen):
        outer &= along.reshape([-1 if other == axis else 1 for other in range(mask.ndim)])
    if not bool(mask.any()) or not torch.equal(outer, mask):
        return None
    parts = [
        members(along.nonzero().flatten().tolist(), along.numel(), noun)
        for along, noun in zip(chosen, nouns, strict=True)
        if not bool(along.all())
    ]
    return " of ".join(reversed(parts)) if parts else None
