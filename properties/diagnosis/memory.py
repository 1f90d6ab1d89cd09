"""Memory of the input or of the weight that is not read where its strides say."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from properties.cases.case import Case
from properties.diagnosis.probe import Given, Look, Seen, stored
from properties.trials.layout import CHANNELS_LAST


def misread_memory(case: Case, look: Look, seen: tuple[Seen, ...]) -> str | None:
    """The memory of the input or of the weight is not read where its strides say."""
    for words, misread in _misreadings(case):
        if all(one.found.shape == one.given.right.shape and one.agrees(misread(one.given).right) for one in seen):
            return words
    return None


def _misreadings(case: Case) -> Iterator[tuple[str, Callable[[Given], Given]]]:
    layout = case.input.layout

    def reading(words: str, read: Callable[[Tensor], Tensor]) -> tuple[str, Callable[[Given], Given]]:
        return words, lambda given: replace(given, x=read(stored(given.x, layout)))

    if layout != "contiguous":
        yield reading(
            "the input's memory is read in order, whatever its strides",
            lambda x: _strided(x, dense_strides(x), int(x.storage_offset())),
        )
        yield reading(
            "the input's memory is read in order from its beginning, whatever its strides and offset",
            lambda x: _strided(x, dense_strides(x), 0),
        )
        yield reading(
            "the input's memory is read from its beginning, whatever its offset",
            lambda x: _strided(x, x.stride(), 0),
        )
        yield reading(
            "the channels of a pixel are taken to be adjacent in memory",
            lambda x: _strided(x, [*x.stride()[:-1], 1], int(x.storage_offset())),
        )
        yield reading(
            "an input that is stored channels first is taken for one that has its channels first",
            lambda x: x.reshape(x.shape[0], x.shape[-1], *x.shape[1:-1]).movedim(1, -1),
        )
        yield reading("only the first sample of the memory is read", lambda x: x[:1].expand(x.shape))
    if case.weight_layout == "channels_last":
        kind = CHANNELS_LAST[case.spec.data_dim]

        def in_order(given: Given) -> Given:
            stored = given.weight.to(memory_format=kind)
            return replace(given, weight=_strided(stored, dense_strides(stored), 0))

        yield "the weight's memory is read in order, whatever its strides", in_order


def _strided(x: Tensor, strides: Sequence[int], offset: int) -> Tensor:
    """Memory as it is read with other strides; the tensor itself where that leaves the memory."""
    last = offset + sum((n - 1) * stride for n, stride in zip(x.shape, strides, strict=True))
    inside = (last + 1) * x.element_size() <= x.untyped_storage().nbytes()
    return x.as_strided(x.shape, strides, offset) if inside else x


def dense_strides(x: Tensor) -> list[int]:
    """The strides of a contiguous tensor of the same shape."""
    return [math.prod(x.shape[axis + 1 :]) for axis in range(x.ndim)]
