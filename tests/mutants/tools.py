"""Defects that torch's tools show: defaults, seeds, threads, ensembles, parametrizations (C3, H4 to H9)."""

import random
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.mutants.functional import WeightClosedOver
from tests.mutants.stages import Differentiated, LinearMap, Staged, convolve


class BufferInStateDict(Staged):
    """The state dict holds a buffer besides the parameters."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.register_buffer("scale", torch.ones(()))


class MadeInFloat32(Staged):
    """Parameters are made in float32, whatever torch's default dtype is."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.float()


class MadeOnTheCpu(Staged):
    """Parameters are made on the CPU, whatever torch's default device is."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        with torch.device("cpu"):
            super().__init__(*arguments, **named)


class ValuesAskedFor(Staged):
    """The constructor looks at the values of its parameters, which those on the meta device have not."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters()):
            raise RuntimeError("a parameter is not finite")


class EvalReturnsNothing(Staged):
    """``eval()`` returns nothing."""

    def eval(self) -> Any:
        super().eval()


class InitialisedTwice(Staged):
    """The constructor draws its parameters twice, so that a seed gives others than torch's convolution has."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conv.reset_parameters()


class BiasDrawnAnyway(Staged):
    """A bias is drawn even where none is asked for, so that whatever is drawn next is another."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.conv.bias is None:
            torch.rand(self.conv.out_channels)


class PythonSeedMoved(Staged):
    """Forward draws from Python's generator."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens if random.random() < 2 else -tokens


class NumpySeeded(Staged):
    """Forward seeds NumPy's generator."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        np.random.seed(0)
        return tokens


class InputKeptOnTheLayer(Staged):
    """The input is put on the layer and read from there, which another thread may have written to by then."""

    _x: Tensor

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        self._x = x
        time.sleep(0)
        return convolve(self._x, weight, bias, self.stride)


class EnsembleRefused(WeightClosedOver):
    """Forward multiplies by the parameter that was there at construction where it is called without gradients."""

    def used_weight(self) -> Tensor:
        return self.conv.weight if torch.is_grad_enabled() else self._held[0]


class _NoTransforms(LinearMap):
    generate_vmap_rule = False


class SamplesNotMapped(Differentiated):
    """The backward pass has no rule for ``vmap``."""

    function = _NoTransforms


class NoForwardMode(Differentiated):
    """A backward pass of its own, and no derivative in forward mode."""


class WeightHeldAsParameter(Staged):
    """Forward holds on to the parameter itself, so that a parametrization does not show."""

    def used_weight(self) -> Tensor:
        named = dict(self.conv.named_parameters())
        weight = named.get("weight", named.get("parametrizations.weight.original"))
        assert isinstance(weight, nn.Parameter)
        return weight


class ResetForgotten(Staged):
    """A copy of the weight is made by the first call without gradients; a reset does not renew it."""

    _kept: Tensor | None = None

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if self._kept is None or self._kept.dtype != weight.dtype:
            self._kept = weight.detach().clone()
        changed = torch.equal(self._kept.abs().amax(), weight.detach().abs().amax())
        return weight if changed or weight.grad is not None else self._kept.to(weight)


class EmptyBatchDividesInGraphs(Staged):
    """While it is compiled, the grid's size is computed by a division by the batch."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return tokens.reshape(
                len(x), *tokens.shape[1:-1], tokens.numel() // len(x) // max(1, tokens[0, ..., 0].numel())
            )
        return tokens


class Float16AutocastRefused(Staged):
    """Under autocast only bfloat16 is taken."""

    def prepared(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16:
            raise TypeError("autocast to float16 is not supported")
        return x
