"""Bad arguments and inputs that are accepted, or refused in words that do not help (H1 to H3, H10)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from patchify import Patchify
from properties import Domain
from tests.mutants.stages import Staged


class _Open(Staged):
    """Right, where every size is first given to ``taken``."""

    def __init__(
        self,
        in_features: Any,
        out_features: Any,
        data_dim: Any,
        patch_size: Any,
        stride: Any = None,
        bias: bool = True,
    ) -> None:
        stride = stride if stride is None else self.taken(stride)
        super().__init__(in_features, out_features, data_dim, self.taken(patch_size), stride, bias)

    def taken(self, size: Any) -> Any:
        return size


class StrideZeroAccepted(_Open):
    """A stride or patch size of zero is taken for one (R34)."""

    def taken(self, size: Any) -> Any:
        return size or 1


class OverlapAcceptedThoughExcluded(Staged):
    """Windows that overlap are declared unsupported, and accepted."""

    domain = Domain(stride="at least the patch")


class BooleansAccepted(_Open):
    """True is taken for one."""

    def taken(self, size: Any) -> Any:
        return int(size) if isinstance(size, bool) else size


class FractionsTruncated(_Open):
    """A size that is no integer is rounded down."""

    def taken(self, size: Any) -> Any:
        return int(size) if isinstance(size, float) else size


class NegativeSizesMirrored(_Open):
    """A negative size is taken for its magnitude."""

    def taken(self, size: Any) -> Any:
        return abs(size) if isinstance(size, int) and not isinstance(size, bool) else size


class ArgumentsNotNamed(_Open):
    """The error for a bad size says neither which argument it was nor what its value is."""

    def taken(self, size: Any) -> Any:
        if type(size) is not int or size <= 0:
            raise ValueError("invalid argument")
        return size


class StrideBlamed(Patchify):
    """A bad patch size is refused as the stride that it is the default of."""

    def __init__(
        self, in_features: int, out_features: int, data_dim: int, patch_size: int, *more: Any, **named: Any
    ) -> None:
        stride = (more[0] if more else named.get("stride")) or patch_size
        if type(stride) is not int or stride < 1:
            raise ValueError(f"stride must be a positive integer, got {stride!r}")
        super().__init__(in_features, out_features, data_dim, patch_size, *more, **named)


class DataDimLookedUp(Patchify):
    """``data_dim`` is looked up in a table, which takes no list."""

    def __init__(self, in_features: int, out_features: int, data_dim: int, *arguments: Any, **named: Any) -> None:
        known = {1: "sequence", 2: "image", 3: "volume"}
        if known.get(data_dim) is None:
            raise ValueError(f"data_dim must be one of {list(known)}, got {data_dim!r}")
        super().__init__(in_features, out_features, data_dim, *arguments, **named)


class UnbatchedAccepted(Staged):
    """An unbatched input is embedded as a batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[None])[0] if x.ndim == self.data_dim + 1 else super().forward(x)


class RankNotChecked(Staged):
    """The number of axes is left to the convolution, which reads an unbatched image as a batch (H2)."""

    def _check(self, x: Tensor) -> None:
        if x.ndim == self.data_dim + 2:
            super()._check(x)

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tokens: Tensor = self.conv(x.movedim(-1, 1).contiguous())
        return tokens.movedim(1, -1)


class ExtraAxisFolded(Staged):
    """An axis too many becomes part of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)) if x.ndim == self.data_dim + 3 else super().forward(x)


class ExtraChannelsDropped(Staged):
    """Channels past the last expected one are dropped."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., : self.conv.in_channels])


class SingleChannelRepeated(Staged):
    """A single channel is repeated where more are expected."""

    def forward(self, x: Tensor) -> Tensor:
        repeated = x.shape[-1] == 1 < self.conv.in_channels
        return super().forward(x.expand(*x.shape[:-1], self.conv.in_channels) if repeated else x)


class SmallInputsPadded(Staged):
    """An input smaller than the patch is filled up with zeros."""

    def forward(self, x: Tensor) -> Tensor:
        missing = [max(0, self.patch_size - size) for size in x.shape[1:-1]]
        amounts = [0, 0]
        for amount in reversed(missing):
            amounts += [0, amount]
        return super().forward(functional.pad(x, amounts) if any(missing) and x.ndim == self.data_dim + 2 else x)


class SmallInputsOpaque(Staged):
    """The error for an input smaller than the patch comes from inside and names no axis (R33)."""

    def _check(self, x: Tensor) -> None:
        try:
            super()._check(x)
        except ValueError as error:
            if "pixels" in str(error):
                raise RuntimeError("non-positive size in windows") from error
            raise


class SmallInputsEmpty(Staged):
    """An input smaller than the patch gives an empty output."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == self.data_dim + 2 and any(size < self.patch_size for size in x.shape[1:-1]):
            grid = [max(0, (size - self.patch_size) // self.stride + 1) for size in x.shape[1:-1]]
            return torch.empty(x.shape[0], *grid, self.conv.out_channels, dtype=x.dtype, device=x.device)
        return super().forward(x)
