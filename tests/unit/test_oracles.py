"""The oracles against what is known without them: hand-written lists, autograd, finite differences, each other."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oracles import adjoint, agreement, loops, unfold, windows
from oracles.agreement import OracleError, check_oracles

# (size, patch_size, stride, first pixel of every window)
ORIGINS: tuple[tuple[int, int, int, list[int]], ...] = (
    (7, 3, 1, [0, 1, 2, 3, 4]),  # S < P
    (7, 3, 2, [0, 2, 4]),  # S < P, exact fit
    (8, 3, 2, [0, 2, 4]),  # and a remainder of one
    (6, 3, 3, [0, 3]),  # S = P
    (8, 3, 3, [0, 3]),  # and a remainder of two
    (9, 2, 3, [0, 3, 6]),  # S > P, a gap at the end
    (8, 2, 3, [0, 3, 6]),  # exact fit
    (7, 2, 3, [0, 3]),
    (3, 3, 9, [0]),  # one window
    (2, 3, 1, []),  # none
    (1, 1, 1, [0]),
)
# (sizes, patch_size, stride, '1' where a pixel is covered)
COVERED = (
    ((7,), 3, 3, ["1111110"]),
    ((8,), 2, 3, ["11011011"]),
    ((9,), 2, 3, ["110110110"]),
    ((6,), 3, 2, ["111110"]),
    ((4, 5), 2, 3, ["11011", "11011", "00000", "00000"]),
    ((3, 3), 2, 2, ["110", "110", "000"]),
)


@pytest.mark.parametrize(("size", "patch_size", "stride", "expected"), ORIGINS)
def test_origins(size: int, patch_size: int, stride: int, expected: list[int]) -> None:
    assert windows.origins(size, patch_size, stride) == expected
    found = [window[0].start for _, window in loops.windows((size,), patch_size, stride)]
    assert found == expected


def test_grid() -> None:
    assert windows.grid((7, 8, 3), 3, 2) == (3, 3, 1)
    assert windows.grid((9, 2), 2, 3) == (3, 1)


@pytest.mark.parametrize(("sizes", "patch_size", "stride", "expected"), COVERED)
def test_covered(sizes: tuple[int, ...], patch_size: int, stride: int, expected: list[str]) -> None:
    found = windows.covered(sizes, patch_size, stride)
    assert found.dtype == np.bool_
    assert found.shape == sizes
    rows = found.reshape(-1, sizes[-1]).astype(int).tolist()
    assert ["".join(map(str, row)) for row in rows] == expected


def test_patches_are_ordered_by_channel_then_tap() -> None:
    x = torch.arange(8).reshape(1, 4, 2)
    assert unfold.patches(x, 2, 2).tolist() == [[[0, 2, 1, 3], [4, 6, 5, 7]]]
    image = torch.arange(9).reshape(1, 3, 3, 1)
    expected = [[[[0, 1, 3, 4], [1, 2, 4, 5]], [[3, 4, 6, 7], [4, 5, 7, 8]]]]
    assert unfold.patches(image, 2, 1).tolist() == expected


# (in_features, out_features, data_dim, patch_size, stride, extra pixels, batch)
layers = st.tuples(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
    st.integers(1, 2),
    st.integers(0, 2**32 - 1),
)
Drawn = tuple[int, int, int, int, int, list[int], int, int]


def tensors(drawn: Drawn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random input, weight, bias and cotangent, in float64."""
    in_features, out_features, data_dim, patch_size, stride, extra, batch, seed = drawn
    generator = torch.Generator().manual_seed(seed)
    sizes = tuple(patch_size + more for more in extra[:data_dim])
    grid = windows.grid(sizes, patch_size, stride)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    x, weight = draw(batch, *sizes, in_features), draw(out_features, in_features, *[patch_size] * data_dim)
    return x, weight, draw(out_features), draw(batch, *grid, out_features)


@given(layers)
@settings(max_examples=60)
def test_two_oracles_agree(drawn: Drawn) -> None:
    x, weight, bias, cotangent = tensors(drawn)
    stride = drawn[4]
    expected = loops.forward(x.numpy(), weight.numpy(), bias.numpy(), stride)
    torch.testing.assert_close(unfold.forward(x, weight, bias, stride), torch.from_numpy(expected))
    without = torch.from_numpy(loops.forward(x.numpy(), weight.numpy(), None, stride))
    torch.testing.assert_close(unfold.forward(x, weight, None, stride), without)
    for_input, for_weight, for_bias = loops.gradients(cotangent.numpy(), x.numpy(), weight.numpy(), stride)
    sizes, patch_size = tuple(x.shape[1:-1]), weight.shape[-1]
    torch.testing.assert_close(adjoint.input_gradient(cotangent, weight, sizes, stride), torch.from_numpy(for_input))
    found = adjoint.weight_gradient(cotangent, x, patch_size, stride)
    torch.testing.assert_close(found, torch.from_numpy(for_weight))
    torch.testing.assert_close(adjoint.bias_gradient(cotangent), torch.from_numpy(for_bias))


