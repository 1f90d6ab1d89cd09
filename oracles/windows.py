"""Which pixels each window covers, found by enumeration: the formulas of the contract are checked against this."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def origins(size: int, patch_size: int, stride: int) -> list[int]:
    """First pixel of every window that fits on an axis of ``size`` pixels, found by stepping along the axis."""
    return [first for first in range(0, size, stride) if first + patch_size <= size]


@lru_cache(maxsize=1024)
def grid(sizes: tuple[int, ...], patch_size: int, stride: int) -> tuple[int, ...]:
    """Number of windows along each axis, found by counting them."""
    return tuple(len(origins(size, patch_size, stride)) for size in sizes)


def covered(sizes: tuple[int, ...], patch_size: int, stride: int) -> NDArray[np.bool_]:
    """Whether any window covers a pixel: bool ``[*sizes]``.

    Windows are products of intervals, so a pixel is covered where each of its coordinates is covered on its own axis.
    """
    mask = np.ones(sizes, dtype=np.bool_)
    for axis, size in enumerate(sizes):
        firsts = np.array(origins(size, patch_size, stride), dtype=np.intp)
        on_axis = np.zeros(size, dtype=np.bool_)
        for tap in range(patch_size):
            on_axis[firsts + tap] = True
        mask &= on_axis.reshape([-1 if other == axis else 1 for other in range(len(sizes))])
    return mask
