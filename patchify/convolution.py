"""The strided convolution, channels last at both ends: as torch has it, and as one operator under a compiler."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Eight times as many are still counted in 32 bits: cuDNN works on copies in which channels are filled up to eight.
_MOST_ELEMENTS = 2**28 - 1
# Beyond this stride, with gaps between the windows, oneDNN takes up to minutes, and then ends the process
# (docs/torch-faults.md).
_LONGEST_STRIDE = 2**12


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Multiply every window with the weight and add the bias.

    Args:
        x: ``[B, *s, C_in]``.
        weight: ``[C_out, C_in, P, ...]``.
        bias: ``[C_out]`` or None.
        stride: pixels from one window to the next along each axis.

    Returns:
        ``[B, *g, C_out]``, contiguous.
    """
    patch_size = weight.shape[2]
    if _has_long_gaps(patch_size, stride):
        return convolve(_without_gaps(x, patch_size, stride), weight, bias, patch_size)
    # Not where sizes are symbols: whoever exports the layer reads one convolution.
    most = x.shape[0]
    if x.is_cuda and not torch.compiler.is_compiling():
        most = _samples_at_a_time(x.shape[1:-1], weight, stride)
    if most < x.shape[0]:
        return torch.cat([_convolve(part, weight, bias, stride) for part in torch.split(x, most)])
    return _convolve(x, weight, bias, stride)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    differentiated = x.requires_grad or torch._C._are_functorch_transforms_active()
    axis = _COLUMN if differentiated and _is_unsafe_in_a_row(x.device, x.dtype, weight, stride) else _ROW
    function = functional.conv3d if weight.ndim == 5 else functional.conv2d
    given = _channels_first(x, axis), _channels_second(weight, axis)
    return _channels_last(function(*given, bias, _strides(weight.ndim - 2, stride, axis)), weight.ndim - 2, axis)


