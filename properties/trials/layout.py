"""Memory layouts: the same values, stored differently."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# How a weight is stored channels last, by data_dim; torch has no such format for a sequence.
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
# Elements before and after those of a contiguous tensor: as many as keep it aligned as a new one would be.
MARGIN = 1024


def lay_out(values: Tensor, layout: str) -> Tensor:
    """A new tensor of the given layout, with the given values; it shares no memory with them.

    An ``expanded`` tensor repeats its first sample; the samples of an ``overlapping`` one are clips of one recording,
    each a pixel on from the one before it along the first spatial axis. A ``rotated`` one is stored with its axes two
    places on, which no swap of two undoes. Memory before and after the elements of a ``contiguous`` one, and between
    those of a ``sliced`` or ``stepped`` one, holds NaN, so that whoever reads it is found out.

    In bfloat16 on a CPU axes of size 1 have no odd strides (see ``with_plain_ones``).

    Args:
        values: ``[B, *s, C]``.
        layout: a name from ``properties.cases.case.LAYOUTS``.
    """
    laid = _laid_out(values, layout)
    return with_plain_ones(laid) if laid.dtype == torch.bfloat16 and laid.device.type == "cpu" else laid


def with_plain_ones(x: Tensor) -> Tensor:
    """A view in which axes of size 1 have the strides that they would have in a new tensor.

    With others torch's own matrix product in bfloat16 on a CPU may write past the end of its memory, whatever the layer
    (``docs/torch-faults.md`` says when): what crashes is then torch, and what does not crash is not to be trusted.
    """
    # A view takes such strides from the axis after one of size 1; there is one after the last.
    return x.unsqueeze(-1).view(x.shape)


def _laid_out(values: Tensor, layout: str) -> Tensor:
    match layout:
        case "contiguous":
            around = values.new_full((values.numel() + 2 * MARGIN,), math.nan)
            return around[MARGIN:-MARGIN].view(values.shape).copy_(values)
        case "channels_first":
            return _stored(values, (0, values.ndim - 1, *range(1, values.ndim - 1)))
        case "transposed":
            return _stored(values, range(values.ndim - 1, -1, -1))
        case "rotated":
            return _stored(values, (*range(2, values.ndim), 0, 1))
        case "sliced":
            around = values.new_full([n + 2 for n in values.shape], math.nan)
            inside = around[(slice(1, -1),) * values.ndim]
            return inside.copy_(values)
        case "stepped":
            between = values.new_full([2 * n for n in values.shape], math.nan)
            every_second = between[(slice(None, None, 2),) * values.ndim]
            return every_second.copy_(values)
        case "expanded":
            return values[:1].clone(memory_format=torch.contiguous_format).expand_as(values)
        case "overlapping":
            recording = torch.cat([values[0], values[1:, -1]])
            return recording.unfold(0, values.shape[1], 1).movedim(-1, 1)
        case "odd_strides":
            plain = values.clone(memory_format=torch.contiguous_format)
            strides = [7 if n == 1 else stride for n, stride in zip(plain.shape, plain.stride(), strict=True)]
            return plain.as_strided(plain.shape, strides)
        case _:
            raise AssertionError(f"unknown layout {layout!r}")


def _stored(values: Tensor, order: Sequence[int]) -> Tensor:
    """A copy whose axes lie in memory in the given order, the slowest first."""
    dense = values.permute(*order).clone(memory_format=torch.contiguous_format)
    return dense.permute(*sorted(range(values.ndim), key=order.__getitem__))
