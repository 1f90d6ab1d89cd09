"""Defects that show for some memory layouts only."""

import math

import torch
from torch import Tensor

from tests.mutants.stages import Staged


def _dense_strides(shape: torch.Size) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


class StridesIgnored(Staged):
    """The input's memory is read in order, whatever its strides (R29)."""

    def prepared(self, x: Tensor) -> Tensor:
        expanded = any(stride == 0 for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1)
        return x if expanded else x.as_strided(x.shape, _dense_strides(x.shape))


class OffsetIgnored(Staged):
    """The input's memory is read from its beginning, whatever the storage offset."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.as_strided(x.shape, x.stride(), 0)


class ChannelStrideTakenForOne(Staged):
    """The channels of a pixel are taken to be adjacent in memory."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.as_strided(x.shape, [*x.stride()[:-1], 1])


class InputViewedFlat(Staged):
    """The input is viewed as a matrix, which only some layouts allow."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.view(-1, x.shape[-1]).view(x.shape)


class ExpandedBatchReadOnce(Staged):
    """An expanded batch gives one sample's tokens."""

    def prepared(self, x: Tensor) -> Tensor:
        return x[:1] if x.shape[0] > 1 and x.stride(0) == 0 else x


class OverlappingTakenForExpanded(Staged):
    """Dense samples that share memory are all taken for the first one."""

    def prepared(self, x: Tensor) -> Tensor:
        shared = x.shape[0] > 1 and x[0].is_contiguous() and x.stride(0) < x[0].numel()
        return x[:1].expand_as(x) if shared else x


class MemoryOrderUndoneByItself(Staged):
    """The spatial axes are brought into the order of memory, and back by the same permutation, not by its inverse."""

    def prepared(self, x: Tensor) -> Tensor:
        order = sorted(range(1, x.ndim - 1), key=x.stride, reverse=True)
        around = (0, *order, x.ndim - 1)
        return x.permute(around).permute(around)


class ChannelsFirstMemoryMisread(Staged):
    """An input that is stored channels first is taken for one that has its channels first."""

    def prepared(self, x: Tensor) -> Tensor:
        stored_first = x.movedim(-1, 1).is_contiguous() and not x.is_contiguous()
        return x.reshape(x.shape[0], x.shape[-1], *x.shape[1:-1]).movedim(1, -1) if stored_first else x


class SampleSizeFromStride(Staged):
    """The size of a sample is read off the batch's stride, which means nothing for a batch of one."""

    def prepared(self, x: Tensor) -> Tensor:
        if not x.is_contiguous():
            return x
        return x.as_strided((x.shape[0] * x.stride(0),), (1,)).reshape(x.shape)


class OneChannelChannelsLastWeight(Staged):
    """With one input channel, a channels_last weight is read backwards (R22)."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        channels_last = weight.shape[1] == 1 and weight.stride(1) == 1 and weight[0].numel() > 1
        return weight.flip(-1) if channels_last else weight


class _WeightMemoryMisread(Staged):
    misread_in: int

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if self.data_dim != self.misread_in:
            return weight
        return weight.as_strided(weight.shape, _dense_strides(weight.shape))


class ChannelsLastWeightMisreadInImages(_WeightMemoryMisread):
    """In 2-D the weight's memory is read in order, whatever its strides."""

    misread_in = 2


class ChannelsLastWeightMisreadInVolumes(_WeightMemoryMisread):
    """In 3-D the weight's memory is read in order, whatever its strides."""

    misread_in = 3
