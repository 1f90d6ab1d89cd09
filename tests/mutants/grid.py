"""Defects of the grid: how many tokens there are, and in what order."""

import torch
from torch import Tensor

from tests.mutants.stages import Staged, convolve, padded


class StrideIgnored(Staged):
    """The stride is always the patch size (R14)."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(x, weight, bias, self.patch_size)


class StrideOnFirstAxisOnly(Staged):
    """The stride applies to the first axis, the patch size to the others."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(x, weight, bias, (self.stride, *[self.patch_size] * (self.data_dim - 1)))


class StrideAtMostPatch(Staged):
    """A stride larger than the patch is taken for the patch size."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(x, weight, bias, min(self.stride, self.patch_size))


class StrideAtLeastPatch(Staged):
    """A stride smaller than the patch is taken for the patch size."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(x, weight, bias, max(self.stride, self.patch_size))


class StrideIgnoredInVolumes(Staged):
    """In 3-D the stride is always the patch size."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(x, weight, bias, self.patch_size if self.data_dim == 3 else self.stride)


class HeightFromWidth(Staged):
    """There are as many rows as there should be columns (R05)."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if self.data_dim == 1:
            return tokens
        rows, columns = tokens.shape[-3:-1]
        return tokens.index_select(-3, torch.arange(columns, device=tokens.device) % rows)


class GridCeiled(Staged):
    """Where there is a remainder, the last token is repeated, since their number is rounded up (R08)."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        for axis, remainder in enumerate(self.remainders(x), start=1):
            if remainder:
                tokens = torch.cat([tokens, tokens.narrow(axis, tokens.shape[axis] - 1, 1)], axis)
        return tokens


class TailPadded(Staged):
    """The remainder is filled up with zeros to one more window (R11)."""

    def prepared(self, x: Tensor) -> Tensor:
        return padded(x, [0] * self.data_dim, [(self.stride - n) % self.stride for n in self.remainders(x)])


class GridRounded(Staged):
    """The number of tokens is rounded to the nearest: half a stride of remainder makes one more."""

    def prepared(self, x: Tensor) -> Tensor:
        missing = [self.stride - n if 2 * n >= self.stride else 0 for n in self.remainders(x)]
        return padded(x, [0] * self.data_dim, missing if self.stride > 1 else [0] * self.data_dim)


class LastWindowMissing(Staged):
    """The last window is missing where it fits exactly."""

    def prepared(self, x: Tensor) -> Tensor:
        exact = [n > 1 and rest == 0 for n, rest in zip(self.grid(x), self.remainders(x), strict=True)]
        return padded(x, [0] * self.data_dim, [-int(fits) for fits in exact])


class GridByReciprocal(Staged):
    """The number of windows is worked out by multiplication with a reciprocal, which is rounded."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        for axis, size in enumerate(x.shape[1:-1], start=1):
            tokens = tokens.narrow(axis, 0, int((size - self.patch_size) * (1 / self.stride)) + 1)
        return tokens


class SizesMadeEven(Staged):
    """The last pixel of an odd size larger than the patch is dropped."""

    def prepared(self, x: Tensor) -> Tensor:
        odd = [size % 2 if size > self.patch_size else 0 for size in x.shape[1:-1]]
        return padded(x, [0] * self.data_dim, [-n for n in odd])


class SizesOfOneSqueezed(Staged):
    """Grid axes of size 1 disappear."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        for axis in reversed(range(1, self.data_dim + 1)):
            tokens = tokens.squeeze(axis)
        return tokens


class GridTransposed(Staged):
    """The first and the last grid axis are swapped."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.transpose(1, -2)


class SquareGridTransposed(Staged):
    """A square grid is transposed."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.transpose(-3, -2) if self.data_dim > 1 and tokens.shape[-3] == tokens.shape[-2] else tokens


class UnequalGridMisindexed(Staged):
    """A token's flat index is row * rows + column instead of row * columns + column."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if self.data_dim == 1:
            return tokens
        rows, columns = (torch.arange(n, device=tokens.device) for n in tokens.shape[-3:-1])
        index = (rows[:, None] * len(rows) + columns) % (len(rows) * len(columns))
        return tokens.flatten(-3, -2).index_select(-2, index.flatten()).reshape(tokens.shape)


class TokensShiftedByOne(Staged):
    """Every token is in its neighbour's place (R17)."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.flatten(1, -2).roll(1, 1).reshape(tokens.shape)


class DepthReversed(Staged):
    """In 3-D the tokens run backwards along the first axis."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.flip(1) if self.data_dim == 3 else tokens


class LastTokenZero(Staged):
    """The last token of every sample is zero."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        flat = tokens.flatten(1, -2)
        return torch.cat([flat[:, :-1], torch.zeros_like(flat[:, -1:])], 1).reshape(tokens.shape)


class ChannelsReturnedFirst(Staged):
    """The output is [B, C_out, *g]."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.movedim(-1, 1)


class GridFlattened(Staged):
    """The output is [B, tokens, C_out]: no position embedding of the grid's shape can be added."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.flatten(1, -2)