def is_whole(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether one call of torch's convolution on CUDA embeds the whole batch."""
    return x.shape[0] <= _samples_at_a_time(x.shape[1:-1], weight, stride)


def _samples_at_a_time(sizes: Sequence[int], weight: Tensor, stride: int) -> int:
    """As many samples as have few enough elements, before and after, for 32 bits to count them in every copy.

    Beyond that torch's convolutions fail on CUDA, some of them by reading past their memory (docs/torch-faults.md).
    """
    # A loop, which Dynamo can trace.
    pixels, tokens = weight.shape[1], weight.shape[0]
    for size in sizes:
        pixels, tokens = pixels * size, tokens * ((size - weight.shape[2]) // stride + 1)
    return max(1, _MOST_ELEMENTS // max(pixels, tokens, 1))


# For CUDA, Inductor compiles the convolution as it is, in less time than an operator of ours takes (docs/cuda.md).
# On CPUs (torch 2.13) it cannot compile most convolutions of volumes once sizes are dynamic, stops at a stride mismatch
# in the backward pass of some images, and compiles others anew at every size. Inside an operator it sees no
# convolution: the graph has one node, which runs what eager mode runs. docs/torch-faults.md has the scripts.
@torch.library.custom_op("patchify::convolve", mutates_args=())
def convolve_opaquely(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """What ``convolve`` computes, by an operator that no compiler looks into; differentiable once."""
    return convolve(x, weight, bias, stride)


@torch.library.custom_op("patchify::input_gradient", mutates_args=())
def input_gradient(cotangent: Tensor, weight: Tensor, sizes: Sequence[int], stride: int) -> Tensor:
    """The gradient ``[B, *sizes, C_in]`` of the input, from the cotangent ``[B, *g, C_out]`` of the output."""
    patch_size = weight.shape[2]
    if _has_long_gaps(patch_size, stride):
        whole = [tokens * patch_size for tokens in cotangent.shape[1:-1]]
        return _with_gaps(input_gradient(cotangent, weight, whole, patch_size), sizes, patch_size, stride)
    parts = []
    for part in torch.split(cotangent, _samples_at_a_time(sizes, weight, stride)):
        # The operator wants an input for its shape and layout, and does not read it.
        unread = part.new_empty(part.shape[0], *sizes, weight.shape[1])
        axis = _COLUMN if _is_unsafe_in_a_row(part.device, part.dtype, weight, stride) else _ROW
        gradient, _, _ = _gradients(part, unread, weight, stride, [True, False, False], axis)
        parts.append(_channels_last(gradient, len(sizes), axis))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@torch.library.custom_op("patchify::weight_gradient", mutates_args=())
def weight_gradient(cotangent: Tensor, x: Tensor, patch_size: int, stride: int) -> Tensor:
    """The gradient ``[C_out, C_in, P, ...]`` of the weight, from the cotangent ``[B, *g, C_out]`` of the output."""
    weight = cotangent.new_empty(cotangent.shape[-1], x.shape[-1], *[patch_size] * (x.ndim - 2))
    most = _samples_at_a_time(x.shape[1:-1], weight, stride)
    total: Tensor | None = None
    for part, of in zip(torch.split(x, most), torch.split(cotangent, most), strict=True):
        _, gradient, _ = _gradients(of, part, weight, stride, [False, True, False], _ROW)
        total = gradient if total is None else total + gradient
    assert total is not None
    return total.reshape(weight.shape).contiguous()


def _gradients(
    cotangent: Tensor, x: Tensor, weight: Tensor, stride: int, wanted: list[bool], axis: int
) -> list[Tensor]:
    strides = _strides(weight.ndim - 2, stride, axis)
    none, ones = [0] * len(strides), [1] * len(strides)
    gradients: list[Tensor] = torch.ops.aten.convolution_backward(
        _channels_first(cotangent, axis), _channels_first(x, axis), _channels_second(weight, axis), None, strides, none,
        ones, False, none, 1, wanted,
    )  # fmt: skip
    return gradients


# A sequence is an image of one row: torch convolves images and volumes channels last, and would copy a sequence. As an
# image of one column it takes oneDNN up to twelve times as long.
_ROW, _COLUMN = 2, 3


def _is_unsafe_in_a_row(device: torch.device, dtype: torch.dtype, weight: Tensor, stride: int) -> bool:
    """Whether oneDNN's input gradient of overlapping windows of a row may write past its memory.

    Seen from a ``C_out * P`` of 20,000 on, with more than one input channel (docs/torch-faults.md).
    """
    overlaps = weight.ndim == 3 and 1 < stride < weight.shape[2]
    many = weight.shape[1] > 1 and weight.shape[0] * weight.shape[2] > 2**14
    return device.type == "cpu" and dtype == torch.float32 and overlaps and many


def _has_long_gaps(patch_size: int, stride: int) -> bool:
    return stride > max(patch_size, _LONGEST_STRIDE)


def _without_gaps(x: Tensor, patch_size: int, stride: int) -> Tensor:
    """``[B, *s, C]`` without the pixels that no window reads: ``[B, *(g * P), C]``."""
    for axis in range(1, x.ndim - 1):
        x = x.index_select(axis, _read(x.shape[axis], patch_size, stride, x.device))
    return x


def _with_gaps(x: Tensor, sizes: Sequence[int], patch_size: int, stride: int) -> Tensor:
    """``[B, *(g * P), C]`` as ``[B, *sizes, C]``, with zeros for the pixels that no window reads."""
    for axis, size in enumerate(sizes, 1):
        full = x.new_zeros(*x.shape[:axis], size, *x.shape[axis + 1 :])
        x = full.index_copy_(axis, _read(size, patch_size, stride, x.device), x)
    return x


def _read(size: int, patch_size: int, stride: int, device: torch.device) -> Tensor:
    """The positions along an axis that windows read, in order: ``[g * P]``."""
    first = torch.arange(0, size - patch_size + 1, stride, device=device)
    return (first[:, None] + torch.arange(patch_size, device=device)).flatten()


def _channels_first(x: Tensor, axis: int) -> Tensor:
    """``[B, *s, C]`` as a view ``[B, C, *s]`` of an image or a volume."""
    return x.movedim(-1, 1).unsqueeze(axis) if x.ndim == 3 else x.movedim(-1, 1)


def _channels_second(weight: Tensor, axis: int) -> Tensor:
    """``[C_out, C_in, P, ...]`` as the weight of an image or a volume."""
    return weight.unsqueeze(axis) if weight.ndim == 3 else weight


def _strides(data_dim: int, stride: int, axis: int) -> list[int]:
    return [stride if axis == _COLUMN else 1, stride if axis == _ROW else 1] if data_dim == 1 else [stride] * data_dim


def _channels_last(x: Tensor, data_dim: int, axis: int) -> Tensor:
    """What torch made of an image or a volume, as ``[B, *s, C]``, contiguous."""
    return (x.squeeze(axis) if data_dim == 1 else x).movedim(1, -1).contiguous()


@convolve_opaquely.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    grid = [(size - weight.shape[2]) // stride + 1 for size in x.shape[1:-1]]
    return x.new_empty(x.shape[0], *grid, weight.shape[0])


@input_gradient.register_fake
def _(cotangent: Tensor, weight: Tensor, sizes: Sequence[int], stride: int) -> Tensor:
    return cotangent.new_empty(cotangent.shape[0], *sizes, weight.shape[1])


@weight_gradient.register_fake
def _(cotangent: Tensor, x: Tensor, patch_size: int, stride: int) -> Tensor:
    return cotangent.new_empty(cotangent.shape[-1], x.shape[-1], *[patch_size] * (x.ndim - 2))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, ctx.stride = inputs
    ctx.sizes = x.shape[1:-1]
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    for_input, for_weight, for_bias, _ = ctx.needs_input_grad
    return (
        input_gradient(cotangent, weight, ctx.sizes, ctx.stride) if for_input else None,
        weight_gradient(cotangent, x, weight.shape[2], ctx.stride) if for_weight else None,
        cotangent.flatten(0, -2).sum(0) if for_bias else None,
        None,
    )


convolve_opaquely.register_autograd(_differentiate, setup_context=_keep)
