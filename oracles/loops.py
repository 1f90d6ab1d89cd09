"""The second oracle: NumPy alone, one window at a time.

Nothing here is shared with the first oracle: windows are cut by slicing instead of ``unfold``, the product is a sum
over a window instead of a matrix product, and both adjoints walk the windows instead of the taps.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Window = tuple[slice, ...]


def windows(sizes: tuple[int, ...], patch_size: int, stride: int) -> Iterator[tuple[tuple[int, ...], Window]]:
    """Yield every token's place in the grid with the pixels that it reads."""
    starts = [[p for p in range(0, size, stride) if p + patch_size - 1 < size] for size in sizes]
    for place in product(*[range(len(along)) for along in starts]):
        yield place, tuple(slice(s[i], s[i] + patch_size) for s, i in zip(starts, place, strict=True))


def forward(x: Array, weight: Array, bias: Array | None, stride: int) -> Array:
    """``[B, *s, C_in]`` and ``[C_out, C_in, P, ...]`` to ``[B, *g, C_out]``."""
    sizes, patch_size = x.shape[1:-1], weight.shape[-1]
    places = list(windows(sizes, patch_size, stride))
    grid = tuple(n + 1 for n in places[-1][0])
    tokens = np.zeros((x.shape[0], *grid, weight.shape[0]), dtype=x.dtype)
    kernel = np.moveaxis(weight, 1, -1)  # [C_out, P, ..., C_in], the order of a channels-last window
    for sample in range(x.shape[0]):
        for place, window in places:
            pixels = x[sample][window]
            for channel in range(weight.shape[0]):
                tokens[sample][place][channel] = (pixels * kernel[channel]).sum()
    return tokens if bias is None else tokens + bias


def gradients(cotangent: Array, x: Array, weight: Array, stride: int) -> tuple[Array, Array, Array]:
    """The gradients of input, weight and bias for a cotangent ``[B, *g, C_out]``."""
    for_input, for_weight = np.zeros_like(x), np.zeros_like(weight)
    for_bias = np.zeros(weight.shape[0], dtype=x.dtype)
    for sample in range(x.shape[0]):
        for place, window in windows(x.shape[1:-1], weight.shape[-1], stride):
            for channel in range(weight.shape[0]):
                sensitivity = cotangent[sample][place][channel]
                for_input[sample][window] += sensitivity * np.moveaxis(weight[channel], 0, -1)
                for_weight[channel] += sensitivity * np.moveaxis(x[sample][window], -1, 0)
                for_bias[channel] += sensitivity
    return for_input, for_weight, for_bias
