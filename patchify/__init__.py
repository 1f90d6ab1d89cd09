"""The production layers: patch embedding for sequences, images and volumes, by a convolution or by a linear map."""

from patchify.layer import Patchify
from patchify.linear import LinearPatchify

__all__ = ["LinearPatchify", "Patchify"]
