"""Patch embedding by one strided convolution, channels last at both ends."""

from numbers import Integral

import torch
from torch import Tensor, nn

from patchify.compiling import needs_operators
from patchify.convolution import convolve, convolve_opaquely, is_whole

_CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
_HALF_PRECISION = (torch.float16, torch.bfloat16)
_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}


class Patchify(nn.Module):
    """Embed every patch of a signal into a token with one learned linear map.

    Along each spatial axis, window ``i`` covers the ``P`` pixels from ``i*S`` on. The ``C_in * P**d`` values of a
    window, times the weight, plus the bias, are one token; a convolution with ``kernel_size=P`` and ``stride=S`` does
    that for all windows at once, under ``torch.compile`` too. Pixels that no window covers have no
    influence: where ``s - P`` is no multiple of ``S`` the last pixels of the axis, and where ``S > P`` the gaps between
    windows. Pad the input first if they matter.

    Shapes:
        input ``[B, *s, C_in]``, output ``[B, *g, C_out]``, contiguous, with ``g = floor((s - P) / S) + 1`` on every
        axis, which is ``s // P`` where ``S = P``. Dtype and device are those of the input.

    Examples:
        >>> Patchify(64, 128, data_dim=1, patch_size=4)(torch.zeros(2, 256, 64)).shape
        torch.Size([2, 64, 128])
        >>> Patchify(3, 768, data_dim=2, patch_size=16)(torch.zeros(8, 224, 224, 3)).shape
        torch.Size([8, 14, 14, 768])
        >>> Patchify(1, 256, data_dim=3, patch_size=8)(torch.zeros(2, 64, 64, 64, 1)).shape
        torch.Size([2, 8, 8, 8, 256])

    Args:
        in_features: channels of the input, ``C_in``.
        out_features: channels of a token, ``C_out``.
        data_dim: number of spatial axes ``d``: 1 (sequence), 2 (image) or 3 (volume).
        patch_size: pixels along each side of a patch, ``P``.
        stride: pixels from one patch to the next along each axis, ``S``; ``None`` means ``patch_size``. Smaller values
            give overlapping patches, larger ones leave gaps.
        bias: whether the linear map has a bias.

    Attributes:
        conv: the convolution; it holds the parameters, ``weight`` ``[C_out, C_in, P, ...]`` and ``bias`` ``[C_out]``,
            which ``forward`` reads; ``conv`` itself is not called, so hooks on it do not run.
        data_dim, patch_size, stride: the effective values.

    Raises:
        ValueError: where ``data_dim`` is not 1, 2 or 3, or a size is not positive.
        TypeError: where a size is not an integer, or ``bias`` is not a boolean.
    """

    data_dim: int
    patch_size: int
    stride: int
    conv: nn.Conv1d | nn.Conv2d | nn.Conv3d

    def __init__(
        self,
        in_features: int,
        out_features: int,
        data_dim: int,
        patch_size: int,
        stride: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(data_dim, bool) or not isinstance(data_dim, Integral) or data_dim not in _CONVOLUTIONS:
            raise ValueError(f"data_dim must be 1, 2 or 3, got {data_dim!r}")
        if not isinstance(bias, bool):
            raise TypeError(f"bias must be True or False, got {bias!r}")
        self.data_dim = int(data_dim)
        self.patch_size = _positive_integer("patch_size", patch_size)
        self.stride = self.patch_size if stride is None else _positive_integer("stride", stride)
        self.conv = _CONVOLUTIONS[self.data_dim](
            _positive_integer("in_features", in_features),
            _positive_integer("out_features", out_features),
            kernel_size=self.patch_size,
            stride=self.stride,
            padding=0,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embed a batch.

        Args:
            x: ``[B, *s, C_in]``, every size at least ``patch_size``. The batch may be empty.

        Returns:
            ``[B, *g, C_out]``.

        Raises:
            ValueError: where the number of axes, the number of channels or a size does not fit.
            TypeError: where the dtype is not that of the parameters, and autocast is off.
        """
        self._check(x)
        autocast = _autocast_dtype(x)
        dtype = autocast or x.dtype
        # On CPUs half precision is slow where there are no instructions for it, and where there are some, torch 2.13
        # has kernels that give wrong sums, let NaN into windows that do not cover it, or read and write past their
        # memory (docs/torch-faults.md). float32 is none of that, and rounded once.
        wide = torch.float32 if x.device.type == "cpu" and dtype in _HALF_PRECISION else dtype
        weight, bias = self.conv.weight, self.conv.bias
        if autocast is None and wide == dtype:
            return self._embed(x, weight, bias)
        with torch.autocast(x.device.type, enabled=False):
            tokens = self._embed(x.to(wide), weight.to(wide), None if bias is None else bias.to(wide))
        return tokens.to(dtype)

    def _embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.patch_size == 1 < self.stride:
            # With a remainder oneDNN's weight gradient of such images writes past its memory (docs/torch-faults.md).
            for axis in range(1, x.ndim - 1):
                x = x.narrow(axis, 0, (x.shape[axis] - 1) // self.stride * self.stride + 1)
        opaque = needs_operators() and not (x.is_cuda and is_whole(x, weight, self.stride))
        return (convolve_opaquely if opaque else convolve)(x, weight, bias, self.stride)

    def _check(self, x: Tensor) -> None:
        if x.ndim != self.data_dim + 2:
            advice = "; add a batch axis with x.unsqueeze(0)" if x.ndim == self.data_dim + 1 else ""
            raise ValueError(
                f"input must be [B, {_AXES[self.data_dim]}, C] with {self.data_dim + 2} axes, "
                f"got {x.ndim} axes, shape {list(x.shape)}{advice}"
            )
        if x.shape[-1] != self.conv.in_channels:
            raise ValueError(
                f"the last axis must have in_features {self.conv.in_channels} channels, got {x.shape[-1]}, "
                f"shape {list(x.shape)}"
            )
        for axis in range(1, self.data_dim + 1):
            if x.shape[axis] < self.patch_size:
                raise ValueError(
                    f"axis {axis} has {x.shape[axis]} pixels, fewer than patch_size {self.patch_size}, "
                    f"shape {list(x.shape)}"
                )
        if x.dtype != self.conv.weight.dtype and _autocast_dtype(x) is None:
            raise TypeError(f"input is {x.dtype}, but conv.weight is {self.conv.weight.dtype}: convert one with .to()")


def _autocast_dtype(x: Tensor) -> torch.dtype | None:
    """What autocast makes of a tensor that is multiplied, None where it is off or, as for float64, does nothing."""
    kind = x.device.type
    # On "meta", where nothing is computed, torch refuses to say. Dynamo of torch 2.11 cannot trace
    # is_autocast_available().
    applies = kind != "meta" and torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return torch.get_autocast_dtype(kind) if applies else None


def _positive_integer(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a positive integer, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)
