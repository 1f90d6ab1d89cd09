"""What torch itself gets wrong excuses a layer only where torch, given the same, is seen to get it wrong."""

from dataclasses import replace

import pytest
import torch

from patchify import LinearPatchify, Patchify
from properties import property as property_module
from properties.case import PARAMETERS_AND_INPUT, Backward, Case, Input, Spec
from properties.compilation import ViewedControl
from properties.families.compiled import compiled_gradients, compiled_later_sizes, compiler_does_not_fail
from properties.families.values import values_exact
from properties.implementation import CannotRun
from properties.landmarks import landmarks
from properties.plan import make_plan
from properties.platform import (
    UNFOLD_BACKWARD,
    corrupts_memory,
    leaks_nan,
    missums,
    reads_past_input,
    script_fails,
)
from properties.property import Property
from properties.report import Report
from properties.result import ShardResult, Tally
from properties.settings import undisturbed
from properties.trial import Trial
from properties.verdict import Failed, Inapplicable, Passed, Verdict
from tests.correct import UnfoldedLinear
from tests.planted.compiled import ChannelsLastView, CompiledWeightGradientDoubled

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
        reason = "torch's own bfloat16 convolution on cpu gives wrong sums here as well"
        assert found == Inapplicable(reason, torch_fault=True)
    else:
        assert isinstance(found, Passed)
    assert isinstance(values_exact.judge_case(case, Patchify), Passed)


def test_torch_is_right_in_other_dtypes() -> None:
    assert not any(missums(dtype, CPU) for dtype in (torch.float64, torch.float32, torch.float16))


PATCHES_OF_16 = Case(
    Spec(3, 2, 2, 16, bias=True), Input(2, (33, 33), "float32"), backward=Backward(PARAMETERS_AND_INPUT, "random")
)


def test_layers_built_on_unfold_are_not_blamed_for_inductor() -> None:
    """Nor run there, since Inductor's backward pass of unfold would end the process."""
    with undisturbed("cpu"):
        faulty = script_fails("unfold_backward", "float32", (2, 33, 33, 3), 16, 16)
        assert corrupts_memory(Trial(PATCHES_OF_16, UnfoldedLinear)) == faulty
        assert not corrupts_memory(Trial(replace(PATCHES_OF_16, backward=Backward()), UnfoldedLinear))
        assert not any(corrupts_memory(Trial(PATCHES_OF_16, layer)) for layer in (Patchify, LinearPatchify))
    expected = Inapplicable(UNFOLD_BACKWARD, torch_fault=True) if faulty else Passed()
    assert replace_slack(compiled_gradients.judge_case(PATCHES_OF_16, UnfoldedLinear)) == expected


def replace_slack(verdict: Verdict) -> Verdict:
    return Passed() if isinstance(verdict, Passed) else verdict


def test_layers_without_unfold_are_judged_where_unfold_fails() -> None:
    for layer in (Patchify, LinearPatchify):
        assert isinstance(compiled_gradients.judge_case(PATCHES_OF_16, layer), Passed)
    assert isinstance(compiled_gradients.judge_case(PATCHES_OF_16, CompiledWeightGradientDoubled), Failed)


def test_failures_of_the_compiler_count_against_no_layer_but_at_the_level_robust() -> None:
    """torch 2.13 cannot compile this convolution of a view at a second size: R50."""
    spec = Spec(3, 4, 2, 2, bias=True)
    case = Case(spec, Input(5, (5, 7)), backward=Backward(PARAMETERS_AND_INPUT, "random"))
    stopped = compiler_does_not_fail.judge_case(case, ChannelsLastView)
    judged = compiled_later_sizes.judge_case(case, ChannelsLastView)
    if isinstance(stopped, Failed):
        assert judged == Inapplicable("torch's compiler itself fails (InductorError)", torch_fault=True)
    else:
        assert isinstance(judged, Passed)
    assert isinstance(compiler_does_not_fail.judge_case(case, Patchify), Passed)


def test_checks_lost_to_torch_stand_in_the_verdict_line() -> None:
    plan = make_plan(Patchify, seed=1, cases=0, strength=0, only=["compiled_gradients"])
    tally = Tally.of(PATCHES_OF_16, Inapplicable(UNFOLD_BACKWARD, torch_fault=True), "landmarks")
    result = ShardResult("landmarks", cases=1, tallies={"compiled_gradients": tally.merged(tally)})
    told = Report(plan, (result,)).verdict_line
    assert f"; 2 checks lost to faults of torch: {UNFOLD_BACKWARD} (2)" in told


def test_a_script_that_cannot_be_run_is_no_fault() -> None:
    with pytest.raises(CannotRun, match="unfold_backward"):
        script_fails("unfold_backward", "float31", (2, 33, 33, 3), 16, 16)
