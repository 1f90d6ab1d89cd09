"""The production layer: the documentation's examples, what it is made of, and every refusal in its own words."""

import doctest
import re
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional

from patchify import Patchify, layer

DOCUMENTED = (
    (Patchify(in_features=64, out_features=128, data_dim=1, patch_size=4), (2, 256, 64), (2, 64, 128)),
    (Patchify(in_features=3, out_features=768, data_dim=2, patch_size=16), (8, 224, 224, 3), (8, 14, 14, 768)),
    (Patchify(in_features=1, out_features=256, data_dim=3, patch_size=8), (2, 64, 64, 64, 1), (2, 8, 8, 8, 256)),
)
GOOD: dict[str, Any] = {"in_features": 2, "out_features": 3, "data_dim": 2, "patch_size": 4, "stride": 2, "bias": True}


@pytest.mark.parametrize(("patchify", "given", "expected"), DOCUMENTED, ids=["1D", "2D", "3D"])
def test_documented_example(patchify: Patchify, given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    with torch.no_grad():
        tokens: Tensor = patchify(torch.randn(given))
    assert tuple(tokens.shape) == expected


def test_docstring_examples() -> None:
    results = doctest.testmod(layer)
    assert (results.failed, results.attempted) == (0, 3)


def test_demo() -> None:
    finished = subprocess.run([sys.executable, "-m", "patchify"], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    first, *lines = finished.stdout.splitlines()
    assert re.fullmatch(r"Patchify on \w+(:\d+)?", first)
    assert lines == [
        "  sequence  [2, 256, 64] -> [2, 64, 128]  patch_size 4",
        "  image     [8, 224, 224, 3] -> [8, 14, 14, 768]  patch_size 16",
        "  volume    [2, 64, 64, 64, 1] -> [2, 8, 8, 8, 256]  patch_size 8",
    ]


@pytest.mark.parametrize("value", [0, 4, -1, True, 2.0, "2", None], ids=repr)
def test_refuses_data_dim(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"data_dim must be 1, 2 or 3, got {value!r}") + "$"):
        Patchify(**(GOOD | {"data_dim": value}))


@pytest.mark.parametrize("name", ["in_features", "out_features", "patch_size", "stride"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (False, TypeError), (1.0, TypeError), ("1", TypeError)],
    ids=repr,
)
def test_refuses_size(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{name} must be a positive integer, got {re.escape(repr(value))}$"):
        Patchify(**(GOOD | {name: value}))


@pytest.mark.parametrize("name", ["in_features", "out_features", "patch_size"])
def test_refuses_none(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a positive integer, got None$"):
        Patchify(**(GOOD | {name: None}))


@pytest.mark.parametrize("value", [1, 0, None, "yes"], ids=repr)
def test_refuses_bias(value: object) -> None:
    with pytest.raises(TypeError, match=f"^bias must be True or False, got {value!r}$"):
        Patchify(**(GOOD | {"bias": value}))


@pytest.mark.parametrize(
    ("data_dim", "shape", "message"),
    [
        (
            1,
            (9, 2),
            "input must be [B, L, C] with 3 axes, got 2 axes, shape [9, 2]; add a batch axis with x.unsqueeze(0)",
        ),
        (1, (1, 9, 9, 2), "input must be [B, L, C] with 3 axes, got 4 axes, shape [1, 9, 9, 2]"),
        (
            2,
            (2, 9, 2),
            "input must be [B, H, W, C] with 4 axes, got 3 axes, shape [2, 9, 2]; add a batch axis with x.unsqueeze(0)",
        ),
        (2, (2,), "input must be [B, H, W, C] with 4 axes, got 1 axes, shape [2]"),
        (3, (), "input must be [B, D, H, W, C] with 5 axes, got 0 axes, shape []"),
        (2, (1, 9, 9, 3), "the last axis must have in_features 2 channels, got 3, shape [1, 9, 9, 3]"),
        (2, (1, 2, 9, 9), "the last axis must have in_features 2 channels, got 9, shape [1, 2, 9, 9]"),
        (2, (1, 3, 9, 2), "axis 1 has 3 pixels, fewer than patch_size 4, shape [1, 3, 9, 2]"),
        (3, (1, 4, 9, 0, 2), "axis 3 has 0 pixels, fewer than patch_size 4, shape [1, 4, 9, 0, 2]"),
    ],
)
def test_refuses_input(data_dim: int, shape: tuple[int, ...], message: str) -> None:
    patchify = Patchify(**(GOOD | {"data_dim": data_dim}))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        patchify(torch.zeros(shape))


@pytest.mark.parametrize(("data_dim", "convolution"), [(1, nn.Conv1d), (2, nn.Conv2d), (3, nn.Conv3d)])
def test_attributes(data_dim: int, convolution: type[nn.Module]) -> None:
    patchify = Patchify(2, 3, data_dim, 4, stride=5)
    assert type(patchify.conv) is convolution
    assert (patchify.data_dim, patchify.patch_size, patchify.stride) == (data_dim, 4, 5)
    assert patchify.conv.kernel_size == (4,) * data_dim
    assert patchify.conv.stride == (5,) * data_dim
    assert patchify.conv.padding == (0,) * data_dim
    assert Patchify(2, 3, data_dim, 4).stride == 4


def test_state_dict_keys() -> None:
    assert list(Patchify(**GOOD).state_dict()) == ["conv.weight", "conv.bias"]
    assert list(Patchify(**(GOOD | {"bias": False})).state_dict()) == ["conv.weight"]


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8])
def test_numpy_integers_are_integers(integer: type[Any]) -> None:
    sizes = {name: integer(value) for name, value in GOOD.items() if name != "bias"}
    patchify = Patchify(**sizes)
    assert {name: type(getattr(patchify, name)) for name in ("data_dim", "patch_size", "stride")} == {
        "data_dim": int,
        "patch_size": int,
        "stride": int,
    }
    assert (patchify.data_dim, patchify.patch_size, patchify.stride) == (2, 4, 2)
    assert patchify.conv.weight.shape == (3, 2, 4, 4)


@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_empty_batch(data_dim: int) -> None:
    patchify = Patchify(2, 3, data_dim, 2)
    x = torch.zeros(0, *[5] * data_dim, 2, requires_grad=True)
    tokens = patchify(x)
    assert tuple(tokens.shape) == (0, *[2] * data_dim, 3)
    tokens.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    for parameter in patchify.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_values_by_hand() -> None:
    # Windows (1, 2) and (3, 4), weights 1 and 10, bias 100; pixel 5 is left over.
    patchify = Patchify(1, 1, 1, 2)
    patchify.load_state_dict({"conv.weight": torch.tensor([[[1.0, 10.0]]]), "conv.bias": torch.tensor([100.0])})
    assert patchify(torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0]]])).tolist() == [[[121.0], [143.0]]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Inductor imports what torch itself deprecates
@pytest.mark.parametrize("input_grad", [False, True], ids=["parameters", "parameters and input"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("data_dim", [1, 2, 3])
def test_compiles_twice_for_all_sizes(data_dim: int, bias: bool, input_grad: bool) -> None:
    """Inductor compiles the first size, then one graph for all others, where a convolution needs one for nearly each.

    The fifth size is one at which a compiled convolution stops at a stride mismatch.
    """
    torch._dynamo.reset()
    patchify = Patchify(3, 4, data_dim, 2, stride=4, bias=bias).double()
    compiled = torch.compile(patchify, fullgraph=True)
    counters.clear()
    sizes = [(5, 8, 11, 14), (11, 16, 23, 18), (13, 28, 37, 21), (17, 40, 51, 9), (2, 20, 31, 27), (7, 6, 29, 12)]
    for batch, *pixels in sizes:
        x = torch.randn(batch, *pixels[:data_dim], 3, dtype=torch.float64, requires_grad=input_grad)
        tokens = compiled(x)
        assert tokens.is_contiguous()
        torch.testing.assert_close(tokens, patchify(x))
        gradients = [
            torch.autograd.grad(output.square().sum(), [*patchify.parameters(), *([x] if input_grad else [])])
            for output in (tokens, patchify(x))
        ]
        torch.testing.assert_close(*gradients)
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    ("channels", "data_dim", "patch_size"), [(8, 2, 8), (16, 2, 4), (4, 2, 16), (16, 3, 4), (64, 1, 8)]
)
def test_one_window_wide_in_bfloat16(channels: int, data_dim: int, patch_size: int, autocast: bool) -> None:
    """Where torch's own convolution gives wrong sums: integers are exact whatever the order of summation."""
    exact = Patchify(channels, 3, data_dim, patch_size, bias=False).double()
    taps = exact.conv.weight.numel()
    with torch.no_grad():
        # Ones and minus ones, few enough for sums of at most 256.
        exact.conv.weight.copy_((torch.arange(taps).remainder(7) - 3).sign().reshape_as(exact.conv.weight))
        exact.conv.weight.flatten(1)[:, 100:] = 0
    x = torch.arange(2 * channels * patch_size**data_dim).remainder(5).sub(2)
    x = x.reshape(2, *[patch_size] * data_dim, channels)
    given = torch.float32 if autocast else torch.bfloat16
    inexact = Patchify(channels, 3, data_dim, patch_size, bias=False).to(given)
    inexact.load_state_dict(exact.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        tokens = inexact(x.to(given))
    assert tokens.dtype == torch.bfloat16
    assert torch.equal(tokens.double(), exact(x.double()))


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 1, 3), (4, 1, 1, 1), (1, 2, 2, 1)])
def test_axes_of_one_reach_the_matrix_product_with_plain_strides(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or torch, in bfloat16, may provide too little memory for it; forward and backward."""
    strides: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def given(tensor: Tensor) -> None:
        strides.append((tensor.shape, tensor.stride()))

    def linear(x: Tensor, weight: Tensor) -> Tensor:
        given(x)
        given(weight)
        tokens = functional.linear(x, weight)
        tokens.register_hook(given)  # type: ignore[no-untyped-call]
        return tokens

    monkeypatch.setattr("patchify.layer.functional", SimpleNamespace(linear=linear))
    embed = Patchify(shape[-1], 1, len(shape) - 2, patch_size=shape[-2])
    for odd in (False, True):
        tokens = embed(_ones(shape, odd))
        tokens.backward(_ones(tokens.shape, odd))
    assert len(strides) == 6
    for size, stride in strides:
        assert stride == torch.empty(size).stride()


def _ones(shape: Sequence[int], transposed: bool) -> Tensor:
    """Axes of size 1 have odd strides where the memory is in the opposite order."""
    return torch.ones(tuple(reversed(shape))).permute(*reversed(range(len(shape)))) if transposed else torch.ones(shape)
