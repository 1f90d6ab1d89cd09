"""Qwen2-VL's patch embedding: patches that someone else has cut out, each one row, never a bias."""

from transformers.models.qwen2_vl.modeling_qwen2_vl import PatchEmbed

from patchify_harness import Domain, adapt


def make(in_features: int, out_features: int, patch_size: int) -> PatchEmbed:
    """The patch embedding of a Qwen2-VL, whose patches are cubes."""
    return PatchEmbed(
        patch_size=patch_size, temporal_patch_size=patch_size, in_channels=in_features, embed_dim=out_features
    )


layer = adapt(
    make,
    input="b (c s)",
    output="b c",
    names=("proj.weight", "proj.bias"),
    domain=Domain(data_dims=(3,), stride="patch", bias="never", sizes="one patch"),
)
