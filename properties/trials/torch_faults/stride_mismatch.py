"""Inductor, on a CPU, cannot compile the convolution of a channels-last view at a second size."""

import sys

import torch

convolution = torch.nn.Conv2d(3, 4, 2, stride=2)
compiled = torch.compile(lambda x: convolution(x.movedim(-1, 1)))
try:
    for shape in ((5, 5, 7, 3), (11, 27, 11, 3)):
        compiled(torch.ones(shape, requires_grad=True)).sum().backward()
except torch._dynamo.exc.BackendCompilerFailed as error:
    print("at the second size:", " ".join(str(error).split())[:100])
    sys.exit(3)
print("right")
