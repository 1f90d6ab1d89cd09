"""The first oracle: ``Tensor.unfold`` and a matrix product, in float64 or int64, on any device."""

import torch
from torch import Tensor


def patches(x: Tensor, patch_size: int, stride: int) -> Tensor:
    """Every window as a vector: ``[B, *s, C_in]`` to ``[B, *g, C_in * P**d]``, ordered (channel, tap, tap, ...)."""
    data_dim = x.ndim - 2
    windows = x
    for axis in range(1, data_dim + 1):
        windows = windows.unfold(axis, patch_size, stride)
    return windows.flatten(start_dim=-(data_dim + 1))


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """The contract's C7: one linear map applied to every window.

    Args:
        x: ``[B, *s, C_in]``, float64 or int64.
        weight: ``[C_out, C_in, P, ...]``, of the same dtype.
        bias: ``[C_out]``, of the same dtype, or None.
        stride: pixels from one window to the next.

    Returns:
        ``[B, *g, C_out]``.
    """
    tokens = matrix_product(patches(x, weight.shape[-1], stride), weight.flatten(1).T)
    return tokens if bias is None else tokens + bias


def matrix_product(left: Tensor, right: Tensor) -> Tensor:
    """``[..., n, k]`` times ``[k, m]``.

    Integers are summed term by term, since CUDA has no integer matrix product.
    """
    if left.is_floating_point():
        return left @ right
    total = torch.zeros(*left.shape[:-1], right.shape[-1], dtype=left.dtype, device=left.device)
    for term in range(right.shape[0]):
        total += left[..., term, None] * right[term]
    return total
