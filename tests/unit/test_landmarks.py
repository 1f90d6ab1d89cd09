"""Tests of the layers that are judged in every run."""

import math

import pytest

from properties.cases.case import DTYPES, Case
from properties.cases.landmarks import landmarks

TILES = [2**power for power in range(4, 11)]


def _large_numbers(case: Case) -> dict[str, int]:
    """What a kernel cuts into tiles."""
    along = {f"windows along axis {axis}": windows for axis, windows in enumerate(case.grid)}
    windows = math.prod(case.grid)
    return {
        "input channels": case.spec.in_features,
        "output channels": case.spec.out_features,
        "terms of a sum": case.spec.terms,
        "windows": windows,
        "windows of all samples": case.input.batch * windows,
        **along,
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_every_large_number_ends_within_a_tile(data_dim: int, dtype: str) -> None:
    cases = [case for case in landmarks().values() if case.spec.data_dim == data_dim and case.input.dtype == dtype]
    for name in _large_numbers(cases[0]):
        numbers = [_large_numbers(case)[name] for case in cases]
        for tile in TILES:
            assert any(number > tile and number % tile for number in numbers), (name, tile)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_patches_end_within_a_tile(data_dim: int, dtype: str) -> None:
    cases = [case for case in landmarks().values() if case.spec.data_dim == data_dim and case.input.dtype == dtype]
    assert any(case.spec.patch_size > 16 and case.spec.patch_size % 16 for case in cases)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_windows_thousands_of_pixels_apart(data_dim: int, dtype: str) -> None:
    cases = [case for case in landmarks().values() if case.spec.data_dim == data_dim and case.input.dtype == dtype]
    far = [case for case in cases if case.spec.effective_stride > max(2**11, case.spec.patch_size)]
    assert any(math.prod(case.grid) > 1 for case in far)


@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_more_windows_than_a_cuda_grid_has_blocks(data_dim: int) -> None:
    assert any(case.spec.data_dim == data_dim and math.prod(case.grid) > 65_535 for case in landmarks().values())
