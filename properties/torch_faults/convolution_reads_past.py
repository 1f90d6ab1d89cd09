"""oneDNN's bfloat16 convolution reads the memory after its input."""

import sys

import torch

memory = torch.full((5 * 5 * 5 * 2 + 256,), torch.nan, dtype=torch.bfloat16)
x = memory[:250].fill_(1).view(5, 1, 5, 5, 2).requires_grad_()
weight = torch.ones(2, 1, 2, 2, 2, dtype=torch.bfloat16)
weight = weight.to(memory_format=torch.channels_last_3d).requires_grad_()
tokens = torch.nn.functional.conv3d(x, weight, stride=3)
gradients = torch.autograd.grad(tokens.sum(), (x, weight))
not_numbers = [int(tensor.isnan().sum()) for tensor in (tokens, *gradients)]
print("NaN in tokens and gradients:", not_numbers)
sys.exit(3 if any(not_numbers) else 0)
