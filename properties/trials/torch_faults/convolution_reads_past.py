"""oneDNN's bfloat16 convolution reads the memory after its input."""

import sys

import torch

dtype, shape, patch_size, stride = sys.argv[1:] or ("bfloat16", "5,5,5,2,1", "2", "3")
*first, channels = [int(n) for n in shape.split(",")]
weight = torch.ones(2, channels, *[int(patch_size)] * (len(first) - 1), dtype=getattr(torch, dtype))
for stored in (weight, weight.movedim(1, -1).contiguous().movedim(-1, 1)):
    for axes in ((*first, channels), (first[0], channels, *first[1:])):
        memory = torch.full((torch.Size(axes).numel() + 256,), torch.nan, dtype=weight.dtype)
        x = memory[:-256].fill_(1).view(axes).movedim(-1 if axes[1:-1] == tuple(first[1:]) else 1, 1)
        given = [x.detach().requires_grad_(), stored.detach().requires_grad_()]
        tokens = getattr(torch.nn.functional, f"conv{len(first) - 1}d")(*given, stride=int(stride))
        found = [int(t.isnan().sum()) for t in (tokens, *torch.autograd.grad(tokens.sum(), given))]
        print("NaN in tokens and gradients:", found)
        if any(found):
            sys.exit(3)
