"""oneDNN's bfloat16 convolution lets NaN into windows that do not cover it."""

import sys

import torch

x = torch.ones(1, 1, 3, 3, dtype=torch.bfloat16)
x[..., 1] = torch.nan  # between the windows of one pixel, two apart
weight = torch.ones(2, 1, 1, 1, dtype=torch.bfloat16, requires_grad=True)
tokens = torch.nn.functional.conv2d(x, weight, stride=2)
(gradient,) = torch.autograd.grad(tokens.sum(), weight)
print("tokens:", tokens.flatten().tolist(), "gradient:", gradient.flatten().tolist())
sys.exit(3 if bool(tokens.isnan().any()) or bool(gradient.isnan().any()) else 0)
