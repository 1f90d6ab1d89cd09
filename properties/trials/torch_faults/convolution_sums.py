"""oneDNN's bfloat16 convolution of a channels-last image that is one window wide gives wrong sums."""

import sys

import torch

dtype, shape, patch_size, stride = sys.argv[1:] or ("bfloat16", "2,4,4,16", "4", "4")
*first, channels = [int(n) for n in shape.split(",")]
convolve = getattr(torch.nn.functional, f"conv{len(first) - 1}d")
weight = torch.ones(1, channels, *[int(patch_size)] * (len(first) - 1)).double()
weight.view(-1)[100:] = 0  # every dtype holds every partial sum
x = torch.ones(*first, channels).double().flatten().cumsum(0).remainder(5).sub(2).view(*first, channels).movedim(-1, 1)
right = convolve(x, weight, stride=int(stride)).flatten().tolist()
for given in (x, x.contiguous()):
    found = convolve(given.to(getattr(torch, dtype)), weight.to(getattr(torch, dtype)), stride=int(stride))
    print("right:", right[:4], "found:", found.flatten().tolist()[:4])
    if found.flatten().tolist() != right:
        sys.exit(3)
