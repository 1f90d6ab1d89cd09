"""What is given in place of a layer: it is judged, or what is found says what to give instead."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchify import Patchify
from properties import Report, verify


def run(implementation: Any, *only: str) -> Report:
    return verify(implementation, cases=4, seed=3, strength=0, scope_sample=2000, jobs=0, only=only, dtypes=["float64"])


class Lazy(nn.Module):
    """Its convolution knows its channels after the first forward pass alone."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        data_dim: int,
        patch_size: int,
        stride: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        right = Patchify(in_features, out_features, data_dim, patch_size, stride, bias)
        self.data_dim, self.patch_size, self.stride = data_dim, patch_size, right.stride
        kind = (nn.LazyConv1d, nn.LazyConv2d, nn.LazyConv3d)[data_dim - 1]
        self.conv = kind(out_features, patch_size, right.stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.conv(x.movedim(-1, 1))
        return tokens.movedim(1, -1).contiguous()


class ElsewhereNamed(Patchify):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.proj = self.conv
        del self.conv


def on_meta(*arguments: Any, **named: Any) -> nn.Module:
    with torch.device("meta"):
        return Patchify(*arguments, **named)


def in_sequence(*arguments: Any, **named: Any) -> nn.Module:
    return nn.Sequential(nn.Identity(), Patchify(*arguments, **named))


def in_parallel(*arguments: Any, **named: Any) -> nn.Module:
    return nn.DataParallel(Patchify(*arguments, **named))


def compiled(*arguments: Any, **named: Any) -> Any:
    return torch.compile(Patchify(*arguments, **named), backend="eager")


@pytest.mark.parametrize(
    ("implementation", "advice"),
    [
        (
            Lazy,
            "its parameters hold no values, for they have no shape before the first forward pass: call it once where "
            "it is built",
        ),
        (on_meta, "its parameters hold no values, for they are on the meta device: build it on another one"),
        (in_sequence, "the layer is inside another module, Sequential, as 1: give that"),
        (in_parallel, "the layer is inside another module, DataParallel, as module: give that"),
        (compiled, "the layer is inside another module, OptimizedModule, as _orig_mod: give that"),
        (
            ElsewhereNamed,
            "its weight is called proj.weight: adapt(make, names=('proj.weight', 'proj.bias')) judges such a layer",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_advice_on_what_is_no_such_layer(implementation: Any, advice: str) -> None:
    report = run(implementation, "C1", "C3")
    (failure,) = (failure for failure in report.failures if failure.property == "holds_conv")
    assert failure.known.cause == advice
    assert not report.not_judged


def test_what_builds_layers_need_be_no_class() -> None:
    class Buffered(Patchify):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.register_buffer("calls", torch.zeros(()), persistent=False)

    for right in (partial(Patchify), Buffered):
        assert run(right, "C1", "C3", "values_exact").passed
