"""Hugging Face's ViT: images, channels first, patches that do not overlap, tokens in a sequence, always a bias."""

from transformers.models.vit.modeling_vit import ViTConfig, ViTPatchEmbeddings

from patchify_harness import Domain, adapt


def make(in_features: int, out_features: int, patch_size: int) -> ViTPatchEmbeddings:
    """The patch embedding of a ViT."""
    return ViTPatchEmbeddings(ViTConfig(num_channels=in_features, hidden_size=out_features, patch_size=patch_size))


layer = adapt(
    make,
    input="b c s",
    output="b n c",
    names=("projection.weight", "projection.bias"),
    domain=Domain(data_dims=(2,), stride="patch", bias="always"),
)
