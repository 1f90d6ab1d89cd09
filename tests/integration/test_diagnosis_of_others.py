"""Wrong layers that are no mutants of ours are diagnosed too: what is measured is not tuned to the mutants."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.diagnosis import diagnose
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
# Each with the id of the evidence, and the factors of the features that it takes.
OTHERS: tuple[tuple[type[nn.Module], str, Case, str, str], ...] = (
    (KernelTurned, "values_exact", IMAGE, "taps_reordered", ""),
    (StrideDoubledAlongFirstAxis, "grid_shape", IMAGE, "stride", ""),
    (FirstWindowTwice, "values_exact", SMALL, "window_origin", ""),
    (TapsSpread, "values_exact", SMALL, "reads_outside", ""),
    (HalfBias, "values_exact", SMALL, "bias_repeated", ""),
    (BiasReversed, "values_exact", SMALL, "bias_elsewhere", ""),
    (ChannelsMoved, "values_exact", SMALL, "channels_reordered", ""),
    (SamplesMoved, "values_exact", SMALL, "samples_mixed", ""),
    (TokensThroughTanh, "values_exact", SMALL, "activation", ""),
    (FirstTokenTripled, "values_exact", SMALL, "factor_on_some", ""),
    (RowsOfUnitNorm, "values_exact", SMALL, "normalised", ""),
    (SixteenthsOnly, "values_bounded", replace(SMALL, fill=Fill("real", 3)), "rounding", ""),
    (DoubledInFloat32, "values_exact", replace(SMALL, input=Input(2, (9,), "float32")), "factor", "dtype"),
    (NegatedForFiveSamplesOrMore, "values_exact", replace(SMALL, input=Input(5, (9,))), "factor", "batch"),
    (
        WrongWhereSquareAndOverlapping,
        "values_exact",
        replace(IMAGE, input=Input(2, (4, 4))),
        "factor",
        "data_dim stride sizes",
    ),
    (InputGradientMissesFirstSample, "input_gradient_exact", BACKWARD, "not_counted", ""),
    (
        WeightGradientAveragedOverTokens,
        "weight_gradient_bounded",
        replace(BACKWARD, fill=Fill("real", 3)),
        "factor",
        "",
    ),
    (BiasGradientNegated, "bias_gradient_exact", BACKWARD, "factor", ""),
)


@pytest.mark.parametrize(("layer", "name", "case", "id", "factors"), OTHERS, ids=[row[0].__name__ for row in OTHERS])
def test_other_wrong_layers(layer: type[nn.Module], name: str, case: Case, id: str, factors: str) -> None:
    verdict = judge(Mutant(layer, name), BY_NAME[name], case)
    assert isinstance(verdict, Failed), verdict

    evidence = diagnose(BY_NAME[name], case, verdict, layer)
    assert evidence is not None
    assert evidence.id == id, evidence
    assert {only.factor for only in evidence.only_when} >= set(factors.split())
    assert all(only.holds(case) for only in evidence.only_when)
