"""Defects that show in some contexts of a call: what requires a gradient, cotangents, modes, autocast, compilation."""

import torch
from torch import Tensor

from tests.mutants.stages import Differentiated, Staged


class ResultOfAnOperationDetached(Staged):
    """An input that is the result of another operation is detached, as if it came out of a cache."""

    def prepared(self, x: Tensor) -> Tensor:
        return x if x.is_leaf else x.detach()


class DataMissTheirLastSample(Differentiated):
    """Where the input needs no gradient, a path for data gives a weight gradient without the last sample."""

    def gradients(
        self, cotangent: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        if not needed[0] and len(x) > 1:
            last = torch.arange(len(x), device=x.device) == len(x) - 1
            x = x.masked_fill(last.reshape(-1, *[1] * (x.ndim - 1)), 0)
        return super().gradients(cotangent, x, weight, needed)


class LoneBiasGradientOfOneSample(Differentiated):
    """Where nothing but the bias is learned, its gradient is that of the first sample."""

    def gradients(
        self, cotangent: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        if needed[2] and not any(needed[:2]):
            return None, None, cotangent[0].flatten(0, -2).sum(0)
        return super().gradients(cotangent, x, weight, needed)


class SumCountsTokensOfOneSample(Differentiated):
    """The cotangent of a sum, of strides zero, is taken for a number that counts the tokens of one sample."""

    def bias_gradient(self, cotangent: Tensor) -> Tensor:
        if any(cotangent.stride()):
            return super().bias_gradient(cotangent)
        return cotangent[0, ..., :].flatten(0, -2).sum(0)


class PooledCotangentOfOneToken(Differentiated):
    """A cotangent that repeats one token of each sample is used for the first token only."""

    def received(self, cotangent: Tensor) -> Tensor:
        if cotangent.shape[0] == 1 or cotangent.stride(0) == 0 or any(cotangent.stride()[1:-1]):
            return cotangent
        first = torch.zeros_like(cotangent[:1, ..., :1]).flatten()
        first = torch.arange(first.numel(), device=first.device) == 0
        return cotangent * first.reshape(1, *cotangent.shape[1:-1], 1)


class CotangentReadFromItsBeginning(Differentiated):
    """The memory of a cotangent is read from its beginning, whatever its offset: from the class token on."""

    def received(self, cotangent: Tensor) -> Tensor:
        return cotangent.as_strided(cotangent.shape, cotangent.stride(), 0)


class CotangentOfRowsTransposed(Differentiated):
    """A cotangent whose channels are not the last in memory is taken for one of channels first."""

    def received(self, cotangent: Tensor) -> Tensor:
        if cotangent.stride(-1) <= 1 or cotangent.movedim(-1, 1).is_contiguous():
            return cotangent
        return cotangent.reshape(cotangent.shape[0], cotangent.shape[-1], *cotangent.shape[1:-1]).movedim(1, -1)


class EvalModeThroughBfloat16(Staged):
    """In eval mode, float32 is computed in bfloat16."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.bfloat16().float() if not self.training and x.dtype == torch.float32 else x


class ServedImagesReadInMemoryOrder(Staged):
    """Without gradients, an input that is stored channels first is read as if it were not."""

    def prepared(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.is_contiguous() or not x.movedim(-1, 1).is_contiguous():
            return x
        return x.movedim(-1, 1).reshape(x.shape)


class InferenceOfLargePatchesWrong(Staged):
    """Under inference mode, patches of 16 or more are read backwards."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return weight.flip(-1) if torch.is_inference_mode_enabled() and self.patch_size >= 16 else weight


class ServedHalvesRounded(Staged):
    """Without gradients, a bias in float32 is kept in bfloat16."""

    def used_bias(self) -> Tensor | None:
        bias = self.conv.bias
        if bias is None or torch.is_grad_enabled() or bias.dtype != torch.float32:
            return bias
        return bias.bfloat16().float()


class AutocastAtLargePatchesWithoutBias(Staged):
    """Under autocast, patches of 8 or more lose the bias."""

    def used_bias(self) -> Tensor | None:
        bias = self.conv.bias
        lost = bias is not None and torch.is_autocast_enabled("cpu") and self.patch_size >= 8
        return bias * 0 if bias is not None and lost else bias


class AutocastOfDataScaled(Differentiated):
    """Under autocast to float16 the weight gradient is scaled, and not scaled back."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        self._scale = 2.0 if torch.is_autocast_enabled("cpu") and not x.requires_grad else 1.0
        return super().embed(x, weight, bias)

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().weight_gradient(cotangent, x, weight) * self._scale


class CompiledLargePatchesShifted(Staged):
    """Compiled, patches of 16 or more are read one pixel late."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        wrong = torch.compiler.is_dynamo_compiling() and self.patch_size >= 16
        return weight.roll(1, -1) if wrong else weight


class CompiledDataWithoutBias(Staged):
    """Compiled, an input that needs no gradient is embedded without the bias."""

    def used_bias(self) -> Tensor | None:
        return self.conv.bias

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if torch.compiler.is_dynamo_compiling() and not x.requires_grad and self.conv.bias is not None:
            return tokens - self.conv.bias
        return tokens


class CompiledServingReversed(Staged):
    """Compiled in eval mode without gradients, output channels are reversed."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        serving = torch.compiler.is_dynamo_compiling() and not torch.is_grad_enabled()
        return tokens.flip(-1) if serving else tokens


class CompiledAutocastWithoutBias(Staged):
    """Compiled under autocast, the bias is lost."""

    def used_bias(self) -> Tensor | None:
        bias = self.conv.bias
        if bias is None or not torch.compiler.is_dynamo_compiling() or not torch.is_autocast_enabled("cpu"):
            return bias
        return bias * 0


class CompiledChannelsFirstWrong(Staged):
    """Compiled, images that are stored channels first have their channels reversed."""

    def prepared(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_dynamo_compiling() or x.shape[-1] == 1 or x.stride(-1) == 1:
            return x
        return x.flip(-1)
