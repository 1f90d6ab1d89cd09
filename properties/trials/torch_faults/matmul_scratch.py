"""oneDNN's bfloat16 matrix product writes past its memory where only strides of axes of size 1 are new."""

import torch

x = torch.ones(65537, 1, dtype=torch.bfloat16)
weight = torch.ones(1, 1, dtype=torch.bfloat16)
for stride in (1, 65537, 1, 7):
    given = x.as_strided(x.shape, (1, stride)).detach().requires_grad_()
    tokens = torch.nn.functional.linear(given, weight.as_strided((1, 1), (stride, 1)).detach().requires_grad_())
    torch.autograd.grad(tokens, given, torch.ones(1, 65537, dtype=torch.bfloat16).T)
print("the process survived")
