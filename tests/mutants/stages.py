"""What mutants are made of: layers that are right, cut into stages, each of which a defect can replace."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from patchify import Patchify

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | tuple[int, ...]) -> Tensor:
    """The linear map of every window, channels last at both ends."""
    tokens: Tensor = _CONVOLUTIONS[x.ndim - 2](x.movedim(-1, 1).contiguous(), weight, bias, stride)
    return tokens.movedim(1, -1)


def windows(x: Tensor, patch_size: int, stride: int) -> Tensor:
    """Every window: ``[B, *g, C_in, P, ...]``."""
    for axis in range(1, x.ndim - 1):
        x = x.unfold(axis, patch_size, stride)
    return x


def multiply(windows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One matrix product of windows, ``[B, *g, C_in, P, ...]``, with the weight."""
    return functional.linear(windows.flatten(1 - weight.ndim), weight.flatten(1), bias)


def padded(x: Tensor, before: list[int], after: list[int], value: float = 0.0) -> Tensor:
    """Pads the spatial axes of a channels-last tensor; negative amounts crop."""
    amounts = [0, 0]
    for front, back in zip(reversed(before), reversed(after), strict=True):
        amounts += [front, back]
    return functional.pad(x, amounts, value=value)


class Staged(Patchify):
    """Right: preparation, weight, bias, embedding and finish, one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return self.finished(self.embed(self.prepared(x), self.used_weight(), self.used_bias()), x)

    def prepared(self, x: Tensor) -> Tensor:
        """The input as it is embedded."""
        return x

    def used_weight(self) -> Tensor:
        """The weight as it is applied."""
        return self.conv.weight

    def used_bias(self) -> Tensor | None:
        """The bias as it is applied."""
        return self.conv.bias

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The tokens."""
        return convolve(x, weight, bias, self.stride)

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        """The tokens as they are returned."""
        return tokens

    def grid(self, x: Tensor) -> list[int]:
        """Windows along each spatial axis."""
        return [(size - self.patch_size) // self.stride + 1 for size in x.shape[1:-1]]

    def remainders(self, x: Tensor) -> list[int]:
        """Pixels after the last window on each spatial axis."""
        return [(size - self.patch_size) % self.stride for size in x.shape[1:-1]]


class Gathered(Staged):
    """Right: gathers the pixels of every window by index, axis by axis, then one matrix product."""

    def origins(self, size: int, axis: int) -> Tensor:
        """First pixel of every window on one spatial axis."""
        return torch.arange(0, size - self.patch_size + 1, self.stride)

    def offsets(self) -> Tensor:
        """Pixels of a window, counted from its first one."""
        return torch.arange(self.patch_size)

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        axes = range(1, self.data_dim + 1)
        for axis in reversed(axes):
            last = x.shape[axis] - 1
            pixels = (self.origins(x.shape[axis], axis)[:, None] + self.offsets()).clamp(max=last).to(x.device)
            gathered = x.index_select(axis, pixels.flatten())
            x = gathered.reshape(*x.shape[:axis], *pixels.shape, *x.shape[axis + 1 :])
        grid, taps = [2 * axis - 1 for axis in axes], [2 * axis for axis in axes]
        return multiply(x.permute(0, *grid, x.ndim - 1, *taps), weight, bias)


class LinearMap(torch.autograd.Function):
    """Right: the linear map of every window, with a backward pass that the layer defines."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, layer: "Differentiated") -> Tensor:
        return convolve(x, weight, bias, layer.stride).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.layer = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return gradients_of_linear_map(ctx, cotangent)


def gradients_of_linear_map(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    """What the backward pass of ``LinearMap`` returns."""
    return *ctx.layer.gradients(cotangent, *ctx.saved_tensors, ctx.needs_input_grad), None


class Differentiated(Staged):
    """Right: each gradient is computed by a method of its own, twice differentiable."""

    function: type[torch.autograd.Function] = LinearMap

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tokens: Tensor = self.function.apply(x, weight, bias, self)  # type: ignore[no-untyped-call]
        return tokens

    def gradients(
        self, cotangent: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        """The gradients of input, weight and bias, as far as they are needed."""
        cotangent = self.received(cotangent)
        return (
            self.input_gradient(cotangent, x, weight) if needed[0] else None,
            self.weight_gradient(cotangent, x, weight) if needed[1] else None,
            self.bias_gradient(cotangent) if needed[2] else None,
        )

    def received(self, cotangent: Tensor) -> Tensor:
        """The cotangent as it is used."""
        return cotangent

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """``[B, *s, C_in]``."""
        return self._convolution_backward(cotangent, x, weight, 0).movedim(1, -1)

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """``[C_out, C_in, P, ...]``."""
        return self._convolution_backward(cotangent, x, weight, 1)

    def bias_gradient(self, cotangent: Tensor) -> Tensor:
        """``[C_out]``."""
        return cotangent.flatten(0, -2).sum(0)

    def _convolution_backward(self, cotangent: Tensor, x: Tensor, weight: Tensor, which: int) -> Tensor:
        once, never = [1] * self.data_dim, [0] * self.data_dim
        wanted = [index == which for index in range(3)]
        found: Tensor = torch.ops.aten.convolution_backward(
            cotangent.movedim(-1, 1).contiguous(),
            x.movedim(-1, 1).contiguous(),
            weight,
            None,
            [self.stride] * self.data_dim,
            never,
            once,
            False,
            never,
            1,
            wanted,
        )[which]
        return found
