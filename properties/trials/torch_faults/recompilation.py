"""Inductor, on a CPU, compiles a convolution anew at sizes that one dynamic graph should serve."""

import sys

import torch

convolution = torch.nn.Conv2d(3, 4, 2, stride=4).double()
compiled = torch.compile(lambda x: convolution(x.movedim(-1, 1).contiguous()))
for batch, height, width in ((5, 8, 11), (11, 16, 23), (13, 28, 37), (17, 40, 51), (7, 6, 29)):
    compiled(torch.ones(batch, height, width, 3, dtype=torch.float64))
graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
print("graphs:", graphs)
sys.exit(0 if graphs <= 2 else 3)
