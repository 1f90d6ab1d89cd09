"""timm's ``PatchEmbed``: images, channels first, cut into patches without a remainder, tokens on a grid."""

import sys
from importlib.util import find_spec
from types import ModuleType

from torch import nn

from patchify_harness import Domain, adapt

# The packages themselves import torchvision; the module of the layer does without.
for name in ("timm", "timm.layers"):
    if name not in sys.modules:
        found = find_spec(name)
        if found is None:
            raise ImportError("timm is not installed")
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = list(found.submodule_search_locations or ())

from timm.layers.patch_embed import PatchEmbed  # noqa: E402


def make(in_features: int, out_features: int, patch_size: int, bias: bool) -> nn.Module:
    """A patch embedding for every size that patches fill."""
    return PatchEmbed(None, patch_size, in_features, out_features, output_fmt="NHWC", bias=bias)


layer = adapt(
    make,
    input="b c s",
    names=("proj.weight", "proj.bias"),
    domain=Domain(data_dims=(2,), stride="patch", sizes="no remainder"),
)
