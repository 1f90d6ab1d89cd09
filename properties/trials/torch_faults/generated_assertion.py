"""Inductor's code for a convolution, on a CPU, stops at an assertion of its own about strides."""

import sys

import torch

convolution = torch.nn.Conv2d(3, 4, 2, stride=4).double()
compiled = torch.compile(lambda x: convolution(x.movedim(-1, 1).contiguous()))
try:
    for batch, height, width in ((5, 8, 11), (11, 16, 23), (2, 20, 31)):
        compiled(torch.ones(batch, height, width, 3, dtype=torch.float64)).sum().backward()
except AssertionError as error:
    print(f"{[batch, height, width]}:", str(error).splitlines()[0])
    sys.exit(3)
print("right")
