"""Defects of the windows: which pixels a token reads."""

import torch
from torch import Tensor

from tests.mutants.stages import Gathered, Staged, convolve, multiply, padded, windows


class StripesNotPatches(Staged):
    """Non-overlapping patches are made by a reshape without the axis swap: tokens are stripes (R01)."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride != self.patch_size:
            return super().embed(x, weight, bias)
        grid = self.grid(x)
        cropped = x[(slice(None), *(slice(n * self.patch_size) for n in grid))]
        taps = [self.patch_size] * self.data_dim
        return multiply(
            cropped.reshape(x.shape[0], *grid, *taps, x.shape[-1]).movedim(-1, self.data_dim + 1), weight, bias
        )


class RemainderWrapsRows(Staged):
    """Rows are taken to be as long as their windows, so a remainder shifts all rows after it."""

    def prepared(self, x: Tensor) -> Tensor:
        used = [size - remainder for size, remainder in zip(x.shape[1:-1], self.remainders(x), strict=True)]
        pixels = 1
        for size in used:
            pixels *= size
        return x.flatten(1, -2)[:, :pixels].reshape(x.shape[0], *used, x.shape[-1])


class WindowsAnchoredAtTheEnd(Staged):
    """The first pixels of an axis are dropped instead of the last."""

    def prepared(self, x: Tensor) -> Tensor:
        return padded(x, [-n for n in self.remainders(x)], [0] * self.data_dim)


class WindowsCentred(Staged):
    """Half of the remainder is dropped on either side."""

    def prepared(self, x: Tensor) -> Tensor:
        return padded(x, [-(n // 2) for n in self.remainders(x)], [0] * self.data_dim)


class StrayPadding(Staged):
    """The input moves by two pixels, as a stray padding does it: the shape stays the same (R10)."""

    def prepared(self, x: Tensor) -> Tensor:
        return padded(x, [2] * self.data_dim, [-2] * self.data_dim)


class EvenPatchesShifted(Staged):
    """Patches of even size begin one pixel late, as if they were centred."""

    def prepared(self, x: Tensor) -> Tensor:
        shift = [1 - self.patch_size % 2] * self.data_dim
        return padded(x, [-n for n in shift], shift)


class LastAxisShifted(Staged):
    """Along the last axis every window begins one pixel late."""

    def prepared(self, x: Tensor) -> Tensor:
        shift = [0] * (self.data_dim - 1) + [1]
        return padded(x, [-n for n in shift], shift)


class Dilated(Gathered):
    """The taps are two pixels apart; beyond the end the last pixel repeats."""

    def offsets(self) -> Tensor:
        return 2 * super().offsets()


class LastWindowPulledBack(Gathered):
    """The last window of an axis is moved to its very end, where there is a remainder."""

    def origins(self, size: int, axis: int) -> Tensor:
        origins = super().origins(size, axis)
        return torch.cat([origins[:-1], torch.full((1,), size - self.patch_size)])


class SecondWindowAfterFirst(Gathered):
    """The second window begins where the first one ends, whatever the stride, if it fits there."""

    def origins(self, size: int, axis: int) -> Tensor:
        origins = super().origins(size, axis)
        moved = torch.full((1,), min(self.patch_size, size - self.patch_size))
        return torch.cat([origins[:1], moved, origins[2:]]) if len(origins) > 1 else origins


class TapsPastWholeStridesDropped(Staged):
    """Where the stride does not divide the patch size, taps past its last multiple do not count."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        whole = self.patch_size // self.stride * self.stride or self.patch_size
        for axis in range(2, weight.ndim):
            counted = torch.arange(self.patch_size, device=weight.device) < whole
            weight = weight * counted.reshape(-1, *[1] * (weight.ndim - 1 - axis))
        return weight


class OnePixelPatchForgetsStride(Gathered):
    """A patch of one pixel takes the first g pixels, whatever the stride (R36)."""

    def origins(self, size: int, axis: int) -> Tensor:
        origins = super().origins(size, axis)
        return torch.arange(len(origins)) if self.patch_size == 1 else origins


class AxesSwappedWhereSquare(Staged):
    """A square image is read transposed."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2) if self.data_dim == 2 and x.shape[1] == x.shape[2] else x


class TailFoldedIn(Staged):
    """The last pixel of every axis with a remainder is added to its last covered pixel."""

    def prepared(self, x: Tensor) -> Tensor:
        for axis, remainder in enumerate(self.remainders(x), start=1):
            if remainder:
                last = x.shape[axis] - remainder - 1
                folded = x.narrow(axis, last, 1) + x.narrow(axis, x.shape[axis] - 1, 1)
                x = torch.cat([x.narrow(axis, 0, last), folded, x.narrow(axis, last + 1, remainder)], axis)
        return x


class UncoveredTimesZero(Staged):
    """Uncovered pixels take part with the factor zero: NaN in one of them reaches every token of its sample."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        nothing = (x * 0).sum(tuple(range(1, x.ndim)))
        return super().embed(x, weight, bias) + nothing.reshape(-1, *[1] * (x.ndim - 1))


class GapsRead(Staged):
    """In 1-D with S > P, each window is read one pixel too long, with the weight of its last tap."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride <= self.patch_size or self.data_dim > 1 or x.shape[1] == self.patch_size:
            return super().embed(x, weight, bias)
        tokens = super().embed(x, weight, bias)
        after = windows(x[:, self.patch_size :], 1, self.stride)[:, : tokens.shape[1]]
        extra = convolve(after.squeeze(-1), weight[..., -1:], None, 1)
        return tokens + padded(extra, [0], [tokens.shape[1] - extra.shape[1]])
