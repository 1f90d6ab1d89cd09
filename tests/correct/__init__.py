"""Layers that are right and compute the same thing in unlike ways: no property may fail one of them."""

import torch
from torch import Tensor
from torch.nn import functional

from patchify import Patchify
from tests.mutants.stages import Differentiated, convolve, multiply, windows

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


class InFloat64(Patchify):
    """Computes in float64 and rounds once."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        bias = None if self.conv.bias is None else self.conv.bias.double()
        return convolve(x.double(), self.conv.weight.double(), bias, self.stride).to(x.dtype)


class BiasAddedAfterwards(Patchify):
    """A convolution without bias, then the bias."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        tokens = convolve(x, self.conv.weight, None, self.stride)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


class ChannelsLastConvolved(Patchify):
    """A convolution on the channels-last view; compiled, on a copy, since Inductor cannot take the view (R50)."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        view = x.movedim(-1, 1)
        tokens: Tensor = self.conv(view.contiguous() if torch.compiler.is_compiling() else view)
        return tokens.movedim(1, -1).contiguous()


class HandWrittenBackward(Differentiated):
    """An autograd.Function with a backward pass of its own."""


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


class HalvesOfTheBatch(Patchify):
    """Embeds the two halves of the batch one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        half = x.shape[0] // 2
        parts = (convolve(part, self.conv.weight, self.conv.bias, self.stride) for part in (x[:half], x[half:]))
        return torch.cat(list(parts))


@torch.compile(backend="eager", dynamic=True)
def _compiled(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return convolve(x, weight, bias, stride)


class CompiledInside(Patchify):
    """Forward calls a compiled function."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return _compiled(x, self.conv.weight, self.conv.bias, self.stride)


class LiftedToVolume(Patchify):
    """Sequences and images become volumes of size one along the axes they lack.

    Not while compiled: Inductor cannot take most convolutions of volumes at a second size. Contiguous either way: of
    a sequence that is a view, a compiled convolution has other strides than an eager one.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        if torch.compiler.is_compiling():
            return convolve(x, self.conv.weight, self.conv.bias, self.stride).contiguous()
        missing = [1] * (3 - self.data_dim)
        volume = x.movedim(-1, 1).contiguous().reshape(x.shape[0], x.shape[-1], *missing, *x.shape[1:-1])
        weight = self.conv.weight.reshape(*self.conv.weight.shape[:2], *missing, *self.conv.weight.shape[2:])
        strides = (*missing, *[self.stride] * self.data_dim)
        tokens = functional.conv3d(volume, weight, self.conv.bias, strides)
        return tokens.reshape(*tokens.shape[:2], *tokens.shape[5 - self.data_dim :]).movedim(1, -1).contiguous()


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


CORRECT: tuple[type[Patchify], ...] = (
    Patchify,
    UnfoldedLinear,
    CroppedAndReshaped,
    SummedOverTaps,
    EinsteinSummed,
    InFloat64,
    BiasAddedAfterwards,
    ChannelsLastConvolved,
    HandWrittenBackward,
    StridedWindows,
    BatchedProducts,
    IndexedPixels,
    HalvesOfTheBatch,
    CompiledInside,
    LiftedToVolume,
    WindowsOfBlocks,
)
