"""Defects of the constructor and of what the layer holds."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.mutants.stages import Staged


class FeaturesSwapped(Staged):
    """The output features come before the input features."""

    def __init__(self, out_features: int, in_features: int, *arguments: Any, **named: Any) -> None:
        super().__init__(in_features, out_features, *arguments, **named)


class StrideAfterBias(Staged):
    """The stride comes after the bias."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        data_dim: int,
        patch_size: int,
        bias: Any = True,
        stride: Any = None,
    ) -> None:
        super().__init__(in_features, out_features, data_dim, patch_size, stride, bias)


class FeaturesRenamed(Staged):
    """The features are called channels."""

    def __init__(self, in_channels: int, out_channels: int, *arguments: Any, **named: Any) -> None:
        super().__init__(in_channels, out_channels, *arguments, **named)


class StrideRequired(Staged):
    """The stride has no default."""

    def __init__(
        self, in_features: int, out_features: int, data_dim: int, patch_size: int, stride: int | None, bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, data_dim, patch_size, stride, bias)


class DefaultStrideOne(Staged):
    """The stride is one by default."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        data_dim: int,
        patch_size: int,
        stride: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__(in_features, out_features, data_dim, patch_size, 1 if stride is None else stride, bias)


class DefaultStrideSixteen(Staged):
    """The stride is sixteen by default, as in the first layer of a ViT-B/16."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        data_dim: int,
        patch_size: int,
        stride: int = 16,
        bias: bool = True,
    ) -> None:
        super().__init__(in_features, out_features, data_dim, patch_size, stride, bias)


class BiasOffByDefault(Staged):
    """There is no bias by default."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        data_dim: int,
        patch_size: int,
        stride: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__(in_features, out_features, data_dim, patch_size, stride, bias)


class BiasAlwaysThere(Staged):
    """There is a bias even where none is asked for."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments[:5], **{**named, "bias": True})


class BiasNeverThere(Staged):
    """There is no bias even where one is asked for."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments[:5], **{**named, "bias": False})


class OverlapRefused(Staged):
    """A stride smaller than the patch is refused."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.stride < self.patch_size:
            raise ValueError(f"stride must be at least patch_size {self.patch_size}, got {self.stride}")


class FourDimensionsAccepted(Staged):
    """A data_dim of 4 builds a layer for volumes."""

    def __init__(self, in_features: int, out_features: int, data_dim: int, *arguments: Any, **named: Any) -> None:
        super().__init__(in_features, out_features, 3 if data_dim == 4 else data_dim, *arguments, **named)


class UnknownDimensionIsKeyError(Staged):
    """A data_dim that is not 1, 2 or 3 raises KeyError."""

    def __init__(self, in_features: int, out_features: int, data_dim: int, *arguments: Any, **named: Any) -> None:
        if data_dim not in (1, 2, 3):
            raise KeyError(data_dim)
        super().__init__(in_features, out_features, data_dim, *arguments, **named)


class PatchSizeIgnored(Staged):
    """The patch size is always 4 (R15)."""

    def __init__(
        self, in_features: int, out_features: int, data_dim: int, patch_size: int, *arguments: Any, **named: Any
    ) -> None:
        super().__init__(in_features, out_features, data_dim, 4, *arguments, **named)


class ConvUnderAnotherName(Staged):
    """The convolution is called proj."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.proj = self.conv
        del self.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x, self.proj.weight, self.proj.bias)


class ConvOfImagesForSequences(Staged):
    """In 1-D the convolution is a Conv2d of height one."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.data_dim == 1:
            conv, taps, step = self.conv, (1, self.patch_size), (1, self.stride)
            self.conv = nn.Conv2d(conv.in_channels, conv.out_channels, taps, step, bias=conv.bias is not None)

    def used_weight(self) -> Tensor:
        return self.conv.weight.flatten(2) if self.data_dim == 1 else self.conv.weight


class ConvPaddingUntrue(Staged):
    """The convolution is built with a padding that forward does not apply."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conv.padding = (1,) * self.data_dim


class ConvStrideUntrue(Staged):
    """The convolution is built with stride 1, whatever forward applies."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conv.stride = (1,) * self.data_dim


class StrideAttributeTuple(Staged):
    """The attribute stride holds one number for each axis."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.stride = (self.stride,) * self.data_dim  # type: ignore[assignment]


class StrideAttributeNone(Staged):
    """The attribute stride holds None where the default was asked for."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if (*arguments, named.get("stride"))[4:5] in ((), (None,)):
            self.stride = None  # type: ignore[assignment]

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tokens: Tensor = self.conv(x.movedim(-1, 1).contiguous())
        return tokens.movedim(1, -1)


class DataDimAttributeMissing(Staged):
    """There is no attribute data_dim."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        del self.data_dim

    def _check(self, x: Tensor) -> None:
        if x.ndim != self.conv.weight.ndim:
            raise ValueError(f"input must have {self.conv.weight.ndim} axes, got {x.ndim}")


class ExtraParameter(Staged):
    """There is a parameter that nothing uses."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.scale = nn.Parameter(torch.ones(1))


class WeightFrozen(Staged):
    """The weight is built without requires_grad."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conv.weight.requires_grad_(False)


class ParametersInFloat64(Staged):
    """The parameters are built in float64."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.double()


class BiasStartsAtZero(Staged):
    """The bias starts at zero."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)


class WeightStartsXavier(Staged):
    """The weight starts uniform in Xavier's range."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        nn.init.xavier_uniform_(self.conv.weight)


class WeightStartsTruncatedNormal(Staged):
    """The weight starts as a truncated normal of standard deviation 0.02."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)


class FanInWithoutTaps(Staged):
    """The weight starts uniform in a range that counts channels but not taps."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        with torch.no_grad():
            self.conv.weight.mul_(self.patch_size ** (self.data_dim / 2))


class SquareOnly(Staged):
    """Sizes that differ among the axes are refused."""

    def prepared(self, x: Tensor) -> Tensor:
        if len(set(x.shape[1:-1])) > 1:
            raise ValueError(f"input must be square, got {list(x.shape)}")
        return x


class RemainderRefused(Staged):
    """Sizes that windows do not fill exactly are refused."""

    def prepared(self, x: Tensor) -> Tensor:
        if any(self.remainders(x)):
            raise ValueError(f"sizes must fit patch_size {self.patch_size} exactly, got {list(x.shape)}")
        return x


class HooksPassedOver(Staged):
    """The call goes straight to forward."""

    def __call__(self, x: Tensor) -> Any:
        return self.forward(x)


class TokensInTuple(Staged):
    """Forward returns the tokens in a tuple."""

    def forward(self, x: Tensor) -> Any:
        return (super().forward(x),)


class NothingReturned(Staged):
    """Forward returns None."""

    def forward(self, x: Tensor) -> Any:
        super().forward(x)
