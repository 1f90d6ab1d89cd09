"""Defects of the backward pass alone: every output value is right."""

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tests.mutants.stages import Differentiated, LinearMap, Staged, gradients_of_linear_map, padded


class InputGradientMissing(Staged):
    """No gradient reaches the input."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.detach()


class BiasGradientMissing(Staged):
    """No gradient reaches the bias."""

    def used_bias(self) -> Tensor | None:
        return None if self.conv.bias is None else self.conv.bias.detach()


class DetachedInEvalMode(Staged):
    """In eval mode no gradient flows."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens if self.training else tokens.detach()


class InputGradientNeedsWeightGradient(Differentiated):
    """The input gets no gradient where the weight needs none."""

    def gradients(
        self, cotangent: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        return super().gradients(cotangent, x, weight, (needed[0] and needed[1], *needed[1:]))


class WeightGradientNeedsInputGradient(Differentiated):
    """The weight's gradient is zero where the input needs none."""

    def gradients(
        self, cotangent: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        of_input, of_weight, of_bias = super().gradients(cotangent, x, weight, needed)
        return of_input, of_weight if of_weight is None or needed[0] else of_weight * 0, of_bias


class InputGradientHalved(Differentiated):
    """The input's gradient is half of what it should be."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().input_gradient(cotangent, x, weight) / 2


class TapsFlippedInInputGradient(Differentiated):
    """The input's gradient uses the taps backwards."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().input_gradient(cotangent, x, weight.flip(tuple(range(2, weight.ndim))))


class InputGradientTransposedWhereSquare(Differentiated):
    """The gradient of a square image is transposed."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient = super().input_gradient(cotangent, x, weight)
        return gradient.transpose(1, 2) if self.data_dim == 2 and x.shape[1] == x.shape[2] else gradient


class OverlapOverwrites(Differentiated):
    """Where windows overlap, a pixel's gradient is that of one window instead of the sum."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient, grid = torch.zeros_like(x), self.grid(x)
        for index, tap in enumerate(product(range(self.patch_size), repeat=self.data_dim)):
            reached = gradient
            for axis, (first, n) in enumerate(zip(tap, grid, strict=True), start=1):
                reached = reached.narrow(axis, first, (n - 1) * self.stride + 1)
                reached = reached[(slice(None),) * axis + (slice(None, None, self.stride),)]
            reached.copy_(cotangent @ weight.flatten(2)[..., index])
        return gradient


class OverlapAveraged(Differentiated):
    """Where windows overlap, a pixel's gradient is their mean instead of their sum."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient = super().input_gradient(cotangent, x, weight)
        one = torch.ones_like(cotangent[:1, ..., :1])
        covering = super().input_gradient(one, x[:1, ..., :1], torch.ones_like(weight[:1, :1]))
        return gradient / covering.clamp(min=1)


class GradientPastLastWindow(Differentiated):
    """The gradient of pixels past the last window is left at one (R23)."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient, before, rest = super().input_gradient(cotangent, x, weight), [0] * self.data_dim, self.remainders(x)
        return padded(padded(gradient, before, [-n for n in rest]), before, rest, value=1.0)


class GradientInGaps(Differentiated):
    """The first pixel of a gap gets the gradient of the pixel before it."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient = super().input_gradient(cotangent, x, weight)
        if self.stride <= self.patch_size:
            return gradient
        in_gap = torch.arange(x.shape[1], device=x.device) % self.stride == self.patch_size
        return gradient + gradient.roll(1, 1) * in_gap.reshape(-1, *[1] * self.data_dim)


class OneShapeInputGradientFlipped(Differentiated):
    """The input's gradient uses the taps backwards for one shape only: patch 3, stride 2, every size 6."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        rare = self.patch_size == 3 and self.stride == 2 and all(size == 6 for size in x.shape[1:-1])
        taps = tuple(range(2, weight.ndim)) if rare else ()
        return super().input_gradient(cotangent, x, weight.flip(taps))


class WeightGradientAveragedOverBatch(Differentiated):
    """The weight's gradient is the mean over the samples instead of the sum."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().weight_gradient(cotangent, x, weight) / max(1, x.shape[0])


class WeightGradientMissesLastToken(Differentiated):
    """The weight's gradient leaves out the last token of every sample."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        flat = cotangent.flatten(1, -2)
        counted = torch.cat([flat[:, :-1], torch.zeros_like(flat[:, -1:])], 1)
        return super().weight_gradient(counted.reshape(cotangent.shape), x, weight)


class WeightGradientTapsTransposed(Differentiated):
    """The first and the last axis of the taps are swapped in the weight's gradient."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().weight_gradient(cotangent, x, weight).transpose(2, -1)


class HalfWeightGradientThroughBfloat16(Differentiated):
    """In float16 the weight's gradient is rounded to bfloat16."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient = super().weight_gradient(cotangent, x, weight)
        return gradient.bfloat16().half() if gradient.dtype == torch.float16 else gradient


class BiasGradientMissesLastSample(Differentiated):
    """The bias's gradient leaves out the last of several samples."""

    def bias_gradient(self, cotangent: Tensor) -> Tensor:
        return super().bias_gradient(cotangent[: max(1, cotangent.shape[0] - 1)])


class BiasGradientAveragedOverGrid(Differentiated):
    """The bias's gradient is the mean over a sample's tokens instead of the sum."""

    def bias_gradient(self, cotangent: Tensor) -> Tensor:
        return super().bias_gradient(cotangent) / cotangent[0, ..., 0].numel()


class BiasGradientCountsExpandedOnce(Differentiated):
    """The bias's gradient counts the samples of an expanded cotangent once."""

    def bias_gradient(self, cotangent: Tensor) -> Tensor:
        return super().bias_gradient(cotangent[:1] if cotangent.stride(0) == 0 else cotangent)


class LastSizesDifferentiated(Differentiated):
    """The backward pass takes the sizes of the last forward pass for its own: pixels beyond them get no gradient."""

    _sizes: torch.Size | None = None

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not torch.compiler.is_compiling():
            self._sizes = x.shape
        return super().embed(x, weight, bias)

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        found = super().input_gradient(cotangent, x, weight)
        for axis, size in enumerate(self._sizes or x.shape):
            within = torch.arange(found.shape[axis], device=found.device) < size
            found = found * within.reshape([-1 if axis == other else 1 for other in range(found.ndim)])
        return found


class CotangentViewed(Differentiated):
    """The backward pass views the cotangent as a matrix, which only some layouts allow."""

    def received(self, cotangent: Tensor) -> Tensor:
        return cotangent.view(-1, cotangent.shape[-1]).view(cotangent.shape)


class CotangentReadInMemoryOrder(Differentiated):
    """The backward pass reads the cotangent's memory in order and ignores its strides."""

    def received(self, cotangent: Tensor) -> Tensor:
        if 0 in cotangent.stride():
            return cotangent
        return cotangent.as_strided(cotangent.shape, torch.empty(cotangent.shape, device="meta").stride())


class CotangentOverwritten(Differentiated):
    """The backward pass uses a contiguous cotangent as scratch memory."""

    def received(self, cotangent: Tensor) -> Tensor:
        kept = cotangent.clone()
        if cotangent.is_contiguous():
            cotangent.detach().zero_()
        return kept


class CotangentClamped(Differentiated):
    """The cotangent is clamped to [-1, 1]."""

    def received(self, cotangent: Tensor) -> Tensor:
        return cotangent.clamp(-1, 1)


class ZeroCotangentGivesNaN(Differentiated):
    """The cotangent is scaled by its norm and back: zero over zero where it is zero."""

    def received(self, cotangent: Tensor) -> Tensor:
        norm = cotangent.detach().double().abs().sum()
        return cotangent * (norm / norm).to(cotangent.dtype)


class GradientReplaced(Differentiated):
    """A second backward pass replaces the gradients of the first instead of adding to them."""

    def received(self, cotangent: Tensor) -> Tensor:
        for parameter in self.conv.parameters():
            parameter.grad = None
        return cotangent


class _LinearMapOnce(LinearMap):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        return gradients_of_linear_map(ctx, cotangent)


class OnceDifferentiable(Differentiated):
    """The gradients cannot be differentiated again."""

    function = _LinearMapOnce


class BiasGradientDetached(Differentiated):
    """The bias's gradient is right, but cannot be differentiated again."""

    def gradients(
        self, cotangent: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        of_input, of_weight, of_bias = super().gradients(cotangent, x, weight, needed)
        return of_input, of_weight, None if of_bias is None else of_bias.detach()


class SecondDerivativeOfBiasHalved(Differentiated):
    """The bias's gradient is right, its derivative in the cotangent is half of what it should be."""

    def gradients(
        self, cotangent: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        of_input, of_weight, of_bias = super().gradients(cotangent, x, weight, needed)
        return of_input, of_weight, None if of_bias is None else of_bias / 2 + of_bias.detach() / 2


class SecondDerivativeZero(Differentiated):
    """The input's gradient does not depend on the weight for whoever differentiates it again."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().input_gradient(cotangent, x, weight.detach())


class LinearWhereFrozen(Differentiated):
    """Where the weight is frozen the cotangent is taken for a constant: a penalty on the gradient learns nothing."""

    def received(self, cotangent: Tensor) -> Tensor:
        return cotangent if self.conv.weight.requires_grad else cotangent.detach()


class SecondDerivativeHalved(Differentiated):
    """The weight's gradient is right, its derivative in the input is half of what it should be."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient = super().weight_gradient(cotangent, x, weight)
        constant = super().weight_gradient(cotangent, x.detach(), weight)
        return gradient / 2 + constant / 2
