"""Adapters: layers of every shape pass, wrong ones fail, also where the adapter itself is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from oracles import unfold
from properties import ByHand, CannotRun, Domain, Report, adapt, verify
from properties.runs.plan import make_plan
from properties.trials.adapter import Adapter

# So few channels that no landmark is inside: those would take most of the time.
IMAGES = Domain(data_dims=(2,), in_features=(1, 2, 3), out_features=(1, 4), stride="patch", bias="always")
ONLY = ("values_exact", "input_gradient_exact", "weight_gradient_exact", "bias_gradient_exact", "tokens_local")


class Channels(nn.Module):
    """Channels first, tokens in a sequence behind a class token, as one of two results."""

    def __init__(self, in_features: int, out_features: int, patch_size: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.ones(out_features, 1))
        self.class_token = nn.Parameter(torch.ones(out_features, 1))
        self.projection = nn.Conv2d(in_features, out_features, patch_size, patch_size)

    def forward(self, x: Tensor) -> tuple[str, Tensor]:
        tokens = self.tokens(self.projection(x)) + self.position
        first = (self.class_token + 0 * tokens[:1, :, :1]).expand(len(tokens), -1, 1)
        return "tokens", torch.cat((first, tokens), -1).transpose(1, 2)

    def tokens(self, found: Tensor) -> Tensor:
        return found.flatten(2)


class ChannelsTransposed(Channels):
    def tokens(self, found: Tensor) -> Tensor:
        return found.transpose(2, 3).flatten(2)


class Rows(nn.Module):
    """Any number of axes, a linear layer whose weight has the channels last."""

    def __init__(self, in_features: int, out_features: int, data_dim: int, patch_size: int, bias: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.linear = nn.Linear(in_features * patch_size**data_dim, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        patches = unfold.patches(x, self.patch_size, self.patch_size)
        patches = patches.unflatten(-1, (x.shape[-1], -1))  # type: ignore[no-untyped-call]
        return self.linear(self.in_order(patches).flatten(-2))  # type: ignore[no-any-return]

    def in_order(self, patches: Tensor) -> Tensor:
        return patches.transpose(-1, -2)


class RowsOfChannels(Rows):
    def in_order(self, patches: Tensor) -> Tensor:
        return patches


def as_function(stride: int) -> Callable[..., Tensor]:
    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv1d(x, weight, bias, stride)

    return convolve


def by_hand(data_dim: int, *, scale: int = 1, gradients: bool = True) -> ByHand:
    """Pixels as patches, in NumPy."""

    def forward(x: Any, weight: Any, bias: Any) -> Any:
        tokens = x @ weight.reshape(weight.shape[:2]).T
        return np.ascontiguousarray(tokens if bias is None else tokens + bias)

    def backward(cotangent: Any, x: Any, weight: Any, bias: Any) -> Any:
        rows, of = cotangent.reshape(-1, cotangent.shape[-1]), x.reshape(-1, x.shape[-1])
        of_weight = np.ascontiguousarray((rows.T @ of).reshape(weight.shape)) * scale
        of_input = np.ascontiguousarray(cotangent @ weight.reshape(weight.shape[:2]))
        return of_input, of_weight, None if bias is None else rows.sum(0)

    return ByHand(forward, backward if gradients else None)


PIXELS = Domain(patch_sizes=(1,), stride="patch", native=False, second_derivatives=False, dtypes=("float64", "float32"))
PATCHES = Domain(in_features=(1, 2, 3), out_features=(1, 4), stride="patch", sizes="no remainder")
SEQUENCES = Domain(data_dims=(1,), in_features=(1, 2, 3), out_features=(1, 4))


def channels(make: Any, **changes: Any) -> Adapter:
    usual: dict[str, Any] = {"input": "b c s", "output": "b n c", "names": ("projection.weight", "projection.bias")}
    usual |= {"take": 1, "skip": 1, "zeroed": ("position", "class_token")}
    return adapt(make, domain=IMAGES, **{**usual, **changes})


def linear(make: Any, weight: str, domain: Domain = PATCHES) -> Adapter:
    return adapt(make, weight=weight, names=("linear.weight", "linear.bias"), domain=domain)


def function(make: Any) -> Adapter:
    return adapt(make, input="b c s", output="b c g", domain=SEQUENCES)


RIGHT = {
    "channels first": channels(Channels),
    "linear": linear(Rows, "o (t i)"),
    "linear of channels": linear(RowsOfChannels, "o (i t)"),
    "function": function(lambda stride: as_function(stride)),
    "by hand": adapt(lambda data_dim: by_hand(data_dim), domain=PIXELS),
}
WRONG = {
    "axes of tokens swapped": (channels(ChannelsTransposed), "values_exact"),
    "a position embedding": (channels(Channels, zeroed=()), "holds_no_other_parameters"),
    "a class token among the tokens": (channels(Channels, skip=0), "grid_shape"),
    "another result": (channels(Channels, take=0), "returns_tensor"),
    "the other order of a linear weight": (linear(RowsOfChannels, "o (t i)"), "values_exact"),
    "stride of a function ignored": (function(lambda patch_size, stride: as_function(patch_size)), "grid_shape"),
    "a gradient by hand scaled": (
        adapt(lambda data_dim: by_hand(data_dim, scale=2), domain=PIXELS),
        "weight_gradient_exact",
    ),
}


def check(layer: Any, **changes: Any) -> Report:
    return verify(layer, **{"seed": 7, "cases": 12, "strength": 0, "scope_sample": 200, "jobs": 0, **changes})


@pytest.mark.parametrize("layer", RIGHT.values(), ids=RIGHT)
def test_right_layers_pass(layer: Any) -> None:
    report = check(layer, only=ONLY)
    assert report.passed, report.verdict_line + "".join(failure.message for failure in report.failures)


@pytest.mark.parametrize(("layer", "law"), WRONG.values(), ids=WRONG)
def test_wrong_ones_fail(layer: Any, law: str) -> None:
    report = check(layer, only=(*ONLY, "holds_no_other_parameters"), shrink=False)
    assert law in {failure.property for failure in report.failures}, report.verdict_line


def test_histories_copies_and_torch_func() -> None:
    """The parameters of an adapted layer are those of a module: they are copied, loaded, frozen and transformed."""
    only = ("C13", "H5", "functional_call_agrees", "func_gradients_agree", "vmap_over_parameters_agrees", "empty_batch")
    plan = make_plan(RIGHT["linear"], levels=("contract", "robust"))
    asked = [prop.name for prop in plan.properties if {prop.name, *prop.clauses} & set(only)]
    report = check(RIGHT["linear"], only=asked)
    assert report.passed, report.verdict_line + "".join(failure.message for failure in report.failures)


def test_without_gradients() -> None:
    domain = Domain(patch_sizes=(1,), stride="patch", native=False, gradients=False, dtypes=("float32",))
    plan = make_plan(adapt(lambda data_dim: by_hand(data_dim, gradients=False), domain=domain))
    assert not [prop.name for prop in plan.properties if "gradient" in prop.name or prop.on == "compiled"]
    report = check(plan.implementation, only=("values_exact", "same_in_every_layout", "right_after_any_history"))
    assert report.passed, report.verdict_line


def test_starts_from_the_values_of_the_layer() -> None:
    inner = Rows(3, 5, 2, 4, True)
    layer = linear(lambda: inner, "o (t i)", Domain((2,), (3,), (5,), (4,), "patch", "always"))(3, 5, 2, 4)
    x = torch.randn(2, 9, 8, 3)
    assert torch.allclose(layer(x), inner(x), atol=1e-5)
    assert layer.conv.weight.shape == (5, 3, 4, 4)


CONTRADICTIONS: dict[str, tuple[Callable[[], Any], str]] = {
    "stride": (
        lambda: adapt(Rows, domain=Domain(data_dims=(2,))),
        r"make takes no stride, so its domain must say which one the layer has: adapt\(\.\.\., domain=Domain\(stride",
    ),
    "axes": (lambda: adapt(Channels, domain=Domain(stride="patch", bias="always")), "make takes no data_dim"),
    "twice": (lambda: adapt(Rows, domain=PATCHES, input="b c c s"), "input='b c c s' must name each axis once"),
    "letters": (
        lambda: adapt(Rows, domain=PATCHES, weight="o x"),
        "weight='o x' must name each axis once",
    ),
    "arguments": (lambda: adapt(lambda width: None), "make takes width; it may take some of in_features, out_features"),
}


@pytest.mark.parametrize(("adapting", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions_are_refused(adapting: Callable[[], Any], message: str) -> None:
    with pytest.raises(CannotRun, match=message):
        adapting()


def test_a_parameter_that_is_not_there() -> None:
    layer = adapt(Rows, domain=PATCHES, names=("weight", "bias"))
    with pytest.raises(CannotRun, match=r"the layer has no parameter 'weight'; it has linear\.weight, linear\.bias"):
        layer(1, 1, 1, 1)


def test_a_variable_names_an_adapter() -> None:
    assert make_plan("tests.integration.test_adapters:named").implementation is named
    assert make_plan(named).name == "tests.integration.test_adapters:named"


named = RIGHT["linear"]
