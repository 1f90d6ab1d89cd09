"""Hugging Face's VideoMAE: videos with frames before channels, of one size, tokens in a sequence, always a bias."""

from transformers.models.videomae.modeling_videomae import VideoMAEConfig, VideoMAEPatchEmbeddings

from patchify_harness import Domain, adapt

FRAMES, SIZE = 6, 12


def make(in_features: int, out_features: int, patch_size: int) -> VideoMAEPatchEmbeddings:
    """The patch embedding of a VideoMAE, whose patches are cubes."""
    return VideoMAEPatchEmbeddings(
        VideoMAEConfig(
            num_channels=in_features,
            hidden_size=out_features,
            patch_size=patch_size,
            tubelet_size=patch_size,
            image_size=SIZE,
            num_frames=FRAMES,
        )
    )


layer = adapt(
    make,
    input="b s0 c s1 s2",
    output="b n c",
    names=("projection.weight", "projection.bias"),
    domain=Domain(data_dims=(3,), stride="patch", bias="always", sizes=(FRAMES, SIZE, SIZE)),
)
