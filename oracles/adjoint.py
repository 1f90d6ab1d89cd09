"""The adjoint of the linear map, derived by hand: what the three gradients are.

With ``y[b, i, o] = bias[o] + sum over c and k of weight[o, c, k] * x[b, i*S + k, c]`` and a cotangent ``t`` of the
shape of ``y``, differentiating ``sum(t * y)`` by each argument gives the three sums below.
"""

from torch import Tensor

from oracles.unfold import matrix_product, patches
from oracles.windows import origins


def input_gradient(cotangent: Tensor, weight: Tensor, sizes: tuple[int, ...], stride: int) -> Tensor:
    """``dx[b, p, c]``: the sum of ``t[b, i, o] * weight[o, c, k]`` over all windows i and taps k with ``i*S + k = p``.

    Args:
        cotangent: ``[B, *g, C_out]``.
        weight: ``[C_out, C_in, P, ...]``.
        sizes: spatial sizes ``s`` of the input.
        stride: pixels from one window to the next.

    Returns:
        ``[B, *s, C_in]``; zero at pixels that no window covers.
    """
    channels, patch_size = weight.shape[1], weight.shape[-1]
    gradient = matrix_product(cotangent, weight.flatten(1))
    gradient = gradient.reshape(*cotangent.shape[:-1], channels, *[patch_size] * len(sizes))
    # One axis after the other; the taps of the next one always stand right behind the channels.
    for axis, size in enumerate(sizes, 1):
        taps = gradient.unbind(len(sizes) + 2)
        firsts = origins(size, patch_size, stride)
        gradient = taps[0].new_zeros(*taps[0].shape[:axis], size, *taps[0].shape[axis + 1 :])
        for k, tap in enumerate(taps):
            read: list[slice] = [slice(None)] * axis + [slice(firsts[0] + k, firsts[-1] + k + 1, stride)]
            gradient[tuple(read)] += tap
    return gradient


def weight_gradient(cotangent: Tensor, x: Tensor, patch_size: int, stride: int) -> Tensor:
    """``dw[o, c, k]``: the sum of ``t[b, i, o] * x[b, i*S + k, c]`` over samples b and windows i.

    Args:
        cotangent: ``[B, *g, C_out]``.
        x: ``[B, *s, C_in]``.
        patch_size: taps along each axis.
        stride: pixels from one window to the next.

    Returns:
        ``[C_out, C_in, P, ...]``.
    """
    vectors = patches(x, patch_size, stride).flatten(0, -2)
    gradient = matrix_product(cotangent.flatten(0, -2).T, vectors)
    return gradient.reshape(-1, x.shape[-1], *[patch_size] * (x.ndim - 2))


def bias_gradient(cotangent: Tensor) -> Tensor:
    """``db[o]``: the sum of ``t[b, i, o]`` over samples b and windows i: ``[B, *g, C_out]`` to ``[C_out]``."""
    return cotangent.flatten(0, -2).sum(0)
