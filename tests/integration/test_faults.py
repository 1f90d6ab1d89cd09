"""What torch itself gets wrong excuses a layer only where torch, given the same, is seen to get it wrong."""

import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import InternalTorchDynamoError
from torch.nn import functional

from patchify import LinearPatchify, Patchify
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.cases.landmarks import landmarks
from properties.laws.compiled import (
    compiled_gradients,
    compiled_later_sizes,
    compiled_values,
    compiler_does_not_fail,
    compiles_without_graph_break,
)
from properties.laws.functional import runs_under_autocast
from properties.laws.gradients import input_gradient_exact
from properties.laws.histories import right_after_any_history
from properties.laws.law import Law
from properties.laws.values import values_exact
from properties.runs.plan import make_plan
from properties.runs.report import Report
from properties.runs.result import ShardResult, Tally
from properties.trials import faults as platform
from properties.trials import playing, torch_faults
from properties.trials.fault_scripts import script_fails
from properties.trials.faults import (
    UNFOLD_BACKWARD,
    corrupts_memory,
)
from properties.trials.implementation import CannotRun
from properties.trials.memory_faults import INPUT_GRADIENT
from properties.trials.settings import undisturbed
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Inapplicable, Passed, Place, Verdict, Violation
from tests.correct.windows import UnfoldedLinear
from tests.helpers.mutant_cases import load_cases
from tests.mutants.compiled import ChannelsLastView, CompiledWeightGradientDoubled
from tests.mutants.histories import OutputKeptByTensor

# One channel, of which the last pixel has no pair, and a weight that is stored channels last.
ALONE = Case(
    Spec(1, 2, 3, 2, stride=3, bias=True),
    Input(5, (5, 5, 2), "bfloat16"),
    weight_layout="channels_last",
    backward=Backward(PARAMETERS_AND_INPUT),
)
PLACE = Place("output", (0, 0, 0, 0, 0))
NAN, THREE = Failed("is NaN", PLACE, observed="nan"), Failed("is 3", PLACE, observed="3", expected="4")


def fails(failed: Failed) -> Law:
    def judge(trial: Trial) -> None:
        raise Violation(failed)

    return Law("fails", ("C7",), "Fails.", judge)


NOT_A_NUMBER, WRONG = fails(NAN), fails(THREE)


SCRIPTS = Path(torch_faults.__file__).parent
CONVOLUTION_FAULTS = ("convolution_leaks_nan", "convolution_reads_past", "convolution_sums")


@pytest.mark.parametrize("fault", CONVOLUTION_FAULTS)
@pytest.mark.parametrize("shape", [(5, 5, 5, 2, 1), (2, 7, 9, 3), (3, 8, 1)])
def test_torch_is_right_in_other_dtypes(fault: str, shape: tuple[int, ...]) -> None:
    """Which shows, besides, that a script says what is right of every number of axes."""
    for dtype in ("float64", "float32", "float16"):
        assert not script_fails(fault, dtype, shape, 2, 3)


