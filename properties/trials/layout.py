"""Memory layouts: the same values, stored differently."""

import math

import torch
from torch import Tensor

# How a weight is stored channels last, by data_dim; torch has no such format for a sequence.
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
# Elements before and after those of a contiguous tensor: as many as keep it aligned as a new one would be.
MARGIN = 1024


def lay_out(values: Tensor, layout: str) -> Tensor:
    """A new tensor of the given layout, with the given values; it shares no memory with them.

    An ``expanded`` tensor repeats its first sample. Memory before and after the elements of a ``contiguous`` one, and
    between those of a ``sliced`` or ``stepped`` one, holds NaN, so that whoever reads it is found out.

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
            return values.movedim(-1, 1).clone(memory_format=torch.contiguous_format).movedim(1, -1)
        case "transposed":
            backwards = tuple(reversed(range(values.ndim)))
            return values.permute(backwards).clone(memory_format=torch.contiguous_format).permute(backwards)
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
        case "odd_strides":
            plain = values.clone(memory_format=torch.contiguous_format)
            strides = [7 if n == 1 else stride for n, stride in zip(plain.shape, plain.stride(), strict=True)]
            return plain.as_strided(plain.shape, strides)
        case _:
            raise AssertionError(f"unknown layout {layout!r}")
