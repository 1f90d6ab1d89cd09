"""Defects that show for some dtypes only: lost precision, lost range, and the wrong dtype at the end."""

import torch
from torch import Tensor

from tests.mutants.stages import Staged, windows


class _ComputedIn(Staged):
    """Right, unless inputs of one dtype are computed in a poorer one."""

    given: torch.dtype
    used: torch.dtype

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.dtype != self.given:
            return super().embed(x, weight, bias)
        poorer = None if bias is None else bias.to(self.used)
        return super().embed(x.to(self.used), weight.to(self.used), poorer).to(x.dtype)


class Float64ThroughFloat32(_ComputedIn):
    """float64 is computed in float32."""

    given, used = torch.float64, torch.float32


class Float32ThroughBfloat16(_ComputedIn):
    """float32 is computed in bfloat16."""

    given, used = torch.float32, torch.bfloat16


class Float32ThroughFloat16(_ComputedIn):
    """float32 is computed in float16."""

    given, used = torch.float32, torch.float16


class Bfloat16ThroughFloat16(_ComputedIn):
    """bfloat16 is computed in float16, which overflows sooner."""

    given, used = torch.bfloat16, torch.float16


class OwnAutocast(Staged):
    """The layer switches autocast to bfloat16 on for itself."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return super().embed(x, weight, bias).to(x.dtype)


class OperandsRoundedToTF32(Staged):
    """float32 operands keep 11 significant bits (R41)."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.dtype != torch.float32:
            return super().embed(x, weight, bias)
        return super().embed(_rounded_to_11_bits(x), _rounded_to_11_bits(weight), bias)


def _rounded_to_11_bits(values: Tensor) -> Tensor:
    spread = values * (2**13 + 1)
    return torch.where(values.isfinite(), spread - (spread - values), values)


class PartialSumsInBfloat16(Staged):
    """In float32 every partial sum of eight products is added up in bfloat16."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if x.dtype != torch.float32:
            return super().embed(x, weight, bias)
        vectors, rows = windows(x, self.patch_size, self.stride).flatten(-self.data_dim - 1), weight.flatten(1)
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for first in range(0, rows.shape[1], 8):
            part = vectors[..., first : first + 8] @ rows[:, first : first + 8].T
            total = (total + part).bfloat16().float()
        return total if bias is None else total + bias


class BiasRoundedToBfloat16(Staged):
    """The bias is rounded to bfloat16."""

    def used_bias(self) -> Tensor | None:
        return None if self.conv.bias is None else self.conv.bias.bfloat16().to(self.conv.bias.dtype)


class WeightQuantised(Staged):
    """The weight is rounded to multiples of 1/128."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return weight + ((weight * 128).round() / 128 - weight).detach()


class PixelsQuantised(Staged):
    """The input is rounded to multiples of 1/256."""

    def prepared(self, x: Tensor) -> Tensor:
        return torch.where(x.isfinite(), x + ((x * 256).round() / 256 - x).detach(), x)


class HalfReturnedAsFloat32(Staged):
    """bfloat16 and float16 inputs give a float32 output."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.float() if x.dtype in (torch.bfloat16, torch.float16) else tokens


class Float64ReturnedAsFloat32(Staged):
    """float64 inputs give a float32 output."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.float() if x.dtype == torch.float64 else tokens


class BiasNotConverted(Staged):
    """The bias is used in float32, whatever the layer was converted to."""

    def used_bias(self) -> Tensor | None:
        return None if self.conv.bias is None else self.conv.bias.float()


class Float16Refused(Staged):
    """float16 inputs raise an error."""

    def prepared(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float16:
            raise NotImplementedError("float16 is not supported")
        return x


class InfinityClamped(Staged):
    """Output values are clamped to the finite range."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        largest = torch.finfo(tokens.dtype).max
        return tokens.clamp(-largest, largest)
