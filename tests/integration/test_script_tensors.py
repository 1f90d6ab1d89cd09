"""Standalone scripts run a layer on the case's tensors, bit for bit and stride for stride."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from patchify import Patchify
from properties.cases.case import (
    COTANGENTS,
    DTYPES,
    FILLS,
    LAYOUTS,
    PARAMETERS_AND_INPUT,
    Backward,
    Case,
    Fill,
    Input,
    Spec,
)
from properties.cases.drawing import draw_cases
from properties.failures.scripts import standalone_script, tensors
from properties.trials.trial import Trial
from tests.helpers.scripts import CORRECT, FAILED, execute


def bits(tensor: Tensor) -> Tensor:
    """The bits of every value, in logical order."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().clone(memory_format=torch.contiguous_format).view(integers)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert (found.dtype, found.shape, found.stride()) == (expected.dtype, expected.shape, expected.stride())
    assert torch.equal(bits(found), bits(expected))


# What cases of the first format have, of which scripts are written by hand.
OLD_FILLS = tuple(name for name in FILLS if Case(fill=Fill(name)).format == 1)
OLD_COTANGENTS = tuple(name for name in COTANGENTS if Case(backward=Backward((), name)).format == 1)
DRAWN = 40


@cache
def drawn(number: int) -> list[Case]:
    """Drawn cases, all gradients wanted, in which every fill, dtype, layout and cotangent meets every other."""
    # More terms than there are integers for in bfloat16, so that some weights, or most of the cotangent, are zero.
    found = [
        Case(Spec(4, 2, 2, 8), Input(1, (8, 9), "bfloat16"), backward=Backward(("input", "weight"))),
        Case(Spec(), Input(3, (100,), "bfloat16"), backward=Backward(("input", "weight"))),
    ]
    for i, case in enumerate(draw_cases(f"scripts/{number}", DRAWN)):
        every = PARAMETERS_AND_INPUT if case.spec.bias else ("input", "weight")
        others = tuple(name for name in OLD_FILLS if name != "address")
        fill = case.fill if case.fill.name == "address" else replace(case.fill, name=others[(i + number) % len(others)])
        cotangent = case.backward.cotangent if case.backward.cotangent in OLD_COTANGENTS else "random"
        if case.input.batch < 1000:
            given, backward = replace(case.input, origin="leaf"), Backward(every, cotangent)
            found.append(replace(case, input=given, fill=fill, backward=backward, mode="train", autocast="off"))
    return found


@pytest.mark.parametrize("most_numbers", [-1, 60, 2000], ids=["generator", "either", "literal"])
@pytest.mark.parametrize("number", range(2))
def test_tensors_are_the_cases(number: int, most_numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit and stride for stride, whichever way the script makes them."""
    monkeypatch.setattr(tensors, "_MOST_NUMBERS", most_numbers)
    monkeypatch.setattr(tensors, "_MOST_LINES", 1000 if most_numbers > 60 else tensors._MOST_LINES)
    generated = 0
    for case in drawn(number):
        text = standalone_script("runs_backward", CORRECT, "cpu", case, FAILED)
        generated += "hashlib" in text
        variables = execute(text)
        trial = Trial(case, Patchify)
        assert_same(variables["x"], trial.x)
        assert variables["x"].requires_grad
        assert_same(variables["cotangent"], trial.make_cotangent())
        for name in ("weight", "bias") if case.spec.bias else ("weight",):
            assert_same(variables[name], getattr(trial.values, name))
            parameter, expected = getattr(variables["layer"].conv, name), getattr(trial.layer.conv, name)
            assert_same(parameter, expected)
            assert parameter.requires_grad
    # Numbers that count up need no generator.
    drawn_at_random = sum(case.fill.name != "address" for case in drawn(number))
    assert generated >= drawn_at_random if most_numbers < 0 else generated < drawn_at_random


def test_drawn_cases_reach_everything_that_scripts_write() -> None:
    cases = [case for number in range(5) for case in drawn(number)]

    assert {case.fill.name for case in cases} == set(OLD_FILLS)
    assert {case.input.dtype for case in cases} == set(DTYPES)
    assert {case.input.layout for case in cases} == set(LAYOUTS)
    assert {case.backward.cotangent for case in cases} == set(OLD_COTANGENTS)
    assert {case.weight_layout for case in cases} == {"plain", "channels_last"}
    texts = [standalone_script("runs_backward", CORRECT, "cpu", case, FAILED) for case in cases]
    for written in ('f"weight/{row}/chosen"', '"cotangent/chosen"', "[p for p in range(", "torch.eye("):
        assert any(written in text for text in texts), written


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", ["exact", "real"])
def test_later_sizes_have_the_cases_values(dtype: str, fill: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The expectation at each later size is the trial's, with the trial's bound: a layer that is right passes."""
    every = Backward(PARAMETERS_AND_INPUT, "channels_first")
    case = Case(Spec(3, 4, 2, 3, 2, bias=True), Input(2, (6, 4), dtype, "stepped"), Fill(fill, 12), backward=every)
    text = standalone_script("compiled_later_sizes", CORRECT, "cpu", case, replace(FAILED, what="a gradient is wrong"))
    # Compiling shows nothing here.
    eager = text.replace("torch.compile(layer, fullgraph=True)", "layer")
    assert eager != text
    execute(eager)
    with pytest.raises(AssertionError):
        execute(eager.replace("compiled = layer", "compiled = lambda x: 1.5 * layer(x)"))
