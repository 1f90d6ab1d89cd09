"""The production layer: convolutional patch embedding for sequences, images and volumes."""

from patchify.layer import Patchify

__all__ = ["Patchify"]
