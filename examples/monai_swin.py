"""MONAI's ``PatchEmbed`` of Swin: images and volumes, which it pads where a patch does not fit, channels first."""

from monai.networks.blocks.patchembedding import PatchEmbed

from patchify_harness import Domain, adapt


def make(in_features: int, out_features: int, patch_size: int, data_dim: int) -> PatchEmbed:
    """The block without its norm."""
    return PatchEmbed(patch_size, in_features, out_features, norm_layer=None, spatial_dims=data_dim)


layer = adapt(
    make,
    input="b c s",
    output="b c g",
    names=("proj.weight", "proj.bias"),
    domain=Domain(data_dims=(2, 3), stride="patch", bias="always", sizes="no remainder"),
)
