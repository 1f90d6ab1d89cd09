"""Defects of large numbers: of kernels that cut their work into tiles, and of indices that are too narrow."""

import torch
from torch import Tensor

from tests.mutants.stages import Gathered, Staged, convolve


def _whole_tiles(x: Tensor, axis: int, tile: int) -> Tensor:
    """Zero past the last whole tile of an axis that is longer than one."""
    size = x.shape[axis]
    whole = size // tile * tile or size
    return torch.cat([x.narrow(axis, 0, whole), torch.zeros_like(x.narrow(axis, whole, size - whole))], axis)


class InputChannelsPastWholeTilesIgnored(Staged):
    """Input channels past the last whole tile of 16 are ignored."""

    def prepared(self, x: Tensor) -> Tensor:
        return _whole_tiles(x, -1, 16)


class OutputChannelsPastWholeTilesZero(Staged):
    """Output channels past the last whole tile of 64 are zero."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return _whole_tiles(tokens, -1, 64)


class WindowsPastWholeTilesZero(Staged):
    """Windows of a sequence past the last whole tile of 64 are zero."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return _whole_tiles(tokens, 1, 64) if self.data_dim == 1 else tokens


class WindowsPastLimitZero(Staged):
    """Windows of a sample past 65,535 are zero."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        flat = tokens.flatten(1, -2)
        return torch.cat([flat[:, :65_535], torch.zeros_like(flat[:, 65_535:])], 1).reshape(tokens.shape)


class WindowsPast4096PixelsApartEarly(Gathered):
    """Where windows are more than 4,096 pixels apart, with gaps between them, all but the first are a pixel early."""

    def origins(self, size: int, axis: int) -> Tensor:
        found = super().origins(size, axis)
        return found - (found > 0).long() if self.stride > max(4096, self.patch_size) else found


class OriginsInDtypeOfInput(Gathered):
    """The first pixel of every window is a number of the input's dtype, which half precision rounds."""

    def prepared(self, x: Tensor) -> Tensor:
        self._dtype = x.dtype
        return x

    def origins(self, size: int, axis: int) -> Tensor:
        return super().origins(size, axis).to(self._dtype).long()


class SequencesInSegments(Staged):
    """Sequences longer than 4,096 pixels go through in segments that start at multiples of that, not of the stride."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.data_dim > 1 or x.shape[1] <= 4096:
            return super().embed(x, weight, bias)
        segments = [x[:, start : start + 4096 + self.patch_size - 1] for start in range(0, x.shape[1], 4096)]
        whole = [part for part in segments if part.shape[1] >= self.patch_size]
        return torch.cat([convolve(part, weight, bias, self.stride) for part in whole], 1)[:, : self.grid(x)[0]]
