"""Patch embedding by one linear map of windows that are made explicitly."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from patchify.compiling import needs_operators
from patchify.layer import Patchify


class LinearPatchify(Patchify):
    """The same layer as ``Patchify``, computed as one matrix product.

    Constructor, parameters, state dict, shapes and errors are those of ``Patchify``: either loads the other's weights.
    Every window is copied into a row of a matrix, which is then multiplied by the weight. Without overlap that matrix
    is as large as the input; overlapping windows make it ``(P/S)**d`` times as large, and it is kept for the backward
    pass where the weight requires a gradient.
    """

    def _embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        cut = cut_windows_opaquely if needs_operators() else cut_windows
        tokens = functional.linear(cut(x, self.patch_size, self.stride), weight.movedim(1, -1).flatten(1))
        # Outside linear(), bias or not: Inductor stops at the layout of what comes straight from a matrix product.
        return tokens + (0 if bias is None else bias)


def cut_windows(x: Tensor, patch_size: int, stride: int) -> Tensor:
    """All windows of ``[B, *s, C]``, as rows ``[B, *g, P**d * C]``.

    One axis after the other, from the first: that copies longer runs of memory than all axes at once.
    """
    # Before `axis` all axes are cut: [B, g, ..., taps, s, ..., C].
    windows = x.unsqueeze(1)
    for axis in range(1, x.ndim - 1):
        cut = windows.unfold(axis + 1, patch_size, stride)
        windows = cut.movedim((axis, -1), (axis + 1, axis + 2)).flatten(axis + 1, axis + 2)
    return windows.flatten(x.ndim - 1)


# Inductor (torch 2.13, CPU) writes past its memory in the backward pass of unfold; inside an operator it sees none.
# docs/torch-faults.md has the script.
@torch.library.custom_op("patchify::cut_windows", mutates_args=())
def cut_windows_opaquely(x: Tensor, patch_size: int, stride: int) -> Tensor:
    """What ``cut_windows`` computes, by an operator that no compiler looks into; differentiable once."""
    windows = cut_windows(x, patch_size, stride)
    # Windows that lie in the input side by side are a view of it, which no operator may return.
    viewed = windows.data_ptr() == x.data_ptr()
    return windows.clone(memory_format=torch.contiguous_format) if viewed else windows.contiguous()


@torch.library.custom_op("patchify::add_windows", mutates_args=())
def add_windows(windows: Tensor, sizes: Sequence[int], patch_size: int, stride: int) -> Tensor:
    """The adjoint of ``cut_windows``: every pixel ``[B, *sizes, C]`` is the sum of what windows hold for it."""
    grid, channels = windows.shape[1:-1], windows.shape[-1] // patch_size ** len(sizes)
    for axis in reversed(range(1, len(sizes) + 1)):
        # Behind the windows of this axis come its taps, behind those of the axes before it.
        taps = patch_size ** (axis - 1)
        cut = windows.reshape(*windows.shape[:axis], grid[axis - 1], taps, patch_size, *sizes[axis:], channels)
        cut = cut.movedim((axis, axis + 2), (axis + 1, -1))
        shape = [*cut.shape[: axis + 1], sizes[axis - 1], *cut.shape[axis + 2 : -1]]
        windows = torch.ops.aten.unfold_backward(cut, shape, axis + 1, patch_size, stride)
    return windows.squeeze(1)


@cut_windows_opaquely.register_fake
def _(x: Tensor, patch_size: int, stride: int) -> Tensor:
    grid = [(size - patch_size) // stride + 1 for size in x.shape[1:-1]]
    return x.new_empty(x.shape[0], *grid, patch_size ** len(grid) * x.shape[-1])


@add_windows.register_fake
def _(windows: Tensor, sizes: Sequence[int], patch_size: int, stride: int) -> Tensor:
    return windows.new_empty(windows.shape[0], *sizes, windows.shape[-1] // patch_size ** len(sizes))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.patch_size, ctx.stride = inputs
    ctx.sizes = x.shape[1:-1]


def _differentiate(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    return add_windows(cotangent, ctx.sizes, ctx.patch_size, ctx.stride), None, None


cut_windows_opaquely.register_autograd(_differentiate, setup_context=_keep)
