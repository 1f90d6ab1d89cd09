"""Defects of memory: what one call leaves behind for the next, stale copies of parameters, and modes."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional

from tests.mutants.stages import Gathered, Staged, convolve, multiply, windows


def _stale(weight: Tensor, copy: Tensor) -> Tensor:
    """The values of the copy, with gradients that still reach the weight."""
    return weight + (copy.to(weight) - weight).detach()


class OriginsOfAnotherLayer(Gathered):
    """The windows' first pixels on an axis are kept for all layers, and found again by size and patch_size alone."""

    kept: ClassVar[dict[tuple[int, int], Tensor]] = {}

    def origins(self, size: int, axis: int) -> Tensor:
        if torch.compiler.is_dynamo_compiling():
            return super().origins(size, axis)
        # Of the last layer but for a few, so that what a test meets does not hang on all that came before.
        if len(self.kept) > self.data_dim:
            self.kept.clear()
        return self.kept.setdefault((size, self.patch_size), super().origins(size, axis))


class WeightCopiedAtConstruction(Staged):
    """A linear copy of the weight is made by the constructor and never refreshed (R20)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._copy = self.conv.weight.detach().clone()

    def used_weight(self) -> Tensor:
        return _stale(self.conv.weight, self._copy)


class HalvedUntilSet(Staged):
    """Until its parameters are set, the layer uses half of the weight."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._built = self.conv.weight._version

    def used_weight(self) -> Tensor:
        return self.conv.weight * (0.5 if self.conv.weight._version == self._built else 1)


class _WeightCopied(Staged):
    """Right as long as the weight stays as it was when it was copied."""

    _copy: Tensor | None = None
    _copied_from: int | None = None

    def key(self) -> int:
        """What a copy belongs to: where it changes, a new copy is made."""
        return 0

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if self._copy is None or self._copied_from != self.key():
            self._copy, self._copied_from = weight.detach().clone(), self.key()
        return _stale(weight, self._copy)


class WeightCopiedAtFirstForward(_WeightCopied):
    """The weight of the first call is used for ever."""


class WeightCopiedByAddress(_WeightCopied):
    """A copy of the weight is used as long as the weight stays at the same address."""

    def key(self) -> int:
        return self.conv.weight.data_ptr()


class WeightCopiedByIdentity(_WeightCopied):
    """A copy of the weight is used as long as the parameter is the same object."""

    def key(self) -> int:
        return id(self.conv.weight)


class WeightCopiedByMode(_WeightCopied):
    """A copy of the weight is used until the layer changes between train and eval mode."""

    def key(self) -> int:
        return int(self.training)


class WeightCopiedForInference(Staged):
    """Where no gradients are wanted, a copy of the weight is used as long as autograd has seen no change of it."""

    _copy: Tensor | None = None
    _copied_from: tuple[int, int] | None = None

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        if torch.compiler.is_dynamo_compiling() or torch.is_grad_enabled():
            return weight
        key = (id(weight), weight._version)
        if self._copy is None or self._copied_from != key or self._copy.dtype != weight.dtype:
            self._copy, self._copied_from = weight.detach().clone(), key
        return self._copy


class WeightFoldedByEval(Staged):
    """Where no gradients are wanted, a layer in eval mode uses the weight that it had when it was put there."""

    _folded: Tensor | None = None

    def train(self, mode: bool = True) -> Self:
        self._folded = None if mode else self.conv.weight.detach().clone()
        return super().train(mode)

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return weight if self._folded is None or torch.is_grad_enabled() else self._folded.to(weight)


class OnesKeptFromInference(Staged):
    """A tensor of ones, made by the first call, multiplies every token: autograd refuses one from inference mode."""

    _ones: Tensor | None = None

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if torch.compiler.is_dynamo_compiling():
            return tokens
        if self._ones is None or self._ones.shape != tokens.shape[-1:] or self._ones.dtype != tokens.dtype:
            self._ones = torch.ones(tokens.shape[-1:], dtype=tokens.dtype, device=tokens.device)
        return tokens * self._ones


class LoadedBiasIgnored(Staged):
    """Loading a state dict leaves the bias as it was."""

    def load_state_dict(self, *arguments: Any, **named: Any) -> Any:
        kept = None if self.conv.bias is None else self.conv.bias.detach().clone()
        loaded = super().load_state_dict(*arguments, **named)
        if kept is not None and self.conv.bias is not None:
            with torch.no_grad():
                self.conv.bias.copy_(kept)
        return loaded


class LoadedWeightFlipped(Staged):
    """Loading a state dict reverses the taps, as if they came from another framework."""

    def load_state_dict(self, *arguments: Any, **named: Any) -> Any:
        loaded = super().load_state_dict(*arguments, **named)
        with torch.no_grad():
            self.conv.weight.copy_(self.conv.weight.flip(-1))
        return loaded


class OutputCachedByShape(Staged):
    """An output is given again for every input of the same shape and dtype."""

    _cached: Tensor | None = None
    _cached_for: tuple[torch.Size, torch.dtype] | None = None

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if self._cached is None or self._cached_for != (x.shape, x.dtype):
            self._cached, self._cached_for = tokens, (x.shape, x.dtype)
        return self._cached


class OutputCachedByAddress(Staged):
    """An output is given again for an input at the same address."""

    _cached: Tensor | None = None
    _cached_for: tuple[int, torch.Size, torch.dtype] | None = None

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        key = (x.data_ptr(), x.shape, x.dtype)
        if self._cached is None or self._cached_for != key:
            self._cached, self._cached_for = tokens, key
        return self._cached


