"""Numbers on a logarithmic scale, as far as a bound on cost allows: where one is huge the rest are small."""

from bisect import bisect
from collections.abc import Callable
from typing import Any

# What a drawn case may cost: elements of its largest tensor, eight for more than 2**17 windows or samples, and for each
# of them so many multiplications.
MOST_ELEMENTS = 9 * 2**17
PRODUCTS_FOR_AN_ELEMENT = 8
# Kernels change at multiples of these, which vector registers, tiles and models are made of.
_STEPS = (1, 8, 12, 16, 48, 64, 96, 128)
_MULTIPLES = (1, 3, 5, 7, 9, 11)
# Log2 of a number that is larger than all that are drawn.
_OCTAVES = MOST_ELEMENTS.bit_length()


def _notable() -> tuple[tuple[int, ...], ...]:
    """By octave, the powers of two and multiples at which kernels change, and each of them plus and minus one."""
    powers = [2**power for power in range(_OCTAVES)]
    found = {
        n + more
        for step in _STEPS
        for times in _MULTIPLES
        for n in (step * times * p for p in powers)
        for more in (-1, 0, 1)
    }
    return tuple(tuple(sorted(n for n in found if n.bit_length() == octave + 1)) for octave in range(_OCTAVES))


NOTABLE = _notable()
_ASCENDING = tuple(n for octave in NOTABLE for n in octave)


def octaves(fits: Callable[[int], bool]) -> list[tuple[int, ...]]:
    """The notable numbers that fit, by octave: a number of any octave, each as likely, is one on a logarithmic scale.

    Args:
        fits: whether a number does; then all smaller ones do.
    """
    count = bisect(_ASCENDING, False, key=lambda n: not fits(n))
    most = _ASCENDING[count - 1] if count else 0
    return [tuple(n for n in octave if n <= most) for octave in NOTABLE[: most.bit_length()]]


def affordable(
    batch: Any, tokens: Any, pixels: Any, taps: Any, in_features: Any, out_features: Any, most: int = MOST_ELEMENTS
) -> Any:
    """Whether no tensor of a case holds more than ``most`` elements, and no product takes too long; also for arrays.

    Args:
        batch: samples.
        tokens: windows of a sample.
        pixels: of a sample.
        taps: ``P**d``.
        in_features: channels of the input.
        out_features: channels of the output.
        most: elements.
    """
    terms = taps * in_features
    return (
        (batch * pixels * in_features <= most)
        & (batch * tokens * terms <= most)
        & (batch * tokens * out_features <= most)
        & (terms * out_features <= most)
        & (batch * tokens * terms * out_features <= PRODUCTS_FOR_AN_ELEMENT * most)
    )
