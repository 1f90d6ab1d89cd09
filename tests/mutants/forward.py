"""Defects of the linear map: taps, channels, bias, and what is sneaked in before or after it."""

import torch
from torch import Tensor
from torch.nn import functional

from tests.mutants.stages import Gathered, Staged, convolve, windows


class TapsFlipped(Staged):
    """The taps run backwards along every axis."""

    def used_weight(self) -> Tensor:
        return self.conv.weight.flip(tuple(range(2, self.data_dim + 2)))


class FirstAxisOfTapsFlipped(Staged):
    """The taps run backwards along the first axis only."""

    def used_weight(self) -> Tensor:
        return self.conv.weight.flip(2)


class TapsTransposedInImages(Staged):
    """The two axes of the taps are swapped in 2-D."""

    def used_weight(self) -> Tensor:
        return self.conv.weight.transpose(2, 3) if self.data_dim == 2 else self.conv.weight


class TapsTransposedInVolumes(Staged):
    """The first and the last axis of the taps are swapped in 3-D."""

    def used_weight(self) -> Tensor:
        return self.conv.weight.transpose(2, 4) if self.data_dim == 3 else self.conv.weight


class TapOrderSwapped(Staged):
    """Patches are flattened (tap, tap, channel), the weight (channel, tap, tap)."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return weight.reshape(weight.shape[0], *weight.shape[2:], weight.shape[1]).movedim(-1, 1)


class LargePatchesTruncated(Staged):
    """Of a patch of 8 pixels or more, only the first 7 along the last axis count."""

    def used_weight(self) -> Tensor:
        counted = torch.arange(self.patch_size, device=self.conv.weight.device) < 7
        return self.conv.weight * counted if self.patch_size >= 8 else self.conv.weight


class TermsPast64Dropped(Staged):
    """Sums of more than 64 products lose what is past the last multiple of 64."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        terms = weight[0].numel()
        counted = torch.arange(terms, device=weight.device) < max(terms // 64 * 64, min(terms, 64))
        return weight * counted.reshape(weight.shape[1:])


class InputChannelsReversed(Staged):
    """Three channels are read in the reverse order."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.flip(-1) if x.shape[-1] == 3 else x


class SquareWeightTransposed(Staged):
    """The weight's channel axes are swapped where C_in = C_out."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return weight.transpose(0, 1) if weight.shape[0] == weight.shape[1] else weight


class DepthwiseWhereChannelsMatch(Staged):
    """Each output channel sees its own input channel only, where C_in = C_out."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if weight.shape[0] != weight.shape[1]:
            return weight
        own = torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
        return weight * own.reshape(*own.shape, *[1] * self.data_dim)


class OddInputChannelIgnored(Staged):
    """The last of an odd number of input channels is ignored."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        even = x.shape[-1] - x.shape[-1] % 2 or 1
        return super().embed(x[..., :even], weight[:, :even], bias)


class OutputChannelsPastFourZero(Staged):
    """Output channels past the last multiple of four are zero."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        left_over = tokens.shape[-1] % 4 if tokens.shape[-1] > 4 else 0
        return functional.pad(tokens[..., : tokens.shape[-1] - left_over], (0, left_over))


class _Biased(Staged):
    """Right: the bias is added last."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tokens = super().embed(x, weight, None)
        return tokens if bias is None else self.biased(tokens, bias)

    def biased(self, tokens: Tensor, bias: Tensor) -> Tensor:
        return tokens + bias


class BiasMissing(_Biased):
    """The bias is not added."""

    def biased(self, tokens: Tensor, bias: Tensor) -> Tensor:
        return tokens


class BiasAddedTwice(_Biased):
    """The bias is added twice."""

    def biased(self, tokens: Tensor, bias: Tensor) -> Tensor:
        return tokens + bias + bias


class BiasAddedPerTap(_Biased):
    """The bias is added once for every tap."""

    def biased(self, tokens: Tensor, bias: Tensor) -> Tensor:
        taps: int = self.patch_size**self.data_dim
        return tokens + bias * taps


class BiasAlongTheGrid(_Biased):
    """The bias runs along the last grid axis instead of the channels, where both are of one size."""

    def biased(self, tokens: Tensor, bias: Tensor) -> Tensor:
        return tokens + (bias[:, None] if tokens.shape[-2] == tokens.shape[-1] else bias)


class BiasOnFirstTokenOnly(_Biased):
    """Only the first token of each sample gets the bias."""

    def biased(self, tokens: Tensor, bias: Tensor) -> Tensor:
        flat = tokens.flatten(1, -2)
        return torch.cat([flat[:, :1] + bias, flat[:, 1:]], 1).reshape(tokens.shape)


class BiasOnFirstSampleOnly(_Biased):
    """Only the first sample gets the bias."""

    def biased(self, tokens: Tensor, bias: Tensor) -> Tensor:
        return torch.cat([tokens[:1] + bias, tokens[1:]])


class AveragedOverTaps(Staged):
    """The products are averaged over the taps instead of summed."""

    def used_weight(self) -> Tensor:
        taps: int = self.patch_size**self.data_dim
        return self.conv.weight / taps


class WindowMeanSubtracted(Staged):
    """Every window's mean is subtracted from it first."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        one = torch.ones_like(weight[:1])
        means = convolve(x, one / one.numel(), None, self.stride)
        return super().embed(x, weight, bias) - means * weight.flatten(1).sum(1)


class InputMagnitudes(Staged):
    """The sign of the input is lost."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.abs()


class TokensRectified(Staged):
    """Negative output values become zero."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.relu()


class TokensClamped(Staged):
    """Output values beyond 100 in magnitude are clamped."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.clamp(-100, 100)


class TokensNormalised(Staged):
    """Every token is divided by its norm."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return functional.normalize(tokens, dim=-1)


class WeightNormalised(Staged):
    """Every row of the weight is divided by its largest magnitude."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        largest = weight.abs().flatten(1).amax(1).clamp(min=torch.finfo(weight.dtype).tiny)
        return weight / largest.reshape(-1, *[1] * (weight.ndim - 1))


class QuadraticTerm(Staged):
    """The square of the first channel of each window's first pixel is added to its token."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        first = windows(x, self.patch_size, self.stride).flatten(-self.data_dim - 1)[..., :1]
        return super().embed(x, weight, bias) + first.square()


class TokenIndexAdded(Staged):
    """Every token gets its own index along the first grid axis added."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        index = torch.arange(tokens.shape[1], dtype=tokens.dtype, device=tokens.device)
        return tokens + index.reshape(-1, *[1] * self.data_dim)


class OddTokensNegated(Staged):
    """Every second token along the last grid axis has the wrong sign."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        odd = torch.arange(tokens.shape[-2], device=tokens.device) % 2 == 1
        return torch.where(odd[:, None], -tokens, tokens)


class OneShapeReversed(Gathered):
    """The taps run backwards for one shape only: patch 3, stride 2, every size 6."""

    def prepared(self, x: Tensor) -> Tensor:
        self._rare = self.patch_size == 3 and self.stride == 2 and all(size == 6 for size in x.shape[1:-1])
        return x

    def offsets(self) -> Tensor:
        return super().offsets().flip(0) if self._rare else super().offsets()
