"""What explanations are made of: right layers are measured right, cases grow, and there is always a sentence."""

from typing import Any

import pytest
import torch
from torch import nn

from oracles.windows import origins
from patchify import Patchify
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.diagnosis import UNSTEADY, explain
from properties.diagnosis.forward import cause_of_output
from properties.diagnosis.gradients import cause_of_gradient
from properties.diagnosis.growth import grow
from properties.diagnosis.nonfinite import cause_of_nonfinite, cause_of_uncovered
from properties.diagnosis.precision import cause_of_rounding
from properties.diagnosis.probe import SEEDS, Subject, given_of, observe, plainly
from properties.diagnosis.reading import read
from properties.diagnosis.weight import applied_weight
from properties.diagnosis.words import members, number
from properties.trials.verdict import Failed
from tests.correct import CORRECT
from tests.helpers import misbehaving
from tests.helpers.mutant_cases import BY_NAME

RIGHT_CASES = (
    Case(Spec(2, 3, 1, 3, 2, bias=True), Input(3, (12,)), backward=Backward(PARAMETERS_AND_INPUT, "random")),
    Case(Spec(3, 2, 2, 2, 3, bias=True), Input(2, (9, 7)), backward=Backward(PARAMETERS_AND_INPUT, "random")),
    Case(Spec(2, 2, 3, 2, 1, bias=True), Input(2, (3, 4, 5)), backward=Backward(PARAMETERS_AND_INPUT, "random")),
)


@pytest.mark.parametrize("case", RIGHT_CASES, ids=lambda case: f"{case.spec.data_dim}D")
@pytest.mark.parametrize("layer", CORRECT, ids=lambda layer: layer.__name__)
def test_nothing_is_wrong_with_right_layers(layer: type[nn.Module], case: Case) -> None:
    subject = Subject(BY_NAME["values_exact"], layer)
    look = plainly(subject, case)

    assert cause_of_output(case, look) is None
    assert cause_of_gradient(subject, case) is None
    assert cause_of_rounding(case, look) is None
    assert cause_of_nonfinite(case, look) is None
    assert cause_of_uncovered(case, look) is None


@pytest.mark.parametrize("case", RIGHT_CASES, ids=lambda case: f"{case.spec.data_dim}D")
def test_what_is_read_is_what_the_windows_cover(case: Case) -> None:
    look = plainly(Subject(BY_NAME["values_exact"], Patchify), case)
    reading = read(case, look, given_of(case, SEEDS[0]))
    assert reading is not None
    assert reading.grid == case.grid
    for axis, size in enumerate(case.input.sizes):
        firsts = origins(size, case.spec.patch_size, case.spec.step)
        for window, first in enumerate(firsts):
            for tap in range(case.spec.patch_size):
                pixels = (
                    reading.source[..., 1 + axis].select(2 + case.spec.data_dim + axis, tap).select(1 + axis, window)
                )
                assert set(pixels.flatten().tolist()) == {first + tap}


@pytest.mark.parametrize("case", RIGHT_CASES, ids=lambda case: f"{case.spec.data_dim}D")
def test_applied_weight_is_the_weight(case: Case) -> None:
    look = plainly(Subject(BY_NAME["values_exact"], Patchify), case)
    one = observe(case, look)[0]

    applied = applied_weight(case, look, one)
    assert applied is not None
    assert torch.equal(applied, one.given.weight)


def test_cases_grow_in_every_respect() -> None:
    grown = grow(Case(), lambda case: True)

    assert grown.spec.data_dim == 2
    assert grown.spec.bias
    assert min(grown.spec.in_features, grown.spec.patch_size, grown.input.batch, *grown.grid) >= 3
    assert len({grown.spec.in_features, grown.spec.out_features, *grown.grid}) == 4


def test_cases_stay_as_small_as_they_must() -> None:
    assert grow(Case(), lambda case: case.input.batch == 1 and case.spec.data_dim == 1).input.batch == 1


def test_what_nothing_fits_is_said_plainly() -> None:
    case = Case(fill=Fill("exact", 3))
    prop = BY_NAME["values_exact"]

    # A verdict on a layer that is right: there is nothing to find.
    sentence = explain(prop, case, Failed("something", observed="1", expected="2"), Patchify)
    assert sentence == UNSTEADY


@pytest.mark.parametrize("name", ["values_exact", "runs_forward", "input_gradient_exact", "constructs", "holds_conv"])
@pytest.mark.parametrize(
    "layer",
    [
        layer
        for layer in vars(misbehaving).values()
        if isinstance(layer, type) and layer.__module__ == misbehaving.__name__ and layer is not misbehaving.Interrupted
    ],
    ids=lambda layer: layer.__name__,
)
def test_whatever_a_layer_does_there_is_a_sentence(layer: Any, name: str) -> None:
    every = Backward(PARAMETERS_AND_INPUT, "random")
    case = Case(Spec(2, 2, 1, 2, 3, bias=True), Input(2, (9,)), Fill("exact", 3), backward=every)
    sentence = explain(BY_NAME[name], case, Failed("something", observed="1", expected="2"), layer)

    assert sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        ([0], "the first token"),
        ([4], "the last token"),
        ([1, 3], "every second token"),
        ([1, 2, 3, 4], "every token but the first"),
        ([2, 3, 4], "all tokens from 2 on"),
        ([1, 4], "tokens 1 and 4"),
        ([3], "token 3"),
    ],
)
def test_members(indices: list[int], words: str) -> None:
    assert members(indices, 5, "token") == words


@pytest.mark.parametrize(("value", "words"), [(2.0, "2"), (1 / 3, "1/3"), (0.7071, "0.7071"), (float("inf"), "inf")])
def test_number(value: float, words: str) -> None:
    assert number(value) == words
