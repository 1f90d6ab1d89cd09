"""Defects of numbers that few cases have: large ones, long sums, magnitudes at the ends of a dtype, NaN, infinity."""

import torch
from torch import Tensor

from tests.mutants.stages import Differentiated, Staged, multiply, windows


def _through(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The values, rounded to another dtype."""
    rounded: Tensor = values.to(dtype).to(values.dtype)
    return rounded


def _wrapped(count: int, bits: int, device: torch.device) -> Tensor:
    """Indices that are kept in so many bits, without a sign."""
    indices: Tensor = torch.arange(count, device=device) % 2**bits
    return indices


class InputChannelsPast4096Ignored(Staged):
    """Input channels past 4,096 are ignored."""

    def prepared(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., :4096], torch.zeros_like(x[..., 4096:])], -1)


class OutputChannelsPast4096MissTheirBias(Staged):
    """From 4,096 output channels on, a kernel of its own forgets the bias."""

    def used_bias(self) -> Tensor | None:
        bias = self.conv.bias
        return bias if bias is None or len(bias) < 4096 else bias * 0


class InputChannelsPastWholeVectorsIgnored(Staged):
    """From 64 input channels on, those past the last whole vector of 8 are ignored."""

    def prepared(self, x: Tensor) -> Tensor:
        whole = x.shape[-1] // 8 * 8 if x.shape[-1] >= 64 else x.shape[-1]
        return torch.cat([x[..., :whole], torch.zeros_like(x[..., whole:])], -1)


class OutputChannelsOfWholeTilesSwapped(Staged):
    """Where output channels are a multiple of 64, the two halves of each tile change places."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if tokens.shape[-1] % 64:
            return tokens
        return tokens.reshape(*tokens.shape[:-1], -1, 2, 32).flip(-2).flatten(-3)


class WindowsIn15Bits(Staged):
    """The index of a window is kept in a signed 16-bit integer."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        flat = tokens.flatten(1, -2)
        return flat[:, _wrapped(flat.shape[1], 15, flat.device)].reshape(tokens.shape)


class WindowsIn17Bits(Staged):
    """The index of a window is kept in 17 bits, beside 15 of the channel's."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        flat = tokens.flatten(0, -2)
        return flat[_wrapped(len(flat), 17, flat.device)].reshape(tokens.shape)


class SamplesIn15BitsInGradients(Differentiated):
    """The weight gradient keeps the index of a sample in a signed 16-bit integer."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        samples = _wrapped(len(x), 15, x.device)
        return super().weight_gradient(cotangent, x[samples], weight)


class StrideIn8Bits(Staged):
    """The stride is kept in 8 bits."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return multiply(windows(x, self.patch_size, self.stride % 256 or 256), weight, bias)


class FarStridesTakeThePatch(Staged):
    """Where the stride is four patches or more, every second window is read a pixel late."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.roll(1, 1) if self.stride >= 4 * self.patch_size and x.shape[1] > self.stride + self.patch_size else x


class LargePatchesMissTheirLastTap(Staged):
    """Of a patch of 32 or more the last tap is not read."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if self.patch_size < 32:
            return weight
        return torch.cat([weight[..., :-1], torch.zeros_like(weight[..., -1:])], -1)


class LargePatchesOfVolumesTransposed(Staged):
    """From patches of 8 on, the taps of a volume are transposed."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return weight.transpose(-1, -2) if self.patch_size >= 8 and self.data_dim == 3 else weight


class LongSumsThroughBfloat16(Staged):
    """In float32, operands of sums of 512 products or more are rounded to bfloat16."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.dtype == torch.float32 and weight[0].numel() >= 512:
            return super().embed(_through(x, torch.bfloat16), _through(weight, torch.bfloat16), bias)
        return super().embed(x, weight, bias)


class LongSumsThroughTF32(Staged):
    """In float32, weights of sums of 256 products or more keep 11 significant bits, as tensor cores do."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if weight.dtype != torch.float32 or weight[0].numel() < 256:
            return weight
        spread = weight * (2**13 + 1)
        return torch.where(weight.isfinite() & spread.isfinite(), spread - (spread - weight), weight)


class LongSumsOfWideChannelsInFloat32(Staged):
    """In float64, sums over 64 channels or more are of operands in float32."""

    def prepared(self, x: Tensor) -> Tensor:
        return _through(x, torch.float32) if x.dtype == torch.float64 and x.shape[-1] >= 64 else x


class ManyTokensGiveTheWeightThroughBfloat16(Differentiated):
    """In float32, the weight gradient of 256 tokens or more is made of cotangents in bfloat16."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        if cotangent.dtype == torch.float32 and cotangent[..., 0].numel() >= 256:
            cotangent = _through(cotangent, torch.bfloat16)
        return super().weight_gradient(cotangent, x, weight)


class ManyChannelsGiveTheInputThroughFloat16(Differentiated):
    """In float32, the input gradient of 32 output channels or more is made of weights in float16."""

    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        if weight.dtype == torch.float32 and len(weight) >= 32:
            weight = _through(weight, torch.float16)
        return super().input_gradient(cotangent, x, weight)


class HugePixelsClamped(Staged):
    """Pixels are clamped to a million million."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.clamp(-1e12, 1e12) if x.dtype != torch.float16 else x


class TinyPixelsDropped(Staged):
    """Pixels below 1e-12 in magnitude are taken for zero."""

    def prepared(self, x: Tensor) -> Tensor:
        return torch.where(x.abs() < 1e-12, torch.zeros_like(x), x)


class SubnormalsFlushed(Staged):
    """Subnormal numbers are taken for zero."""

    def prepared(self, x: Tensor) -> Tensor:
        return torch.where(x.abs() < torch.finfo(x.dtype).tiny, torch.zeros_like(x), x)


class HugeTokensOverflow(Staged):
    """Tokens are computed at 2**20 times their size and scaled down again, so that huge ones overflow."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens * 2**20 / 2**20 if x.dtype != torch.float16 else tokens


class NegativeZeroNormalised(Staged):
    """Pixels are split into sign and magnitude unless all their bits are zero, which those of -0.0 are not."""

    def prepared(self, x: Tensor) -> Tensor:
        bits = x.detach().contiguous().view(torch.int64 if x.dtype == torch.float64 else torch.int16)
        if x.dtype == torch.float32:
            bits = x.detach().contiguous().view(torch.int32)
        return torch.where((bits.reshape(x.shape) == 0) | ~x.isfinite() | (x != 0), x, x / x.abs())


class NaNScrubbedFromTheWeight(Staged):
    """NaN in the weight is replaced by zero."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return torch.where(weight.isnan(), torch.zeros_like(weight), weight)


class InfiniteBiasClamped(Staged):
    """An infinite bias is replaced by the largest number."""

    def used_bias(self) -> Tensor | None:
        bias = self.conv.bias
        return None if bias is None else bias.clamp(-torch.finfo(bias.dtype).max, torch.finfo(bias.dtype).max)


class NaNInTheWeightSpreads(Staged):
    """The weight is balanced by a number that all of it goes into, so that NaN reaches every output channel."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return weight + 0 * weight.detach().sum()


class NaNScrubbedFromTheCotangent(Differentiated):
    """NaN in the cotangent is replaced by zero."""

    def received(self, cotangent: Tensor) -> Tensor:
        return torch.where(cotangent.isnan(), torch.zeros_like(cotangent), cotangent)


class InfiniteCotangentClamped(Differentiated):
    """An infinite cotangent is replaced by the largest number."""

    def received(self, cotangent: Tensor) -> Tensor:
        most = torch.finfo(cotangent.dtype).max
        return cotangent.clamp(-most, most)
