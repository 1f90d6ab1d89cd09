"""What torch itself gets wrong on this machine, measured, so that no layer is blamed for it."""

from functools import cache

import torch
from torch.nn import functional

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@cache
def leaks_nan(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch's own convolution lets NaN into windows that do not cover it.

    Some bfloat16 kernels for CPUs take products in pairs and fill an odd one up with a zero weight and whatever pixel
    comes next: zero times a number is nothing, zero times NaN is NaN. Every layer that is built on such a kernel
    inherits that, so where it happens no layer is judged by NaN or infinity.
    """
    for data_dim, convolution in _CONVOLUTIONS.items():
        for patch_size, stride, size in ((1, 2, 3), (1, 3, 5), (2, 2, 3), (3, 3, 4), (3, 4, 8)):
            for channels in (1, 3):
                x = torch.ones(1, channels, *[size] * data_dim, dtype=dtype, device=device)
                x[..., patch_size] = torch.nan  # not covered along the last axis: a gap, or the remainder
                weight = torch.ones(2, channels, *[patch_size] * data_dim, dtype=dtype, device=device)
                tokens = convolution(x, weight.requires_grad_(), stride=stride)
                (gradient,) = torch.autograd.grad(tokens.sum(), weight)
                if bool(tokens.isnan().any()) or bool(gradient.isnan().any()):
                    return True
    return False


def nan_advice(dtype: torch.dtype, device: torch.device) -> str:
    """Why NaN is not judged."""
    name = str(dtype).removeprefix("torch.")
    return f"torch's own {name} convolution on {device} lets NaN into windows that do not cover it"
