"""Right layers that make every window, and multiply."""

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from patchify import Patchify
from tests.mutants.stages import multiply, windows

_EQUATIONS = {1: "blcp,ocp->blo", 2: "bhwcpq,ocpq->bhwo", 3: "bdhwcpqr,ocpqr->bdhwo"}


class UnfoldedLinear(Patchify):
    """Unfolds every axis, then one linear map."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return multiply(windows(x, self.patch_size, self.stride), self.conv.weight, self.conv.bias)


class CroppedAndReshaped(UnfoldedLinear):
    """Where S = P, crops the remainder, splits every axis in two and brings the pixels of a patch together."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != self.patch_size:
            return super().forward(x)
        self._check(x)
        axes, size = range(1, self.data_dim + 1), self.patch_size
        grid = [length // size for length in x.shape[1:-1]]
        split = [x.shape[0]]
        for axis, n in zip(axes, grid, strict=True):
            x = x.narrow(axis, 0, n * size)
            split += [n, size]
        patches = x.reshape(*split, x.shape[-1])
        order = [0, *(2 * axis - 1 for axis in axes), patches.ndim - 1, *(2 * axis for axis in axes)]
        return multiply(patches.permute(order), self.conv.weight, self.conv.bias)


class SummedOverTaps(Patchify):
    """One smaller linear map for each tap along the first axis, of what this tap sees in all windows."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        unfolded, bias, first = windows(x, self.patch_size, self.stride), self.conv.bias, self.data_dim + 2
        total = torch.zeros((), dtype=x.dtype, device=x.device) if bias is None else bias
        for tap in range(self.patch_size):
            seen = unfolded.select(first, tap).flatten(self.data_dim + 1)
            total = total + functional.linear(seen, self.conv.weight[:, :, tap].flatten(1))
        return total


class EinsteinSummed(Patchify):
    """One einsum over windows and weight, neither of them flattened."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        unfolded = windows(x, self.patch_size, self.stride)
        tokens = torch.einsum(_EQUATIONS[self.data_dim], unfolded, self.conv.weight)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


class StridedWindows(Patchify):
    """A view of all windows, made of strides alone."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        x = x.contiguous()
        grid = [(size - self.patch_size) // self.stride + 1 for size in x.shape[1:-1]]
        spatial = x.stride()[1:-1]
        shape = [x.shape[0], *grid, x.shape[-1], *[self.patch_size] * self.data_dim]
        strides = [x.stride(0), *(self.stride * stride for stride in spatial), x.stride(-1), *spatial]
        return multiply(x.as_strided(shape, strides), self.conv.weight, self.conv.bias)


class BatchedProducts(Patchify):
    """One matrix product for each sample, added to the bias."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        unfolded = windows(x, self.patch_size, self.stride)
        grid = unfolded.shape[: self.data_dim + 1]
        vectors = unfolded.flatten(self.data_dim + 1).flatten(1, -2)
        columns = self.conv.weight.flatten(1).T.expand(x.shape[0], -1, -1)
        if self.conv.bias is None:
            return torch.bmm(vectors, columns).reshape(*grid, self.conv.out_channels)
        return torch.baddbmm(self.conv.bias, vectors, columns).reshape(*grid, self.conv.out_channels)


class IndexedPixels(Patchify):
    """Gathers pixels by their flat index: one table of indices says what every token reads."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        grid = [(size - self.patch_size) // self.stride + 1 for size in x.shape[1:-1]]
        table = torch.zeros((), dtype=torch.int64, device=x.device)
        taps = torch.arange(self.patch_size, device=x.device)
        for n, size in zip(grid, x.shape[1:-1], strict=True):
            along = torch.arange(n, device=x.device)[:, None] * self.stride + taps
            table = table[..., None, None] * size + along
        table = table.permute(*range(0, 2 * self.data_dim, 2), *range(1, 2 * self.data_dim, 2))
        pixels = x.flatten(1, -2).index_select(1, table.flatten()).reshape(x.shape[0], *table.shape, x.shape[-1])
        return multiply(pixels.movedim(-1, self.data_dim + 1), self.conv.weight, self.conv.bias)


class WindowsOfBlocks(Patchify):
    """Where S divides P, blocks of S pixels become channels, and windows of blocks with stride one do the rest."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        step, times = self.stride, self.patch_size // self.stride
        if times * step != self.patch_size:
            return multiply(windows(x, self.patch_size, step), self.conv.weight, self.conv.bias)
        blocks = windows(x, step, step).flatten(self.data_dim + 1)
        weight = self.conv.weight
        weight = weight.reshape(*weight.shape[:2], *[times, step] * self.data_dim)
        outer, inner = range(2, 2 * self.data_dim + 2, 2), range(3, 2 * self.data_dim + 2, 2)
        dense = weight.permute(0, 1, *inner, *outer).flatten(1, self.data_dim + 1)
        return multiply(windows(blocks, times, 1), dense, self.conv.bias)


class Contracted(Patchify):
    """One tensordot of windows and weight, over input channels and taps."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        over = self.data_dim + 1
        unfolded = windows(x, self.patch_size, self.stride)
        axes = list(range(unfolded.ndim - over, unfolded.ndim)), list(range(1, over + 1))
        tokens: Tensor = torch.tensordot(unfolded, self.conv.weight, axes)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


class SummedBackwards(Patchify):
    """Windows and weight reversed along channels and all taps, so that sums run from the last product to the first."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        axes = list(range(-self.data_dim - 1, 0))
        unfolded = windows(x, self.patch_size, self.stride)
        return multiply(unfolded.flip(axes), self.conv.weight.flip(axes), self.conv.bias)


class ImageToColumns(Patchify):
    """The columns of ``torch.nn.functional.unfold``: a sequence is an image of one row, a volume one image a slab."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        image, taps = x.movedim(-1, 1), (self.patch_size,) * min(self.data_dim, 2)
        if self.data_dim == 1:
            image, taps = image.unsqueeze(2), (1, self.patch_size)
        if self.data_dim == 3:
            slabs = image.unfold(2, self.patch_size, self.stride).permute(0, 2, 1, 5, 3, 4)
            image = slabs.flatten(0, 1).flatten(1, 2)
        columns = functional.unfold(image, taps, stride=self.stride).mT
        tokens = functional.linear(columns, self.conv.weight.flatten(1), self.conv.bias)
        grid = [(size - self.patch_size) // self.stride + 1 for size in x.shape[1:-1]]
        return tokens.reshape(x.shape[0], *grid, self.conv.out_channels)


class LoopedOverTaps(Patchify):
    """One matrix product for each tap, of the pixels that it meets: slow, where patches are large."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        grid = [(size - self.patch_size) // self.stride + 1 for size in x.shape[1:-1]]
        tokens = x.new_zeros(()) if self.conv.bias is None else self.conv.bias
        taps = product(range(self.patch_size), repeat=self.data_dim)
        for tap, weight in zip(taps, self.conv.weight.flatten(2).unbind(2), strict=True):
            met = x
            for axis, (first, n) in enumerate(zip(tap, grid, strict=True), 1):
                met = met.narrow(axis, first, (n - 1) * self.stride + 1).unfold(axis, 1, self.stride).squeeze(-1)
            tokens = tokens + functional.linear(met, weight)
        return tokens


class CompensatedSums(Patchify):
    """Adds up what the taps along the first axis contribute as Kahan does: what rounding loses is added at the end.

    What it loses is a number of its own, found without a branch (Knuth's two-sum), and no gradient goes through it.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        unfolded, first = windows(x, self.patch_size, self.stride), self.data_dim + 2
        bias = self.conv.bias
        total = x.new_zeros(self.conv.out_channels) if bias is None else bias
        lost = torch.zeros_like(total)
        for tap in range(self.patch_size):
            seen = unfolded.select(first, tap).flatten(self.data_dim + 1)
            term = functional.linear(seen, self.conv.weight[:, :, tap].flatten(1))
            before, total = total, total + term
            back = (total - before).detach()
            lost = lost + (before - (total - back)).detach() + (term - back).detach()
        return total + lost


class KeepsItsIndices(Patchify):
    """Gathers by tables of indices that are made once for every size and kept on the layer."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._kept: dict[tuple[int, torch.device], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        for axis in range(1, self.data_dim + 1):
            pixels = self._pixels(x.shape[axis], x.device)
            # The taps of the axes before it are behind the channels already.
            read = x.index_select(axis, pixels.flatten())
            x = read.reshape(*x.shape[:axis], *pixels.shape, *x.shape[axis + 1 :]).movedim(axis + 1, -1)
        return multiply(x, self.conv.weight, self.conv.bias)

    def _pixels(self, size: int, device: torch.device) -> Tensor:
        """``[g, P]``: what every window reads along an axis."""
        if (size, device) not in self._kept:
            # Made in inference mode, it could not be used where there are gradients.
            with torch.inference_mode(False):
                firsts = torch.arange(0, size - self.patch_size + 1, self.stride, device=device)
                self._kept[size, device] = firsts[:, None] + torch.arange(self.patch_size, device=device)
        return self._kept[size, device]
