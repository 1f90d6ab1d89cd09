"""Mutant bugs come out as the smallest case that shows them, worked out by hand from what each layer does."""

import pytest
from torch import nn

from properties.cases.case import Case
from properties.cases.shrinking import shrink
from properties.runs.plan import make_plan
from properties.runs.result import gather
from properties.runs.shard import run_cases
from properties.trials.verdict import Failed
from tests.mutants import MUTANTS, forward, gradients, interface, samples, windows

DETECTED_BY = {mutant.layer: mutant.detected_by for mutant in MUTANTS}

# The layer; then data_dim, in_features, out_features, patch_size, effective stride, bias, batch and sizes; and why
# nothing smaller can show it. Where the stride does not matter the smaller one is the smaller case.
SMALLEST: tuple[tuple[type[nn.Module], tuple[int, int, int, int, int, bool, int, tuple[int, ...]], str], ...] = (
    (forward.TapsFlipped, (1, 1, 1, 2, 1, False, 1, (2,)), "one tap is its own reverse"),
    (forward.TapsTransposedInImages, (2, 1, 1, 2, 1, False, 1, (2, 2)), "one tap an axis is its own transpose"),
    (forward.TapsTransposedInVolumes, (3, 1, 1, 2, 1, False, 1, (2, 2, 2)), "the same, in a volume"),
    (forward.TapOrderSwapped, (1, 2, 1, 2, 1, False, 1, (2,)), "an order of two needs two of both"),
    (forward.LargePatchesTruncated, (1, 1, 1, 8, 1, False, 1, (8,)), "patches of seven pixels are whole"),
    (forward.InputChannelsReversed, (1, 3, 1, 1, 1, False, 1, (1,)), "only three channels are reversed"),
    (forward.SquareWeightTransposed, (1, 2, 2, 1, 1, False, 1, (1,)), "one channel is its own transpose"),
    (forward.DepthwiseWhereChannelsMatch, (1, 2, 2, 1, 1, False, 1, (1,)), "one channel sees all there is"),
    (forward.BiasMissing, (1, 1, 1, 1, 1, True, 1, (1,)), "it needs a bias, and nothing else"),
    (forward.BiasAddedTwice, (1, 1, 1, 1, 1, True, 1, (1,)), "it needs a bias, and nothing else"),
    (forward.BiasAddedPerTap, (1, 1, 1, 2, 1, True, 1, (2,)), "once per tap is once for one tap"),
    (forward.BiasOnFirstTokenOnly, (1, 1, 1, 1, 1, True, 1, (2,)), "the first of two tokens"),
    (forward.BiasOnFirstSampleOnly, (1, 1, 1, 1, 1, True, 2, (1,)), "the first of two samples"),
    (forward.AveragedOverTaps, (1, 1, 1, 2, 1, False, 1, (2,)), "the mean of one product is its sum"),
    (forward.OddTokensNegated, (1, 1, 1, 1, 1, False, 1, (2,)), "the second of two tokens"),
    (windows.StripesNotPatches, (2, 1, 1, 2, 2, False, 1, (2, 4)), "two patches beside each other"),
    (windows.WindowsAnchoredAtTheEnd, (1, 1, 1, 1, 2, False, 1, (2,)), "a remainder of one pixel"),
    (gradients.BiasGradientMissing, (1, 1, 1, 1, 1, True, 1, (1,)), "it needs a bias, and nothing else"),
    (gradients.InputGradientHalved, (1, 1, 1, 1, 1, False, 1, (1,)), "any gradient shows it"),
    (gradients.InputGradientTransposedWhereSquare, (2, 1, 1, 1, 1, False, 1, (2, 2)), "one pixel is its transpose"),
    (gradients.OverlapOverwrites, (1, 1, 1, 2, 1, False, 1, (3,)), "two windows share one pixel"),
    (samples.SamplesReversed, (1, 1, 1, 1, 1, False, 3, (1,)), "the reversal of two commutes with their exchange"),
    (samples.BatchOfOneSqueezed, (1, 1, 1, 1, 1, False, 1, (1,)), "any batch of one shows it"),
    (interface.DefaultStrideOne, (1, 1, 1, 2, 2, False, 1, (3,)), "two pixels hold one window at either stride"),
    (interface.RemainderRefused, (1, 1, 1, 1, 2, False, 1, (2,)), "a remainder of one pixel"),
    (interface.SquareOnly, (2, 1, 1, 1, 2, False, 1, (1, 2)), "two axes that differ, and a single token"),
)


@pytest.mark.parametrize(("layer", "expected", "why"), SMALLEST, ids=[row[0].__name__ for row in SMALLEST])
def test_smallest_case(layer: type[nn.Module], expected: tuple[object, ...], why: str) -> None:
    plan = make_plan(layer, seed=7, cases=50, only=[DETECTED_BY[layer]])
    (prop,) = plan.properties
    found_first = (
        gather("random0", run_cases(plan, "random0", plan.cases_of("random0"))).tallies[prop.name].smallest_failure
    )
    assert found_first is not None
    smallest = shrink(Case.from_json(found_first.case), lambda case: isinstance(prop.judge_case(case, layer), Failed))

    spec, given = smallest.spec, smallest.input
    found = (spec.data_dim, spec.in_features, spec.out_features, spec.patch_size, spec.effective_stride, spec.bias)
    assert (*found, given.batch, given.sizes) == expected, why
    # Whatever does not matter is as plain as it can be.
    assert (given.dtype, given.layout, smallest.weight_layout) == ("float64", "contiguous", "plain")
