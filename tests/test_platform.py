"""What torch itself gets wrong excuses a layer only where torch, given the same, is seen to get it wrong."""

import pytest
import torch

from patchify import Patchify
from properties import property as property_module
from properties.case import PARAMETERS_AND_INPUT, Backward, Case, Input, Spec
from properties.compilation import ViewedControl
from properties.families.values import values_exact
from properties.landmarks import landmarks
from properties.platform import leaks_nan, missums, reads_past_input
from properties.property import Property
from properties.trial import Trial
from properties.verdict import Failed, Inapplicable, Passed

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


@pytest.mark.parametrize("name", ["image of one window, patch 8", "volume of one window, patch 4"])
def test_wrong_sums_of_torch_are_nobodys_fault(name: str) -> None:
    """Where torch's own convolution is wrong no layer is blamed for it, and ours, which avoids it there, is judged."""
    case = landmarks()[f"{name}, exact 1000, bfloat16"]
    found = values_exact.judge_case(case, ViewedControl)
    if missums(torch.bfloat16, CPU):
        assert found == Inapplicable("torch's own bfloat16 convolution on cpu gives wrong sums here as well")
    else:
        assert isinstance(found, Passed)
    assert isinstance(values_exact.judge_case(case, Patchify), Passed)


def test_torch_is_right_in_other_dtypes() -> None:
    assert not any(missums(dtype, CPU) for dtype in (torch.float64, torch.float32, torch.float16))
