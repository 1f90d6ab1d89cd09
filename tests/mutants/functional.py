"""Defects under torch.func, torch.export, autocast and meta tensors, and for an empty batch (H6, H7)."""

from typing import Any

import torch
from torch import Tensor

from tests.mutants.stages import Differentiated, Staged, convolve, gradients_of_linear_map


class WrittenIntoOwnBuffer(Staged):
    """The output is written into a tensor that vmap does not know of."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return torch.empty(tokens.shape, dtype=tokens.dtype, device=tokens.device).copy_(tokens)


class WeightClosedOver(Staged):
    """Forward uses the parameter that was there at construction, not the one that functional_call puts in its place."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._held = [self.conv.weight]

    def used_weight(self) -> Tensor:
        return self._held[0]


class _OldLinearMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: Differentiated) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, weight)
        return convolve(x, weight, bias, layer.stride).contiguous()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return gradients_of_linear_map(ctx, cotangent)


class OldAutogradFunction(Differentiated):
    """The linear map is an autograd.Function of the old style, which torch.func cannot transform."""

    function = _OldLinearMap


class ValueAskedForInExport(Staged):
    """While it is exported, forward asks for a value of the input."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.clone() if torch.compiler.is_exporting() and bool(x.isnan().any()) else x


class DeviceChecked(Staged):
    """Only tensors on a CPU or a CUDA device are accepted."""

    def prepared(self, x: Tensor) -> Tensor:
        if x.device.type not in ("cpu", "cuda"):
            raise ValueError(f"unsupported device {x.device}")
        return x


class AutocastRefused(Staged):
    """An output in another dtype than the input's, as autocast makes it, is taken for an error."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if tokens.dtype != x.dtype:
            raise TypeError(f"expected {x.dtype}, got {tokens.dtype}")
        return tokens


class EmptyBatchRefused(Staged):
    """An empty batch raises an error."""

    def prepared(self, x: Tensor) -> Tensor:
        if x.shape[0] == 0:
            raise ValueError("the batch is empty")
        return x


class EmptyBatchFlat(Staged):
    """An empty batch gives an output without grid."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens if x.shape[0] else tokens.flatten(0, -2)


class EmptyBatchGradientNaN(Differentiated):
    """The weight's gradient is divided by the batch and multiplied again: NaN for an empty one."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        batch = torch.full((), x.shape[0], dtype=torch.float64, device=cotangent.device)
        return super().weight_gradient(cotangent, x, weight) * (batch / batch)


class EmptyBatchChannelsLastRefused(Staged):
    """An empty batch raises an error where the weight is channels_last (R31)."""

    def prepared(self, x: Tensor) -> Tensor:
        if x.shape[0] == 0 and not self.conv.weight.is_contiguous():
            raise RuntimeError("invalid strides for an empty batch")
        return x


class WeightThatIsAResultDetached(Staged):
    """A weight that is the result of an operation gets no gradient."""

    def used_weight(self) -> Tensor:
        return self.conv.weight if self.conv.weight.is_leaf else self.conv.weight.detach()
