"""Defects of independence: samples, tokens and values that are not finite, and what they must not reach."""

import torch
from torch import Tensor
from torch.nn import functional

from tests.mutants.stages import Staged


class FirstSampleForAll(Staged):
    """Every sample gets the tokens of the first."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens[:1].expand_as(tokens)


class SamplesReversed(Staged):
    """The samples come out in the reverse order."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.flip(0)


class OddSampleZero(Staged):
    """The last of an odd number of several samples is zero, since samples are taken in pairs."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        odd = tokens.shape[0] % 2 if tokens.shape[0] > 1 else 0
        return torch.cat([tokens[: tokens.shape[0] - odd], torch.zeros_like(tokens[:odd])])


class BatchMixedWithGrid(Staged):
    """Samples and the first grid axis are swapped where there are as many of both."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.transpose(0, 1) if tokens.shape[0] == tokens.shape[1] else tokens


class BatchMeanSubtracted(Staged):
    """The mean over several samples is subtracted."""

    def prepared(self, x: Tensor) -> Tensor:
        return x - x.mean(0) if x.shape[0] > 1 else x


class BatchOfOneSqueezed(Staged):
    """A batch of one loses its axis."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.squeeze(0)


class SamplesPastLimitZero(Staged):
    """Samples past 65,535 are zero."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        excess = max(0, tokens.shape[0] - 65_535)
        return torch.cat([tokens[:65_535], torch.zeros_like(tokens[:excess])])


class LastSampleOfChunksLost(Staged):
    """Samples are taken 65,535 at a time, and a last one that is left alone is taken for none."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens[:-1] if tokens.shape[0] % 65_535 == 1 and tokens.shape[0] > 1 else tokens


class SampleIndexWraps(Staged):
    """The index of a sample has 16 bits: sample 65,536 is sample 0 again."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return torch.cat([tokens[: 2**16], tokens[: max(0, tokens.shape[0] - 2**16)]])


class NeighbourLeaks(Staged):
    """Every token has its neighbour's added along the last grid axis."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens + functional.pad(tokens[..., :-1, :], (0, 0, 1, 0))


class FirstTokenLeaks(Staged):
    """The last token of every sample has the first one added, where there are several."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        flat = tokens.flatten(1, -2)
        leak = functional.pad(flat[:, :1], (0, 0, flat.shape[1] - 1, 0)) if flat.shape[1] > 1 else 0
        return (flat + leak).reshape(tokens.shape)


class NaNScrubbed(Staged):
    """NaN in the input is taken for zero."""

    def prepared(self, x: Tensor) -> Tensor:
        return torch.nan_to_num(x, nan=0.0, posinf=torch.inf, neginf=-torch.inf)


class InfinityScrubbed(Staged):
    """Infinity in the input is taken for the largest finite number."""

    def prepared(self, x: Tensor) -> Tensor:
        largest = torch.finfo(x.dtype).max
        return x.clamp(-largest, largest)


class NaNSpreadsOverSample(Staged):
    """NaN in one token reaches all tokens of its sample."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        nothing = (tokens.detach() * 0).sum(tuple(range(1, tokens.ndim)))
        return tokens + nothing.reshape(-1, *[1] * (tokens.ndim - 1))


class NaNSpreadsOverBatch(Staged):
    """NaN in one sample reaches all samples."""

    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        nothing = (tokens.detach() * 0).sum()
        return tokens * (1 + nothing)
