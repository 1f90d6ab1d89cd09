"""oneDNN's convolution of windows that lie tens of thousands of pixels apart ends the process."""

import sys

import torch

torch.set_num_threads(1)
dtype, shape, patch_size, stride = sys.argv[1:] or ("float32", "1,65538,1", "2", "65536")
x = torch.ones([int(n) for n in shape.split(",")], dtype=getattr(torch, dtype), requires_grad=True)
weight = torch.ones(4, x.shape[-1], int(patch_size), dtype=x.dtype)
tokens = torch.nn.functional.conv1d(x.movedim(-1, 1), weight, stride=int(stride))
(gradient,) = torch.autograd.grad(tokens.sum(), x)
print("the process survived; sum of the input's gradient:", float(gradient.double().sum()))
sys.exit(0 if gradient.sum() == tokens.shape[1] * weight[0].numel() * 4 else 3)
