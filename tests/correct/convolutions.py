"""Right layers that hand their windows to torch's convolution."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from patchify import Patchify
from tests.mutants.stages import convolve


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


class HalvesOfTheBatch(Patchify):
    """Embeds the two halves of the batch one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        half = x.shape[0] // 2
        parts = (convolve(part, self.conv.weight, self.conv.bias, self.stride) for part in (x[:half], x[half:]))
        return torch.cat(list(parts))


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


class InFloat32(Patchify):
    """Half precision is computed in float32 and rounded once."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        bias = None if self.conv.bias is None else self.conv.bias.to(wide)
        return convolve(x.to(wide), self.conv.weight.to(wide), bias, self.stride).to(x.dtype)


class ChunkedOverBatch(Patchify):
    """Embeds a few samples at a time."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        chunks = torch.split(x, 512 if len(x) > 64 else 3)
        return torch.cat([convolve(chunk, self.conv.weight, self.conv.bias, self.stride) for chunk in chunks])


class ChunkedOverChannels(Patchify):
    """Embeds into a few output channels at a time."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        weights = torch.split(self.conv.weight, 5)
        biases = [None] * len(weights) if self.conv.bias is None else torch.split(self.conv.bias, 5)
        parts = (convolve(x, weight, bias, self.stride) for weight, bias in zip(weights, biases, strict=True))
        return torch.cat(list(parts), dim=-1)


class PaddedToEight(Patchify):
    """Fills the input channels up to a multiple of eight with zeros, as kernels like it."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        missing = -x.shape[-1] % 8
        weight = functional.pad(self.conv.weight, [0, 0] * self.data_dim + [0, missing])
        return convolve(functional.pad(x, [0, missing]), weight, self.conv.bias, self.stride)


class ChannelsLastMemory(Patchify):
    """Input and weight in torch's channels-last memory format, where there is one."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        if self.data_dim == 1:
            return convolve(x, self.conv.weight, self.conv.bias, self.stride)
        memory_format = torch.channels_last if self.data_dim == 2 else torch.channels_last_3d
        weight = self.conv.weight.contiguous(memory_format=memory_format)
        image = x.movedim(-1, 1).contiguous(memory_format=memory_format)
        convolution = functional.conv2d if self.data_dim == 2 else functional.conv3d
        return convolution(image, weight, self.conv.bias, self.stride).movedim(1, -1)


class FastPaths(Patchify):
    """Single pixels are picked and multiplied, patches side by side are reshaped, and the rest is convolved."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        weight, bias = self.conv.weight, self.conv.bias
        if self.patch_size == 1:
            for axis in range(1, self.data_dim + 1):
                x = x.unfold(axis, 1, self.stride).squeeze(-1)
            return functional.linear(x, weight.flatten(1), bias)
        if self.patch_size == self.stride and self.data_dim == 1:
            whole = x.shape[1] // self.patch_size
            rows = x[:, : whole * self.patch_size].reshape(x.shape[0], whole, -1)
            return functional.linear(rows, weight.mT.flatten(1), bias)
        return convolve(x, weight, bias, self.stride)


class _Sequences(nn.Conv1d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mT.contiguous()).mT


class _Images(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(-1, 1).contiguous()).movedim(1, -1)


class _Volumes(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(-1, 1).contiguous()).movedim(1, -1)


class ConvolutionsOfItsOwn(Patchify):
    """``conv`` is of a subclass of torch's convolution that takes channels last."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        channels = self.conv.in_channels, self.conv.out_channels
        kinds: tuple[type[_Sequences] | type[_Images] | type[_Volumes], ...] = (_Sequences, _Images, _Volumes)
        self.conv = kinds[self.data_dim - 1](*channels, self.patch_size, self.stride, bias=self.conv.bias is not None)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        tokens: Tensor = self.conv(x)
        return tokens


class AdjointOfTheAdjoint(Patchify):
    """The transposed convolution is linear in its input, and its own adjoint is what the layer computes."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        weight, bias = self.conv.weight, self.conv.bias
        grid = [(size - self.patch_size) // self.stride + 1 for size in x.shape[1:-1]]
        for axis, n in enumerate(grid, 1):
            x = x.narrow(axis, 0, (n - 1) * self.stride + self.patch_size)
        transposed = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)

        def scatter(tokens: Tensor) -> Tensor:
            spread: Tensor = transposed[self.data_dim - 1](tokens, weight, stride=self.stride)
            return spread

        nothing = x.new_zeros(x.shape[0], self.conv.out_channels, *grid)
        adjoint = torch.func.vjp(scatter, nothing)[1]
        tokens: Tensor = adjoint(x.movedim(-1, 1).contiguous())[0].movedim(1, -1)
        return tokens if bias is None else tokens + bias
