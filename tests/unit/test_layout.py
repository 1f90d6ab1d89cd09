"""Memory layouts: the same values, stored as the layout's name says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from properties.cases.case import LAYOUTS, SHARING
from properties.trials.layout import MARGIN, lay_out


def image(batch: int = 2) -> Tensor:
    """Different numbers, all unlike NaN: ``[batch, 3, 4, 5]``."""
    return torch.arange(1.0, batch * 60 + 1).reshape(batch, 3, 4, 5)


def memory(tensor: Tensor) -> list[float]:
    """Everything in the storage."""
    storage = tensor.untyped_storage()
    whole: list[float] = torch.empty(0, dtype=tensor.dtype).set_(storage).tolist()
    return whole


def repeated(values: Tensor, layout: str) -> Tensor:
    """What a layout repeats of the values: a sample, or all but the last pixel of the sample before."""
    made = values.clone()
    for sample in range(1, len(values) if layout in SHARING else 0):
        made[sample] = made[0]
        if layout == "overlapping":
            made[sample, :-1], made[sample, -1] = made[sample - 1, 1:].clone(), values[sample, -1]
    return made


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in SHARING])
def test_keeps_values(layout: str) -> None:
    given_values = image()
    before = given_values.clone()
    found = lay_out(given_values, layout)
    assert found.dtype == before.dtype
    assert torch.equal(found, before)
    assert found.untyped_storage().data_ptr() != given_values.untyped_storage().data_ptr()
    found.fill_(0)
    assert torch.equal(given_values, before)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 1), (2, 3, 1), (1, 1, 2), (1, 2, 3, 1), (1, 1, 4, 2), (3, 1, 1)])
def test_is_a_copy_where_layouts_coincide(layout: str, shape: tuple[int, ...]) -> None:
    given_values = torch.ones(shape)
    found = lay_out(given_values, layout)
    assert found.untyped_storage().data_ptr() != given_values.untyped_storage().data_ptr()


@given(
    st.lists(st.integers(1, 4), min_size=3, max_size=5),
    st.sampled_from(LAYOUTS),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
)
@settings(max_examples=100)
def test_keeps_values_of_every_shape(shape: list[int], layout: str, dtype: torch.dtype) -> None:
    given_values = torch.arange(math.prod(shape)).reshape(shape).to(dtype)
    expected = repeated(given_values, layout)
    found = lay_out(given_values, layout)
    assert (list(found.shape), found.dtype) == (shape, dtype)
    assert torch.equal(found, expected)


# (strides, offset, whether contiguous) of the image
STORED: dict[str, tuple[tuple[int, ...], int, bool]] = {
    "contiguous": ((60, 20, 5, 1), MARGIN, True),
    "channels_first": ((60, 4, 1, 12), 0, False),
    "transposed": ((1, 2, 6, 24), 0, False),
    "rotated": ((3, 1, 30, 6), 0, False),
    "sliced": ((210, 42, 7, 1), 210 + 42 + 7 + 1, False),
    "stepped": ((960, 160, 20, 2), 0, False),
    "expanded": ((0, 20, 5, 1), 0, False),
    "overlapping": ((20, 20, 5, 1), 0, False),
    "odd_strides": ((60, 20, 5, 1), 0, True),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout: str) -> None:
    found = lay_out(image(), layout)
    assert (found.stride(), found.storage_offset(), found.is_contiguous()) == STORED[layout]


def test_channels_first_is_contiguous_channels_first() -> None:
    assert lay_out(image(), "channels_first").movedim(-1, 1).is_contiguous()


def test_transposed_is_contiguous_backwards() -> None:
    assert lay_out(image(), "transposed").permute(3, 2, 1, 0).is_contiguous()


def test_rotated_is_contiguous_two_axes_on() -> None:
    assert lay_out(image(), "rotated").permute(2, 3, 0, 1).is_contiguous()


def test_odd_strides_are_on_axes_of_one() -> None:
    found = lay_out(image(1), "odd_strides")
    assert found.stride() == (7, 20, 5, 1)
    assert torch.equal(found, image(1))
    thin = lay_out(torch.ones(1, 1, 3, 1), "odd_strides")
    assert thin.stride() == (7, 7, 1, 7)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 3, 1), (1, 1, 3, 1), (5, 1, 2, 1), (1, 1, 1)])
def test_axes_of_one_in_bfloat16(layout: str, shape: tuple[int, ...]) -> None:
    """Where torch's own matrix product may write past the end of its memory if their strides are odd."""
    values = torch.arange(1.0, math.prod(shape) + 1).reshape(shape)
    values = repeated(values, layout)
    found, other = lay_out(values.bfloat16(), layout), lay_out(values, layout)
    assert torch.equal(found, values.bfloat16())
    assert found.storage_offset() == other.storage_offset()
    for axis, size in enumerate(shape):
        inner = found.stride(axis + 1) * shape[axis + 1] if axis + 1 < len(shape) else 1
        assert found.stride(axis) == (inner if size == 1 else other.stride(axis))


def test_overlapping_samples_are_clips_of_one_recording() -> None:
    found = lay_out(image(3), "overlapping")
    assert torch.equal(found[1, :-1], found[0, 1:])
    assert torch.equal(found[:, -1], image(3)[:, -1])
    assert len(memory(found)) == (3 + 2) * 20


def test_expanded_repeats_the_first_sample() -> None:
    found = lay_out(image(3), "expanded")
    assert torch.equal(found, image(3)[:1].repeat(3, 1, 1, 1))
    assert len(memory(found)) == 60


@pytest.mark.parametrize(
    ("layout", "cells"), [("sliced", 4 * 5 * 6 * 7), ("stepped", 4 * 6 * 8 * 10), ("contiguous", 2 * 60 + 2 * MARGIN)]
)
def test_memory_around_elements_is_not_a_number(layout: str, cells: int) -> None:
    found = memory(lay_out(image(), layout))
    assert len(found) == cells
    assert sorted(value for value in found if not math.isnan(value)) == image().flatten().tolist()


@pytest.mark.parametrize("layout", ["channels_first", "transposed", "rotated", "odd_strides"])
def test_dense_layouts_hold_nothing_else(layout: str) -> None:
    assert sorted(memory(lay_out(image(), layout))) == image().flatten().tolist()


def test_reads_views_by_their_strides() -> None:
    view = image().movedim(1, 2)
    for layout in LAYOUTS:
        assert torch.equal(lay_out(view, layout), repeated(view, layout))


def test_unknown_layout() -> None:
    with pytest.raises(AssertionError, match=r"^unknown layout 'round'$"):
        lay_out(image(), "round")
