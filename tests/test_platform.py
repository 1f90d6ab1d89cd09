"""What torch itself gets wrong excuses a layer only where torch, given the same, is seen to get it wrong."""

import pytest
import torch

from patchify import Patchify
from properties import property as property_module
from properties.case import PARAMETERS_AND_INPUT, Backward, Case, Input, Spec
from properties.platform import leaks_nan, reads_past_input
from properties.property import Property
from properties.trial import Trial
from properties.verdict import Failed, Inapplicable

CPU = torch.device("cpu")
# One channel, of which the last pixel has no pair, and a weight that is stored channels last.
ALONE = Case(
    Spec(1, 2, 3, 2, stride=3, bias=True),
    Input(5, (5, 5, 2), "bfloat16"),
    weight_layout="channels_last",
    backward=Backward(PARAMETERS_AND_INPUT),
)
NOT_A_NUMBER = Property("says_nan", ("C7",), "Fails with NaN.", lambda _: Failed("is NaN", observed="nan"))
WRONG = Property("says_wrong", ("C7",), "Fails with 3.", lambda _: Failed("is 3", observed="3", expected="4"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_is_right_in_the_wide_dtypes(dtype: str) -> None:
    assert not leaks_nan(getattr(torch, dtype), CPU)
    case = Case(ALONE.spec, Input(5, (5, 5, 2), dtype), weight_layout="channels_last", backward=ALONE.backward)
    assert not reads_past_input(case, CPU)


def test_reading_past_the_input_is_the_kernel_that_leaks() -> None:
    assert leaks_nan(torch.bfloat16, CPU) or not reads_past_input(ALONE, CPU)


def test_no_excuse_where_torch_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(property_module, "reads_past_input", lambda case, device: False)
    assert isinstance(NOT_A_NUMBER(Trial(ALONE, Patchify)), Failed)


def test_nan_is_not_judged_where_torch_reads_past_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(property_module, "reads_past_input", lambda case, device: True)
    verdict = NOT_A_NUMBER(Trial(ALONE, Patchify))
    assert isinstance(verdict, Inapplicable)
    assert "bfloat16" in verdict.reason
    assert isinstance(WRONG(Trial(ALONE, Patchify)), Failed)
