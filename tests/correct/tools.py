"""Right layers that use torch's tools inside: its compilers, its registry of operators, its transforms."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from patchify import Patchify
from tests.mutants.stages import Differentiated, convolve, multiply, windows


class HandWrittenBackward(Differentiated):
    """An autograd.Function with a backward pass of its own."""


@torch.compile(backend="eager", dynamic=True)
def _compiled(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return convolve(x, weight, bias, stride)


class CompiledInside(Patchify):
    """Forward calls a compiled function."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return _compiled(x, self.conv.weight, self.conv.bias, self.stride)


def _scripted_convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    given = x.movedim(-1, 1).contiguous()
    if x.dim() == 3:
        return torch.conv1d(given, weight, bias, [stride]).movedim(1, -1)
    if x.dim() == 4:
        return torch.conv2d(given, weight, bias, [stride, stride]).movedim(1, -1)
    return torch.conv3d(given, weight, bias, [stride, stride, stride]).movedim(1, -1)


with warnings.catch_warnings():
    # TorchScript is deprecated, and there.
    warnings.simplefilter("ignore")
    _scripted = torch.jit.script(_scripted_convolve)


class Scripted(Patchify):
    """Forward calls a function in TorchScript."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        tokens: Tensor = _scripted(x, self.conv.weight, self.conv.bias, self.stride)
        return tokens


@torch.library.custom_op("tests::embed", mutates_args=())
def _embed(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return multiply(windows(x, weight.shape[2], stride), weight, bias)


@_embed.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    grid = [(size - weight.shape[2]) // stride + 1 for size in x.shape[1:-1]]
    return x.new_empty(x.shape[0], *grid, weight.shape[0])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, ctx.stride = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    strides, never = [ctx.stride] * (weight.ndim - 2), [0] * (weight.ndim - 2)
    given = cotangent.movedim(-1, 1).contiguous(), x.movedim(-1, 1).contiguous()
    by_x, by_weight, _ = torch.ops.aten.convolution_backward(
        *given, weight, None, strides, never, [1] * len(strides), False, never, 1, [*ctx.needs_input_grad[:2], False]
    )
    by_bias = cotangent.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
    return None if by_x is None else by_x.movedim(1, -1), by_weight, by_bias, None


_embed.register_autograd(_differentiate, setup_context=_keep)


class CustomOperator(Patchify):
    """An operator in torch's registry, with what it gives for fake tensors, and its gradients."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        tokens: Tensor = _embed(x, self.conv.weight, self.conv.bias, self.stride)
        return tokens


class Checkpointed(Patchify):
    """Keeps nothing for the backward pass, which computes forward again."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        arguments = x, self.conv.weight, self.conv.bias, self.stride
        tokens: Tensor = checkpoint(convolve, *arguments, use_reentrant=False, preserve_rng_state=False)
        return tokens


class MappedOverSamples(Patchify):
    """``torch.vmap`` of the embedding of one sample."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)

        def embed(sample: Tensor) -> Tensor:
            return convolve(sample.unsqueeze(0), self.conv.weight, self.conv.bias, self.stride).squeeze(0)

        tokens: Tensor = torch.vmap(embed)(x)
        return tokens


class CalledAsFunction(Patchify):
    """``conv`` is called as a function of its parameters."""

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        parameters = {name: value * 1 for name, value in self.conv.named_parameters()}
        tokens: Tensor = torch.func.functional_call(self.conv, parameters, x.movedim(-1, 1).contiguous())
        return tokens.movedim(1, -1)


class _Negated(nn.Module):
    """A parametrization that rounds nothing."""

    def forward(self, weight: Tensor) -> Tensor:
        return -weight


class ParametrizedWeight(Patchify):
    """The weight goes through a parametrization, and the input through its inverse."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.parametrization = _Negated()

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return convolve(-x, self.parametrization(self.conv.weight), self.conv.bias, self.stride)
