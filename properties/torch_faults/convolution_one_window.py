"""oneDNN's bfloat16 convolution of a channels-last image that is one window wide gives wrong sums."""

import sys

import torch

x = torch.arange(2 * 16 * 4 * 4).remainder(5).sub(2).reshape(2, 16, 4, 4).double()
weight = torch.arange(16 * 4 * 4).remainder(7).sub(3).sign().double()
weight[100:] = 0  # bfloat16 holds every partial sum
weight = weight.reshape(1, 16, 4, 4)
right = torch.nn.functional.conv2d(x, weight, stride=4)
half = x.bfloat16().contiguous(memory_format=torch.channels_last)
found = torch.nn.functional.conv2d(half, weight.bfloat16(), stride=4)
print("right:", right.flatten().tolist(), "found:", found.flatten().tolist())
sys.exit(0 if torch.equal(found.double(), right) else 3)
