"""Defects that show under torch.compile only."""

import torch
from torch import Tensor

from tests.mutants.stages import Differentiated, Staged


class _Compiled(Staged):
    """Right in eager mode; while compiled, the output has the wrong sign where ``wrong`` says so."""

    def wrong(self, x: Tensor) -> bool:
        return True

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return -tokens if torch.compiler.is_dynamo_compiling() and self.wrong(x) else tokens


class CompiledPatchesPastOnePixelWrong(_Compiled):
    """Compiled, only patches of one pixel are right (R46)."""

    def wrong(self, x: Tensor) -> bool:
        return self.patch_size > 1


class CompiledSequencesWrong(_Compiled):
    """Compiled, 1-D is wrong."""

    def wrong(self, x: Tensor) -> bool:
        return self.data_dim == 1


class CompiledVolumesWrong(_Compiled):
    """Compiled, 3-D is wrong."""

    def wrong(self, x: Tensor) -> bool:
        return self.data_dim == 3


class CompiledOverlapWrong(_Compiled):
    """Compiled, overlapping windows are wrong."""

    def wrong(self, x: Tensor) -> bool:
        return self.stride < self.patch_size


class CompiledHalfWrong(_Compiled):
    """Compiled, bfloat16 is wrong."""

    def wrong(self, x: Tensor) -> bool:
        return x.dtype == torch.bfloat16


class CompiledUnequalSizesWrong(_Compiled):
    """Compiled, sizes that differ among the axes are wrong."""

    def wrong(self, x: Tensor) -> bool:
        return any(size != x.shape[1] for size in x.shape[1:-1])


class CompiledBiasMissing(Staged):
    """Compiled, the bias is not added."""

    def used_bias(self) -> Tensor | None:
        return None if torch.compiler.is_dynamo_compiling() else self.conv.bias


class CompiledLayoutIgnored(Staged):
    """Compiled, the input's memory is read in order where it is dense, whatever its strides (R44)."""

    def prepared(self, x: Tensor) -> Tensor:
        if torch.compiler.is_dynamo_compiling() and x.movedim(-1, 1).is_contiguous():
            return x.movedim(-1, 1).reshape(x.shape)
        return x


class CompiledReturnsFloat32(Staged):
    """Compiled, the output is float32."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.float() if torch.compiler.is_dynamo_compiling() else tokens


class CompiledInputGradientHalved(Staged):
    """Compiled, the input's gradient is half of what it should be."""

    def prepared(self, x: Tensor) -> Tensor:
        return x / 2 + (x / 2).detach() if torch.compiler.is_dynamo_compiling() else x


class CompiledWeightGradientDoubled(Differentiated):
    """Compiled, the weight's gradient is twice what it should be."""

    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient = super().weight_gradient(cotangent, x, weight)
        return gradient * 2 if torch.compiler.is_dynamo_compiling() else gradient


class CompiledBiasDetached(Staged):
    """Compiled, no gradient reaches the bias."""

    def used_bias(self) -> Tensor | None:
        bias = self.conv.bias
        return bias.detach() if bias is not None and torch.compiler.is_dynamo_compiling() else bias


class CompiledGridRemembered(Staged):
    """Compiled, the grid of the first input is used for all: larger ones lose tokens."""

    _grid: list[int] | None = None

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if torch.compiler.is_dynamo_compiling():
            if self._grid is None:
                self._grid = list(tokens.shape[1:-1])
            return tokens[(slice(None), *(slice(n) for n in self._grid))]
        return tokens


class CompiledLaterSizesWrong(_Compiled):
    """Compiled, every size but the first is wrong."""

    _first: int | None = None

    def wrong(self, x: Tensor) -> bool:
        if self._first is None:
            self._first = x.shape[1]
        return x.shape[1] != self._first


class ChannelsLastView(Staged):
    """The convolution gets a channels-last view: images cannot be compiled at a second size (R50)."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tokens: Tensor = self.conv(x.movedim(-1, 1))
        return tokens.movedim(1, -1)


class CompiledStridesDiffer(Staged):
    """Compiled, the output is contiguous, which it is not in eager mode (R44)."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.contiguous() if torch.compiler.is_dynamo_compiling() else tokens


class GraphBroken(Staged):
    """Forward breaks the graph."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return tokens


class ValueAskedFor(Staged):
    """Forward branches on a value of the input, which no graph can."""

    def prepared(self, x: Tensor) -> Tensor:
        return x.clone() if bool(x.isnan().any()) else x


class DescriptionPrinted(Staged):
    """Forward of a compiled layer prints the shape."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        if torch.compiler.is_dynamo_compiling():
            print(tokens.shape)
        return tokens


class SamplesCounted(Staged):
    """Compiled, samples are counted one by one: every batch size is compiled anew (H8)."""

    def prepared(self, x: Tensor) -> Tensor:
        return x[: sum(1 for _ in range(x.shape[0]))]


class RowsCounted(Staged):
    """Compiled, pixels of the first axis are counted one by one: every size is compiled anew (H8)."""

    def prepared(self, x: Tensor) -> Tensor:
        return x[:, : sum(1 for _ in range(x.shape[1]))]


class SmallBatchesUnrolled(Staged):
    """Compiled, up to eight samples are embedded one by one, a graph for each number of them."""

    def embed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not torch.compiler.is_compiling() or not 1 < x.shape[0] <= 8:
            return super().embed(x, weight, bias)
        return torch.cat([super(SmallBatchesUnrolled, self).embed(sample[None], weight, bias) for sample in x])


class ZeroBiasLeftOut(Staged):
    """Compiled, a bias that is zero at the first call is left out for good."""

    @torch._dynamo.assume_constant_result  # type: ignore[untyped-decorator]
    def zero(self) -> bool:
        """Whether the bias adds nothing, which is asked once."""
        return self.conv.bias is not None and not bool(self.conv.bias.detach().any())

    def used_bias(self) -> Tensor | None:
        return None if torch.compiler.is_compiling() and self.zero() else self.conv.bias