class OutputBufferReused(Staged):
    """A call overwrites the output of the one before, if it has the same shape."""

    _last: Tensor | None = None

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if torch.compiler.is_dynamo_compiling():
            return tokens
        last, now = self._last, tokens.detach()
        if last is not None and (last.shape, last.dtype) == (now.shape, now.dtype):
            last.copy_(now)
        self._last = None if now.is_inference() else now
        return tokens


class PixelsKeptByGrid(Staged):
    """Where the pixels of every window lie is computed once for each grid, though it depends on the sizes, too."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pixels: dict[tuple[int, ...], Tensor] = {}

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if torch.compiler.is_compiling():
            return super().embed(x, weight, bias)
        grid = tuple(self.grid(x))
        if grid not in self._pixels:
            numbered = torch.arange(math.prod(x.shape[1:-1])).reshape(1, *x.shape[1:-1], 1)
            self._pixels[grid] = windows(numbered, self.patch_size, self.stride).flatten()
        flat = x.flatten(1, -2)
        pixels = self._pixels[grid].clamp(max=flat.shape[1] - 1).to(x.device)
        taps = [self.patch_size] * self.data_dim
        gathered = flat.index_select(1, pixels).reshape(x.shape[0], *grid, *taps, x.shape[-1])
        return multiply(gathered.movedim(-1, self.data_dim + 1), weight, bias)


class RunningMeanAdded(Staged):
    """The mean of the last output is added to the next."""

    _mean: Tensor | None = None

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        last, self._mean = self._mean, tokens.detach().mean()
        return tokens if last is None else tokens + last


class ThirdCallWrong(Staged):
    """From the third call on the sign is wrong."""

    _calls = 0

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        self._calls += 1
        return tokens if self._calls < 3 else -tokens


class DropoutInTrainMode(Staged):
    """In train mode a tenth of the input is dropped at random."""

    def prepared(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.1, self.training)


class NoiseInEvalMode(Staged):
    """In eval mode random noise is added."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens if self.training else tokens + torch.rand_like(tokens)


class ModeForgotten(Staged):
    """Forward leaves the layer in train mode."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        self.train()
        return tokens


class BiasMissingWithoutGrad(Staged):
    """Under no_grad the bias is not added."""

    def used_bias(self) -> Tensor | None:
        return self.conv.bias if torch.is_grad_enabled() else None


class TapsFlippedInInferenceMode(Staged):
    """In inference mode the taps run backwards."""

    def used_weight(self) -> Tensor:
        inference = not torch.compiler.is_dynamo_compiling() and torch.is_inference_mode_enabled()
        return self.conv.weight.flip(-1) if inference else self.conv.weight


class WeightClippedInPlace(Staged):
    """Every call clips the parameter itself to [-1/2, 1/2]."""

    def used_weight(self) -> Tensor:
        with torch.no_grad():
            self.conv.weight.clamp_(-0.5, 0.5)
        return self.conv.weight


class InputScaledInPlace(Staged):
    """The caller's input is doubled after use, where its layout allows."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tokens = convolve(x.clone(), weight, bias, self.stride)
        if 0 not in x.stride():
            x.detach().mul_(2)
        return tokens


class BiasFrozenByForward(Staged):
    """Forward leaves the bias without requires_grad."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if self.conv.bias is not None and not torch.compiler.is_dynamo_compiling():
            self.conv.bias.requires_grad_(False)
        return tokens


class StateLostInCopy(Staged):
    """A deep copy starts from a fresh initialisation (H5)."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        conv = self.conv
        copy = type(self)(
            conv.in_channels, conv.out_channels, self.data_dim, self.patch_size, self.stride, conv.bias is not None
        )
        return copy.to(conv.weight)


class StrideLostInCopy(Staged):
    """A layer that is copied or unpickled has the default stride (H5)."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.stride = self.patch_size


class LambdaHeld(Staged):
    """The layer holds a lambda, so it cannot be pickled (H5)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._activation: Callable[[Tensor], Tensor] = lambda tokens: tokens

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return self._activation(tokens)


class DtypeOfFirstForwardKept(Staged):
    """A layer that is converted after its first call goes on returning the dtype of that call (H5)."""

    _dtype: torch.dtype | None = None

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        self._dtype = self._dtype or x.dtype
        return tokens.to(self._dtype)


class WideParametersRestored(Staged):
    """Parameters that are made narrower are kept as they were, and put back, whatever was learned in between (H5)."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = {name: parameter.detach().clone() for name, parameter in self.conv.named_parameters()}
        applied = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        kept = self.__dict__.setdefault("_kept", {})
        for name, parameter in self.conv.named_parameters():
            if parameter.dtype.itemsize < before[name].dtype.itemsize:
                kept[name] = before[name]
            elif name in kept and parameter.dtype == kept[name].dtype:
                parameter.data.copy_(kept.pop(name))
        return applied


class TokensMadeInInferenceMode(Staged):
    """Without gradients forward runs in inference mode, whose tokens nothing that learns takes."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode(not torch.is_grad_enabled()):
            return super().forward(x)


class InputAskedForGradient(Staged):
    """In training an input that needs no gradient is made to get one."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.requires_grad_() if self.training and torch.is_grad_enabled() and x.is_leaf else x


class InputMarked(Staged):
    """Forward leaves an attribute on its input."""

    def prepared(self, x: Tensor) -> Tensor:
        x.patches = self.grid(x)  # type: ignore[attr-defined]
        return x
