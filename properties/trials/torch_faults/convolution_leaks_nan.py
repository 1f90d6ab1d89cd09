"""oneDNN's bfloat16 convolution lets NaN into windows that do not cover it."""

import sys

import torch

dtype, shape, patch_size, stride = sys.argv[1:] or ("bfloat16", "1,3,3,1", "1", "2")
*first, channels = [int(n) for n in shape.split(",")]
convolve = getattr(torch.nn.functional, f"conv{len(first) - 1}d")
for pixel in range(first[-1]):
    reached = []
    for kind in (torch.float32, getattr(torch, dtype)):
        x = torch.ones(*first, channels, dtype=kind).movedim(-1, 1)
        x[..., pixel] = torch.nan
        weight = torch.ones(2, channels, *[int(patch_size)] * (len(first) - 1), dtype=kind, requires_grad=True)
        for tokens in (convolve(given, weight, stride=int(stride)) for given in (x, x.flatten().view(x.shape))):
            reached += [int(t.isnan().sum()) for t in (tokens, *torch.autograd.grad(tokens.sum(), weight))]
    print(f"NaN in tokens and gradients, in float32, and in {dtype}:", reached[:4], reached[4:])
    sys.exit(3) if reached[:4] != reached[4:] else None
