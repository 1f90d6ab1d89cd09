"""A rearrangement by einops and a linear layer, as many write a patch embedding themselves."""

from einops.layers.torch import Rearrange
from torch import nn

from patchify_harness import Domain, adapt


def make(in_features: int, out_features: int, patch_size: int, bias: bool) -> nn.Module:
    """For images ``[B, H, W, C]``."""
    cut = Rearrange("b (h p) (w q) c -> b h w (p q c)", p=patch_size, q=patch_size)
    return nn.Sequential(cut, nn.Linear(in_features * patch_size**2, out_features, bias=bias))


layer = adapt(
    make,
    weight="o (t i)",
    names=("1.weight", "1.bias"),
    domain=Domain(data_dims=(2,), stride="patch", sizes="no remainder"),
)
