"""The production layer: the documentation's examples, what it is made of, and every refusal in its own words."""

import doctest
import re
import subprocess
import sys
from copy import deepcopy
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._dynamo.utils import counters

from oracles import loops, unfold
from patchify import LinearPatchify, Patchify
from patchify import layer as layer_module
from properties.cases.drawing import sizes, specs

LAYERS = (Patchify, LinearPatchify)

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
    results = doctest.testmod(layer_module)
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
@pytest.mark.parametrize("layer", LAYERS)
def test_empty_batch(layer: type[Patchify], data_dim: int) -> None:
    patchify = layer(2, 3, data_dim, 2)
    x = torch.zeros(0, *[5] * data_dim, 2, requires_grad=True)
    tokens = patchify(x)
    assert tuple(tokens.shape) == (0, *[2] * data_dim, 3)
    tokens.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    for parameter in patchify.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


@pytest.mark.parametrize("layer", LAYERS)
def test_values_by_hand(layer: type[Patchify]) -> None:
    # Windows (1, 2) and (3, 4), weights 1 and 10, bias 100; pixel 5 is the remainder.
    patchify = layer(1, 1, 1, 2)
    patchify.load_state_dict({"conv.weight": torch.tensor([[[1.0, 10.0]]]), "conv.bias": torch.tensor([100.0])})
    assert patchify(torch.tensor([[[1.0], [2.0], [3.0], [4.0], [5.0]]])).tolist() == [[[121.0], [143.0]]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Inductor imports what torch itself deprecates
@pytest.mark.parametrize("input_grad", [False, True], ids=["parameters", "parameters and input"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("data_dim", [1, 2, 3])
@pytest.mark.parametrize("layer", LAYERS)
def test_compiles_twice_for_all_sizes(layer: type[Patchify], data_dim: int, bias: bool, input_grad: bool) -> None:
    """Inductor compiles the first size, then one graph for all others, where a convolution needs one for nearly each.

    The fifth size is one at which a compiled convolution stops at a stride mismatch.
    """
    torch._dynamo.reset()
    patchify = layer(3, 4, data_dim, 2, stride=4, bias=bias).double()
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


@pytest.mark.parametrize("layer", LAYERS)
def test_compiled_layer_is_no_graph_of_unfold_or_convolution(layer: type[Patchify]) -> None:
    """Both are where Inductor goes wrong; what others read, exported, is torch's own."""
    operators: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        operators.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    torch._dynamo.reset()
    patchify, x = layer(3, 4, 2, 2), torch.randn(2, 5, 7, 3)
    torch.compile(patchify, fullgraph=True, backend=backend)(x)
    assert any("patchify" in name for name in operators)
    assert not any("conv2d" in name or "unfold" in name for name in operators)
    exported = torch.export.export(patchify, (x,))
    assert not any("patchify" in str(node.target) for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(x), patchify(x))


@pytest.mark.parametrize("layer", LAYERS)
def test_exports_with_dynamic_sizes(layer: type[Patchify]) -> None:
    patchify, dim = layer(3, 4, 2, 4, stride=3), torch.export.Dim
    shapes = {"x": {0: dim("batch"), 1: dim("height", min=8), 2: dim("width", min=8)}}
    program = torch.export.export(patchify, (torch.randn(2, 11, 13, 3),), dynamic_shapes=shapes).module()
    for shape in ((2, 11, 13, 3), (5, 16, 9, 3), (1, 30, 31, 3)):
        x = torch.randn(shape)
        torch.testing.assert_close(program(x), patchify(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap has no rule for the backward pass of unfold
@pytest.mark.parametrize("layer", LAYERS)
def test_function_transforms_while_compiled(layer: type[Patchify]) -> None:
    torch._dynamo.reset()
    patchify, x = layer(3, 4, 2, 2), torch.randn(3, 2, 5, 7, 3)
    loss = torch.func.grad(lambda x: patchify(x).square().sum())
    transforms = (
        torch.func.vmap(patchify.forward),  # of the module itself Dynamo cannot print the name
        torch.func.vmap(loss),
    )
    for transformed in transforms:
        compiled = torch.compile(transformed, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), transformed(x))


@pytest.mark.parametrize("layer", LAYERS)
def test_empty_batch_compiled(layer: type[Patchify]) -> None:
    torch._dynamo.reset()
    patchify, x = layer(3, 4, 3, 2), torch.zeros(0, 5, 4, 6, 3, requires_grad=True)
    tokens = torch.compile(patchify, fullgraph=True, backend="aot_eager")(x)
    assert tokens.shape == (0, 2, 2, 3, 4)
    tokens.sum().backward()
    assert not any(parameter.grad is None or parameter.grad.any() for parameter in patchify.parameters())


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_half_precision_is_rounded_once(layer: type[Patchify], dtype: torch.dtype, compiled: bool) -> None:
    """On a CPU, with and without autocast: the result of float32, rounded."""
    torch._dynamo.reset()
    half = layer(16, 8, 2, 4).to(dtype)
    wide = deepcopy(half).float()
    x = torch.randn(2, 4, 9, 16).to(dtype)
    expected = wide(x.float()).to(dtype)
    found = torch.compile(half, fullgraph=True, backend="aot_eager") if compiled else half
    assert torch.equal(found(x), expected)
    with torch.autocast("cpu", dtype):
        found = torch.compile(wide, fullgraph=True, backend="aot_eager") if compiled else wide
        assert torch.equal(found(x.float()), expected)
        assert found(x.float()).dtype == dtype
        assert layer(16, 8, 2, 4).double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize("layer", LAYERS)
def test_refuses_another_dtype(layer: type[Patchify]) -> None:
    message = "input is torch.float64, but conv.weight is torch.float32: convert one with .to()"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        layer(**GOOD)(torch.zeros(1, 4, 4, 2, dtype=torch.float64))


def test_layers_load_each_others_state() -> None:
    convolution, linear = Patchify(**GOOD), LinearPatchify(**GOOD)
    linear.load_state_dict(convolution.state_dict())
    x = torch.randn(2, 7, 9, 2)
    torch.testing.assert_close(linear(x), convolution(x))
    convolution.load_state_dict(linear.state_dict())


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    ("pixels", "stride"),
    [((65_545,), 32_768), ((131_074,), 262_144), ((3, 16_390), 8_192), ((2, 5_003, 3), 5_000)],
)
def test_strides_of_thousands_of_pixels(pixels: tuple[int, ...], stride: int, compiled: bool) -> None:
    torch._dynamo.reset()
    patchify = Patchify(1, 4, len(pixels), 2, stride)
    x = torch.arange(prod(pixels)).remainder(7).sub(3.0).reshape(1, *pixels, 1).requires_grad_()
    parameters = list(patchify.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.arange(parameter.numel()).remainder(5).sub(2.0).reshape_as(parameter))
    tokens = (torch.compile(patchify, fullgraph=True, backend="aot_eager") if compiled else patchify)(x)
    expected = unfold.forward(x, parameters[0], parameters[1], stride)
    assert torch.equal(tokens, expected)
    found, right = (torch.autograd.grad(each.square().sum(), [x, *parameters]) for each in (tokens, expected))
    assert all(torch.equal(*pair) for pair in zip(found, right, strict=True))


@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.parametrize("layer", LAYERS)
def test_agrees_with_the_second_oracle(layer: type[Patchify], data: st.DataObject) -> None:
    """Bitwise, on integers: it goes window by window, where the first oracle, too, is unfold and a matrix product."""
    spec = data.draw(specs())
    pixels = data.draw(sizes(spec))
    patchify = layer(spec.in_features, spec.out_features, spec.data_dim, spec.patch_size, spec.stride, spec.bias)
    x = torch.arange(2 * prod(pixels) * spec.in_features).remainder(7).sub(3).double()
    x = x.reshape(2, *pixels, spec.in_features).requires_grad_()
    parameters = list(patchify.double().parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.arange(parameter.numel()).remainder(5).sub(2).reshape_as(parameter))
    tokens = patchify(x)
    cotangent = torch.arange(tokens.numel()).remainder(3).sub(1).double().reshape_as(tokens)
    found = torch.autograd.grad(tokens, [x, *parameters], cotangent)
    pixels_in, weight, *bias = [tensor.detach().numpy() for tensor in (x, *parameters)]
    expected_tokens = loops.forward(pixels_in, weight, bias[0] if bias else None, spec.effective_stride)
    assert (tokens.detach().numpy() == expected_tokens).all()
    for gradient, expected in zip(
        found, loops.gradients(cotangent.numpy(), pixels_in, weight, spec.effective_stride), strict=False
    ):
        assert (gradient.numpy() == expected).all()
