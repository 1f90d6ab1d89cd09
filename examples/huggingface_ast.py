"""Hugging Face's AST: spectrograms ``[B, time, frequency]``, overlapping patches, tokens in a sequence."""

from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import (
    ASTConfig,
    ASTPatchEmbeddings,
)

from patchify_harness import Domain, adapt


def make(out_features: int, patch_size: int, stride: int) -> ASTPatchEmbeddings:
    """The patch embedding of an AST, with one stride along both axes."""
    return ASTPatchEmbeddings(
        ASTConfig(hidden_size=out_features, patch_size=patch_size, frequency_stride=stride, time_stride=stride)
    )


# The first spatial axis is the frequency; its one channel has no axis.
layer = adapt(
    make,
    input="b s1 s0",
    output="b n c",
    names=("projection.weight", "projection.bias"),
    domain=Domain(data_dims=(2,), in_features=(1,), bias="always"),
)