@given(layers)
@settings(max_examples=60)
def test_adjoint_is_autograd_of_the_oracle(drawn: Drawn) -> None:
    x, weight, bias, cotangent = (tensor.requires_grad_() for tensor in tensors(drawn))
    stride = drawn[4]
    by_autograd = torch.autograd.grad(unfold.forward(x, weight, bias, stride), [x, weight, bias], cotangent)
    with torch.no_grad():
        by_hand = (
            adjoint.input_gradient(cotangent, weight, tuple(x.shape[1:-1]), stride),
            adjoint.weight_gradient(cotangent, x, weight.shape[-1], stride),
            adjoint.bias_gradient(cotangent),
        )
    for found, expected in zip(by_hand, by_autograd, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("data_dim", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_adjoint_is_what_differences_say(data_dim: int, stride: int) -> None:
    # The sum of cotangent times tokens is linear in each argument, so a difference of one is its exact derivative.
    x, weight, bias, cotangent = (
        (4 * tensor).round().long() for tensor in tensors((2, 2, data_dim, 2, stride, [2, 3, 1], 2, 7))
    )

    def total(x: Tensor, weight: Tensor, bias: Tensor) -> int:
        return int((cotangent * unfold.forward(x, weight, bias, stride)).sum())

    gradients = (
        adjoint.input_gradient(cotangent, weight, tuple(x.shape[1:-1]), stride),
        adjoint.weight_gradient(cotangent, x, 2, stride),
        adjoint.bias_gradient(cotangent),
    )
    arguments = (x, weight, bias)
    start = total(*arguments)
    for number, gradient in enumerate(gradients):
        for place in range(arguments[number].numel()):
            moved = [argument.clone() for argument in arguments]
            moved[number].view(-1)[place] += 1
            assert total(moved[0], moved[1], moved[2]) - start == gradient.reshape(-1)[place]


def test_oracle_is_the_convolution_of_torch() -> None:
    x, weight, bias, _ = tensors((3, 2, 2, 3, 2, [4, 3, 0], 2, 11))
    expected = torch.nn.functional.conv2d(x.movedim(-1, 1), weight, bias, stride=2).movedim(1, -1)
    torch.testing.assert_close(unfold.forward(x, weight, bias, 2), expected)


@given(st.lists(st.integers(1, 5), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_matrix_product_of_integers(shape: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batch, n, k, m = shape
    left = torch.randint(-(2**20), 2**20, (batch, n, k), generator=generator)
    right = torch.randint(-(2**20), 2**20, (k, m), generator=generator)
    found = unfold.matrix_product(left, right)
    assert found.dtype == torch.int64
    assert torch.equal(found, left @ right)
    assert torch.equal(unfold.matrix_product(left.double(), right.double()), (left @ right).double())


def test_number_of_comparisons() -> None:
    # Four results, by two dtypes of one oracle and by the other; and per shape two dtypes, and the covered pixels.
    assert check_oracles() == 4 * 3 * len(agreement.WORKED) + (4 * 2 + 1) * len(agreement.SHAPES) == 117
    assert check_oracles(torch.device("cpu")) == 117


def test_every_dimensionality_is_compared() -> None:
    assert {len(shape[-1]) for shape in agreement.SHAPES} == {1, 2, 3}
    assert {np.ndim(worked.x) - 2 for worked in agreement.WORKED} == {1, 2, 3}
    orders = {(patch > stride) - (patch < stride) for _, _, patch, stride, _, _ in agreement.SHAPES}
    assert orders == {-1, 0, 1}


def off_by_one(original: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with one added to the last element of what it returns."""

    def broken(*arguments: Any) -> Any:
        result = original(*arguments)
        result.reshape(-1)[-1] += 1
        return result

    return broken


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (
            unfold,
            "forward",
            "the torch oracle in torch.int64 on a sequence with a remainder: tokens is [[[121], [144]]], "
            "expected [[[121], [143]]]",
        ),
        (
            adjoint,
            "input_gradient",
            "the torch oracle in torch.int64 on a sequence with a remainder: input gradient is "
            "[[[1], [10], [2], [20], [1]]], expected [[[1], [10], [2], [20], [0]]]",
        ),
        (
            adjoint,
            "weight_gradient",
            "the torch oracle in torch.int64 on a sequence with a remainder: weight gradient is [[[7, 11]]], "
            "expected [[[7, 10]]]",
        ),
        (
            adjoint,
            "bias_gradient",
            "the torch oracle in torch.int64 on a sequence with a remainder: bias gradient is [4], expected [3]",
        ),
        (
            loops,
            "forward",
            "the NumPy oracle on a sequence with a remainder: tokens is [[[121], [144]]], expected [[[121], [143]]]",
        ),
    ],
)
def test_broken_oracle_is_found(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, message: str) -> None:
    monkeypatch.setattr(module, name, off_by_one(getattr(module, name)))
    with pytest.raises(OracleError, match=f"^{re.escape(message)}$"):
        check_oracles()


def test_oracle_that_is_wrong_on_shapes_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = unfold.forward

    def wrong_for_three_channels(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        return right(x, weight, bias, stride) + (x.shape[-1] == 3)

    monkeypatch.setattr(unfold, "forward", wrong_for_three_channels)
    start = "the torch oracle in torch.int64 on sizes (9,), patch_size 2, stride 3: tokens is "
    with pytest.raises(OracleError, match=f"^{re.escape(start)}"):
        check_oracles()


def test_oracle_that_is_wrong_in_floating_point_only_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = unfold.forward

    def rounded(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        return right(x, weight, bias, stride) + (0.5 if x.is_floating_point() else 0)

    monkeypatch.setattr(unfold, "forward", rounded)
    with pytest.raises(
        OracleError, match=r"^the torch oracle in torch\.float64 on a sequence with a remainder: tokens"
    ):
        check_oracles()


def test_wrong_windows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "covered", lambda sizes, patch_size, stride: np.ones(sizes, dtype=bool))
    with pytest.raises(OracleError, match=r"^windows on sizes \(8,\), patch_size 3, stride 2: covered pixels is "):
        check_oracles()
