"""MONAI's ``PatchEmbeddingBlock``, a convolution or a linear layer, without a position embedding."""

from monai.networks.blocks.patchembedding import PatchEmbeddingBlock

from patchify_harness import Domain, adapt

SIZE = 12


def make(
    in_features: int, out_features: int, patch_size: int, data_dim: int, proj_type: str = "conv"
) -> PatchEmbeddingBlock:
    """A block for sizes of ``SIZE``."""
    return PatchEmbeddingBlock(
        in_channels=in_features,
        img_size=SIZE,
        patch_size=patch_size,
        hidden_size=out_features,
        num_heads=1,
        proj_type=proj_type,
        pos_embed_type="none",
        spatial_dims=data_dim,
    )


def make_linear(in_features: int, out_features: int, patch_size: int, data_dim: int) -> PatchEmbeddingBlock:
    """The same with a linear layer, whose weight has the channels last."""
    return make(in_features, out_features, patch_size, data_dim, "perceptron")


images = adapt(
    make,
    input="b c s",
    output="b n c",
    names=("patch_embeddings.weight", "patch_embeddings.bias"),
    domain=Domain(data_dims=(2,), stride="patch", bias="always", sizes=(SIZE, SIZE)),
)
linear = adapt(
    make_linear,
    input="b c s",
    output="b n c",
    weight="o (t i)",
    names=("patch_embeddings.1.weight", "patch_embeddings.1.bias"),
    domain=Domain(
        data_dims=(3,), stride="patch", bias="always", patch_sizes=(1, 2, 3, 4, 6, 12), sizes=(SIZE, SIZE, SIZE)
    ),
)
