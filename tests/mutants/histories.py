"""Defects that only a history shows: what is kept, when it is refreshed, whose memory is used again (C11 to C14)."""

from typing import Any

import torch
from torch import Tensor

from tests.mutants.stages import Differentiated, LinearMap, Staged, convolve, gradients_of_linear_map


class WeightCopiedUntilItsSumChanges(Staged):
    """A copy of the weight is used until the sum of the weight is another."""

    _kept: tuple[float, Tensor] | None = None

    def used_weight(self) -> Tensor:
        if torch.is_grad_enabled():
            return self.conv.weight
        total = float(self.conv.weight.detach().abs().sum())
        if self._kept is None or self._kept[0] != total:
            self._kept = (total, self.conv.weight.detach().clone())
        return self._kept[1].to(self.conv.weight.dtype)


class BiasKeptFromFirstInference(Staged):
    """Where no gradients are wanted the bias of the first such call is used for ever."""

    _bias: Tensor | None = None

    def used_bias(self) -> Tensor | None:
        if self.conv.bias is None or torch.is_grad_enabled():
            return self.conv.bias
        if self._bias is None or self._bias.dtype != self.conv.bias.dtype:
            self._bias = self.conv.bias.detach().clone()
        return self._bias


class WeightRefreshedByVersion(Staged):
    """A copy of the weight is refreshed where autograd has noticed a change: not where ``.data`` was changed."""

    _kept: tuple[int, int, torch.dtype, Tensor] | None = None

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if weight.requires_grad and torch.is_grad_enabled():
            return weight
        key = (weight._version, id(weight), weight.dtype)
        if self._kept is None or self._kept[:3] != key:
            self._kept = (*key, weight.detach().clone())
        return self._kept[3]


class OutputKeptByTensor(Staged):
    """The output of the last input is returned again for the same tensor, although it may hold other values by now."""

    _last: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().forward(x)
        if self._last is None or self._last[0] is not x:
            self._last = (x, super().forward(x))
        return self._last[1]


class WrongAfterManyCalls(Staged):
    """From the 513th call on, nothing is added to the products."""

    _calls = 0

    def used_bias(self) -> Tensor | None:
        self._calls += 1
        return self.conv.bias if self._calls <= 512 else None


class _GradientOfLastInput(LinearMap):
    """The weight's gradient by the last input."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, layer: Any) -> Tensor:
        layer.last_input = x.detach().clone()
        return convolve(x, weight, bias, layer.stride).contiguous()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        given, for_weight, *rest = gradients_of_linear_map(ctx, cotangent)
        x, weight = ctx.saved_tensors
        last = ctx.layer.last_input
        if for_weight is not None and last.shape == x.shape:
            with torch.enable_grad():
                again = weight.detach().requires_grad_()
                tokens = convolve(last, again, None, ctx.layer.stride)
                (for_weight,) = torch.autograd.grad(tokens, again, cotangent)
        return (given, for_weight, *rest)


class LastInputDifferentiated(Differentiated):
    """The weight's gradient is that of the last input of this shape, not of the input of its own forward pass."""

    function = _GradientOfLastInput
    last_input: Tensor


class _GradientsOnce(LinearMap):
    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        if getattr(ctx, "used", False):
            cotangent = torch.zeros_like(cotangent)
        ctx.used = True
        return gradients_of_linear_map(ctx, cotangent)


class SecondBackwardPassZero(Differentiated):
    """A second backward pass over one graph gives zeros."""

    function = _GradientsOnce


class _GradientBuffer(LinearMap):
    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        given, *rest = gradients_of_linear_map(ctx, cotangent)
        if given is not None and not torch.is_grad_enabled():
            buffers, key = ctx.layer.buffers_of_gradients, (given.shape, given.dtype)
            given = buffers.setdefault(key, torch.empty_like(given)).copy_(given)
        return (given, *rest)


class InputGradientBufferReused(Differentiated):
    """The input's gradient is returned in a buffer that the next backward pass of this shape writes into."""

    function = _GradientBuffer

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.buffers_of_gradients: dict[Any, Tensor] = {}


class FrozenWeightDetached(Staged):
    """Once the weight was frozen, no gradient reaches it any more."""

    _frozen = False

    def used_weight(self) -> Tensor:
        self._frozen |= not self.conv.weight.requires_grad
        return self.conv.weight.detach() if self._frozen else self.conv.weight


class BiasRoundedByInference(Staged):
    """A call under inference_mode leaves a scale that doubles the bias of the next call with gradients."""

    _inferred = False

    def used_bias(self) -> Tensor | None:
        if torch.is_inference_mode_enabled():
            self._inferred = True
        elif self._inferred and self.conv.bias is not None and torch.is_grad_enabled():
            self._inferred = False
            return self.conv.bias * 2
        return self.conv.bias


class LargestBatchKept(Staged):
    """Tokens are written into a buffer of the largest batch so far; a smaller batch gets the wrong end of it."""

    _most = 0

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        smaller = len(x) < self._most
        self._most = max(self._most, len(x))
        return tokens.flip(0) if smaller else tokens


class CopiesShareTheirScale(Staged):
    """A table that the class keeps by the layer's first weight is shared by copies, and is of the original's weight."""

    _held: list[Tensor] | None = None

    def used_weight(self) -> Tensor:
        if self._held is None:
            self._held = [self.conv.weight]
        return self._held[0] if not torch.is_grad_enabled() else self.conv.weight

    def __deepcopy__(self, memo: dict[int, Any]) -> "CopiesShareTheirScale":
        other = type(self)(
            self.conv.in_channels, self.conv.out_channels, self.data_dim, self.patch_size, self.stride,
            self.conv.bias is not None,
        )  # fmt: skip
        other.to(self.conv.weight.dtype).load_state_dict(self.state_dict())
        other._held = self._held
        return other.train(self.training)


class ResultsDetached(Staged):
    """An input that is the result of another operation gets no gradient."""

    def prepared(self, x: Tensor) -> Tensor:
        return x if x.is_leaf else x.detach()


class CompiledModeKept(Staged):
    """Compiled, a layer in eval mode adds the bias of the graph's first parameters."""

    _first: Tensor | None = None

    def used_bias(self) -> Tensor | None:
        if self.conv.bias is None or self.training or not torch.compiler.is_compiling():
            return self.conv.bias
        if self._first is None:
            self._first = self.conv.bias.detach().clone()
        return self._first


class InputKeptByVersion(Staged):
    """In inference a copy of the input is used again for the same tensor, where autograd noticed no change of it."""

    _kept: tuple[Tensor, int, Tensor] | None = None

    def prepared(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.is_inference():
            return x
        if self._kept is None or self._kept[0] is not x or self._kept[1] != x._version:
            self._kept = (x, x._version, x.clone())
        return self._kept[2]


class NewestWeightDifferentiated(Differentiated):
    """The input gradient is that of the weight which the layer has when it is asked for, not of the call's."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().input_gradient(cotangent, x, self.conv.weight.to(weight.dtype))


class WeightKeptForAutocast(Staged):
    """Under autocast, in training, the weight is converted once and for all."""

    _kept: Tensor | None = None

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not torch.is_autocast_enabled(x.device.type) or x.dtype == torch.float64:
            return super().embed(x, weight, bias)
        low = torch.get_autocast_dtype(x.device.type)
        if self._kept is None or self._kept.dtype != low:
            self._kept = weight.detach().to(low)
        # Its gradient is that of the parameter.
        return super().embed(x, self._kept + (weight - weight.detach()).to(low), bias)
