"""Inductor's code for the backward pass of Tensor.unfold, on a CPU, writes past its memory."""

import sys

import torch

dtype, shape, patch_size, stride = sys.argv[1:] or ("float32", "2,64,64,3", "16", "16")
x = torch.ones([int(n) for n in shape.split(",")], dtype=getattr(torch, dtype), requires_grad=True)


def patches(x: torch.Tensor) -> torch.Tensor:
    """Twice the windows along every axis of ``[B, *s, C]``, side by side in memory."""
    for axis in range(1, len(shape.split(",")) - 1):
        x = x.unfold(axis, int(patch_size), int(stride))
    return x.flatten(1) * 2


right, found = (torch.autograd.grad(cut(x).square().sum(), x)[0] for cut in (patches, torch.compile(patches)))
print("largest error of the input's gradient:", float((found - right).abs().max()))
sys.exit(0 if torch.equal(found, right) else 3)
