"""Wrong layers that are no mutants of ours are explained too: what is measured is not tuned to the mutants."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.diagnosis import explain
from properties.trials.verdict import Failed
from tests.helpers.mutant_cases import BY_NAME, judge
from tests.mutants import Mutant
from tests.mutants.stages import Differentiated, Gathered, Staged


class KernelTurned(Staged):
    """The kernel is turned by a quarter in 2-D."""

    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        return torch.rot90(weight, 1, (2, 3)) if self.data_dim == 2 else weight


class StrideDoubledAlongFirstAxis(Gathered):
    def origins(self, size: int, axis: int) -> Tensor:
        step = 2 * self.stride if axis == 1 else self.stride
        return torch.arange(0, size - self.patch_size + 1, step)


class FirstWindowTwice(Gathered):
    def origins(self, size: int, axis: int) -> Tensor:
        origins = super().origins(size, axis)
        return torch.cat([origins[:1], origins[:-1]])


class TapsSpread(Gathered):
    """The last tap of a window reads one pixel further on."""

    def offsets(self) -> Tensor:
        offsets = super().offsets()
        return torch.cat([offsets[:-1], offsets[-1:] + 1])


class HalfBias(Staged):
    def used_bias(self) -> Tensor | None:
        return None if self.conv.bias is None else self.conv.bias / 2


class BiasReversed(Staged):
    def used_bias(self) -> Tensor | None:
        return None if self.conv.bias is None else self.conv.bias.flip(0)


class ChannelsMoved(Staged):
    def prepared(self, x: Tensor) -> Tensor:
        return x.roll(1, -1)


class SamplesMoved(Staged):
    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.roll(1, 0)


class TokensThroughTanh(Staged):
    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens.tanh()


class FirstTokenTripled(Staged):
    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        flat = tokens.flatten(1, -2)
        return torch.cat([flat[:, :1] * 3, flat[:, 1:]], 1).reshape(tokens.shape)


class RowsOfUnitNorm(Staged):
    def used_weight(self) -> Tensor:
        weight = self.conv.weight
        norms = weight.flatten(1).square().sum(1).sqrt()
        return weight / norms.reshape(-1, *[1] * (weight.ndim - 1))


class SixteenthsOnly(Staged):
    """The weight is rounded to multiples of 1/16."""

    def used_weight(self) -> Tensor:
        return (self.conv.weight * 16).round() / 16


class DoubledInFloat32(Staged):
    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return tokens * 2 if x.dtype == torch.float32 else tokens


class NegatedForFiveSamplesOrMore(Staged):
    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        return -tokens if x.shape[0] >= 5 else tokens


class WrongWhereSquareAndOverlapping(Staged):
    def finished(self, tokens: Tensor, x: Tensor) -> Tensor:
        wrong = self.data_dim == 2 and x.shape[1] == x.shape[2] and self.stride < self.patch_size
        return tokens * 3 if wrong else tokens


class InputGradientMissesFirstSample(Differentiated):
    def input_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        gradient = super().input_gradient(cotangent, x, weight)
        return torch.cat([torch.zeros_like(gradient[:1]), gradient[1:]])


class WeightGradientAveragedOverTokens(Differentiated):
    def weight_gradient(self, cotangent: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return super().weight_gradient(cotangent, x, weight) / cotangent[0, ..., 0].numel()


class BiasGradientNegated(Differentiated):
    def bias_gradient(self, cotangent: Tensor) -> Tensor:
        return -super().bias_gradient(cotangent)


SMALL = Case(Spec(2, 2, 1, 2, 3, bias=True), Input(2, (9,)), Fill("exact", 3))
IMAGE = Case(Spec(2, 3, 2, 2, 1), Input(2, (4, 5)), Fill("exact", 3))
BACKWARD = replace(SMALL, backward=Backward(PARAMETERS_AND_INPUT, "random"))
OTHERS: tuple[tuple[type[nn.Module], str, Case, str], ...] = (
    (
        KernelTurned,
        "values_exact",
        IMAGE,
        "axes 0 and 1 of the kernel are swapped, and then the taps are read backwards along axis 0, only in 2D",
    ),
    (
        StrideDoubledAlongFirstAxis,
        "grid_shape",
        IMAGE,
        "windows on axis 0 start at 0, 4, but should start at 0, 2, 4, 6: stride 4 instead of 2",
    ),
    (
        FirstWindowTwice,
        "values_exact",
        SMALL,
        "windows on axis 0 start at 0, 0, 5, 10, but should start at 0, 5, 10, 15; windows on axis 1 start at "
        "0, 0, 5, 10, 15, but should start at 0, 5, 10, 15, 20",
    ),
    (
        TapsSpread,
        "values_exact",
        SMALL,
        "windows on axes 0 and 1 read the pixels 0, 1 and 3 from their first, but should read 0, 1 and 2",
    ),
    (
        HalfBias,
        "values_exact",
        SMALL,
        "the bias is added 1/2 times",
    ),
    (
        BiasReversed,
        "values_exact",
        SMALL,
        "the bias is added with its channels in the reverse order",
    ),
    (
        ChannelsMoved,
        "values_exact",
        SMALL,
        "every input channel uses the weight of the one after it",
    ),
    (
        SamplesMoved,
        "values_exact",
        SMALL,
        "every sample stands one place further on than its own",
    ),
    (
        TokensThroughTanh,
        "values_exact",
        SMALL,
        "tanh is applied to the output",
    ),
    (
        FirstTokenTripled,
        "values_exact",
        SMALL,
        "for the first token of every sample the output is 3 times what it should be",
    ),
    (
        RowsOfUnitNorm,
        "values_exact",
        SMALL,
        "every row of the weight is divided by its norm",
    ),
    (
        SixteenthsOnly,
        "values_bounded",
        replace(SMALL, fill=Fill("real", 3)),
        "the weight is rounded to multiples of 1/16",
    ),
    (
        DoubledInFloat32,
        "values_exact",
        replace(SMALL, input=Input(2, (9,), "float32")),
        "every output value is 2 times what it should be, only in float32",
    ),
    (
        NegatedForFiveSamplesOrMore,
        "values_exact",
        replace(SMALL, input=Input(5, (9,))),
        "every output value has the wrong sign, only from the batch 5 on",
    ),
    (
        WrongWhereSquareAndOverlapping,
        "values_exact",
        replace(IMAGE, input=Input(2, (4, 4))),
        "every output value is 3 times what it should be, only in 2D, where the stride is smaller than the "
        "patch and where the sizes of all axes are equal",
    ),
    (
        InputGradientMissesFirstSample,
        "input_gradient_exact",
        BACKWARD,
        "only the gradient of the input is wrong: the first sample does not count",
    ),
    (
        WeightGradientAveragedOverTokens,
        "weight_gradient_bounded",
        replace(BACKWARD, fill=Fill("real", 3)),
        "only the gradient of the weight is wrong: it is the mean over the tokens of a sample instead of the sum",
    ),
    (
        BiasGradientNegated,
        "bias_gradient_exact",
        BACKWARD,
        "only the gradient of the bias is wrong: it has the wrong sign",
    ),
)


@pytest.mark.parametrize(("layer", "name", "case", "sentence"), OTHERS, ids=[row[0].__name__ for row in OTHERS])
def test_other_wrong_layers(layer: type[nn.Module], name: str, case: Case, sentence: str) -> None:
    verdict = judge(Mutant(layer, name), BY_NAME[name], case)

    assert isinstance(verdict, Failed), verdict
    assert explain(BY_NAME[name], case, verdict, layer) == sentence