@pytest.mark.parametrize("fault", CONVOLUTION_FAULTS)
def test_a_convolution_that_is_wrong_is_found_out(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens are not numbers, but in float32."""
    right = functional.conv2d

    def wrong(x: Tensor, weight: Tensor, **options: Any) -> Tensor:
        return right(x, weight, **options) * (1 if x.dtype == torch.float32 else torch.nan)

    monkeypatch.setattr(functional, "conv2d", wrong)
    monkeypatch.setattr(sys, "argv", [fault, "bfloat16", "2,31,33,3", "2", "3"])
    with pytest.raises(SystemExit, match="3"):
        run_path(str(SCRIPTS / f"{fault}.py"), run_name="__main__")


def told(prop: Law, dtype: str, **fails: bool) -> tuple[Verdict, list[tuple[Any, ...]]]:
    """A property's verdict where scripts fail or not, and what they were asked."""
    asked: list[tuple[Any, ...]] = []

    def script(fault: str, *about: Any) -> bool:
        asked.append((fault, *about))
        return fails.get(fault, False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "script_fails", script)
        return prop(Trial(replace(ALONE, input=replace(ALONE.input, dtype=dtype)), Patchify)), asked


def test_a_wrong_value_is_excused_only_where_the_script_of_its_fault_fails() -> None:
    shape = ("bfloat16", (5, 5, 5, 2, 1), 2, 3)
    assert told(NOT_A_NUMBER, "bfloat16") == (
        NAN,
        [("convolution_leaks_nan", *shape), ("convolution_reads_past", *shape)],
    )
    assert told(WRONG, "bfloat16", convolution_leaks_nan=True) == (
        THREE,
        [("convolution_sums", *shape)],
    )
    assert isinstance(told(NOT_A_NUMBER, "float32", convolution_leaks_nan=True)[0], Failed)
    lost = "torch's fault: its bfloat16 convolution"
    for prop, fault, what in (
        (NOT_A_NUMBER, "convolution_leaks_nan", "lets NaN into windows that do not cover it"),
        (NOT_A_NUMBER, "convolution_reads_past", "reads memory past its input"),
        (WRONG, "convolution_sums", "gives wrong sums"),
    ):
        assert told(prop, "bfloat16", **{fault: True})[0] == Inapplicable(f"{lost} {what}", torch_fault=True)


@pytest.mark.parametrize("name", ["image of one window, patch 8", "volume of one window, patch 4"])
def test_wrong_sums_of_torch_are_nobodys_fault(name: str) -> None:
    """Where torch's own convolution is wrong no layer is blamed for it, and ours, which avoids it there, is judged."""
    case = landmarks()[f"{name}, exact 1000, bfloat16"]
    found = values_exact.judge_case(case, ChannelsLastView)
    if script_fails("convolution_sums", "bfloat16", case.input_shape, case.spec.patch_size, case.spec.effective_stride):
        assert found == Inapplicable("torch's fault: its bfloat16 convolution gives wrong sums", torch_fault=True)
    else:
        assert isinstance(found, Passed)
    assert isinstance(values_exact.judge_case(case, Patchify), Passed)


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
    found = compiled_gradients.judge_case(PATCHES_OF_16, UnfoldedLinear)
    assert found == Inapplicable(UNFOLD_BACKWARD, torch_fault=True) if faulty else isinstance(found, Passed)


def test_sequences_whose_input_gradient_ends_the_process_are_nobodys_fault() -> None:
    """Ours, which oneDNN takes for a column there, is judged."""
    spec, given = Spec(16, 4096, 1, 16, stride=2, bias=True), Input(2, (19,), "float32")
    case = Case(spec, given, backward=Backward(("input",), "ones"))
    if script_fails("convolution_input_gradient", "float32", case.input_shape, 16, 2, 4096):
        assert input_gradient_exact.judge_case(case, ChannelsLastView) == Inapplicable(INPUT_GRADIENT, torch_fault=True)
    assert isinstance(input_gradient_exact.judge_case(case, Patchify), Passed)


def test_a_wrong_call_of_a_history_may_be_torchs_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for the call that was wrong, and no layer is blamed where it is."""
    case = load_cases()["histories.OutputKeptByTensor"]
    assert isinstance(right_after_any_history.judge_case(case, OutputKeptByTensor), Failed)
    asked: list[tuple[int, ...]] = []

    def behind(trial: Trial, *_: object) -> str:
        asked.append(trial.case.input.sizes)
        return "torch's fault: for this test"

    monkeypatch.setattr(playing, "fault_behind", behind)
    lost = Inapplicable("torch's fault: for this test", torch_fault=True)
    assert right_after_any_history.judge_case(case, OutputKeptByTensor) == lost
    assert asked == [case.input.sizes]


def test_what_overflows_in_the_parameters_dtype_is_right_under_autocast() -> None:
    """A sum of 66,300, which bfloat16 holds, is infinite as a gradient in float16."""
    given, backward = Input(1, (26, 50, 51), "float16"), Backward(("bias",), "ones")
    case = Case(Spec(1, 1, 3, 1, bias=True), given, Fill("exact", 0), backward=backward, autocast="bfloat16")
    assert isinstance(runs_under_autocast.judge_case(case, Patchify), Passed)


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


def test_every_check_is_lost_where_the_compiler_fails_at_the_first_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise InternalTorchDynamoError("a bug of Dynamo")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    lost = Inapplicable("torch's compiler itself fails (InternalTorchDynamoError)", torch_fault=True)
    case = replace(PATCHES_OF_16, spec=Spec(3, 4, 2, 3, bias=True))
    for prop in (compiles_without_graph_break, compiled_values, compiled_gradients, compiled_later_sizes):
        assert prop.judge_case(case, Patchify) == lost


def test_checks_lost_to_torch_stand_in_the_verdict_line() -> None:
    plan = make_plan(Patchify, seed=1, cases=0, strength=0, only=["compiled_gradients"])
    tally = Tally.of(PATCHES_OF_16, Inapplicable(UNFOLD_BACKWARD, torch_fault=True), "landmarks")
    result = ShardResult("landmarks", cases=1, tallies={"compiled_gradients": tally.merged(tally)})
    told = Report(plan, (result,)).verdict_line
    assert f"; 2 checks lost to faults of torch: {UNFOLD_BACKWARD} (2)" in told


def test_a_script_that_cannot_be_run_is_no_fault() -> None:
    with pytest.raises(CannotRun, match="unfold_backward"):
        script_fails("unfold_backward", "float31", (2, 33, 33, 3), 16, 16)
