"""oneDNN's weight gradient of a strided 1 x 1 convolution of a channels-last image writes past its memory."""

import sys

import torch

torch.set_num_threads(1)
dtype, shape, patch_size, stride = sys.argv[1:] or ("float32", "4,8,8,2", "1", "2")
*first, channels = [int(n) for n in shape.split(",")]
x = torch.ones(*first, channels, dtype=getattr(torch, dtype)).movedim(-1, 1)
weight = torch.ones(8, channels, *[int(patch_size)] * (x.ndim - 2), dtype=x.dtype, requires_grad=True)
for _ in range(30):
    tokens = getattr(torch.nn.functional, f"conv{x.ndim - 2}d")(x, weight, stride=int(stride))
    torch.autograd.grad(tokens.sum(), weight)
print("the process survived")
