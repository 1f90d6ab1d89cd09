"""Some of cuDNN's float32 convolutions are no sums of products: integers that float32 holds come out rounded."""

import sys

import torch

shape, patch_size, stride, out_features = sys.argv[2:] or ("2,56,56,32", "3", "1", "48")
*first, channels = [int(n) for n in shape.split(",")]
torch.backends.cudnn.allow_tf32 = False
torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
x = torch.randint(-3, 4, (*first, channels)).movedim(-1, 1)
weight = torch.randint(-3, 4, (int(out_features), channels, *[int(patch_size)] * (len(first) - 1)))
results = []
for dtype in (torch.float64, torch.float32):
    pixels, w = (values.to(dtype).requires_grad_() for values in (x, weight))
    tokens = getattr(torch.nn.functional, f"conv{x.ndim - 2}d")(pixels, w, stride=int(stride))
    results.append((tokens, *torch.autograd.grad(tokens, (pixels, w), tokens.detach().sign())))
print("errors of all three:", *(errors := [float((a - b).abs().max()) for a, b in zip(*results, strict=True)]))
sys.exit(3 if any(errors) else 0)
