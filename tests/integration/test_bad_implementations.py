"""Implementations that misbehave: each gives failures in plain words, and none disturbs the harness or the caller."""

import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from patchify import Patchify
from properties import Report, verify
from properties.cases.case import PARAMETERS_AND_INPUT, Backward, Case, Fill, Input, Spec
from properties.laws import LAWS
from properties.laws.law import Law
from properties.runs.plan import make_plan
from properties.trials.settings import SETTINGS
from properties.trials.tensors import tensors
from properties.trials.trial import Trial
from tests.helpers.misbehaving import (
    BackwardRaises,
    ChangesTheWorld,
    ConstructorExits,
    ConstructorRaises,
    ConvRaises,
    CountsItsCalls,
    FailsOnce,
    ForwardExits,
    Interrupted,
    OnMeta,
    OtherDtype,
    OtherNames,
    RaisesForLargeStrides,
    RaisesForRemainders,
    RaisesWithoutWords,
    RandomOutput,
    ReturnsList,
    ReturnsNone,
    ReturnsTuple,
    SwitchesGradientsOff,
    WeightIsNoTensor,
    Wrapped,
    ZeroesItsInput,
)

ONLY = (
    *("constructs", "rejects_data_dim", "holds_conv", "runs_forward", "returns_tensor"),
    *("grid_shape", "values_exact", "homogeneous", "additive_in_weight", "zero_input_gives_bias", "runs_backward"),
    *("right_after_any_history", "feeds_position_embedding", "rejects_bad_arguments"),
    *("draws_no_random_numbers", "global_state_unchanged"),
)


@pytest.fixture(autouse=True)
def _random_cases_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("properties.runs.plan.landmarks", lambda dtypes: {})
    monkeypatch.setattr("properties.cases.small_scope.count", lambda *_: 0)


def run(implementation: Any, **changes: Any) -> Report:
    arguments: dict[str, Any] = {"cases": 8, "seed": 3, "only": ONLY, "strength": 0} | changes
    # In this process, whose state they change.
    return verify(implementation, jobs=0, **arguments)


def first_lines(report: Report) -> dict[str, str]:
    """What failed, and in which words."""
    return {
        failure.property: failure.message.splitlines()[0].removeprefix(f"{failure.property} ")
        for failure in report.failures
    }


def observed(report: Report, name: str) -> str:
    (failure,) = (failure for failure in report.failures if failure.property == name)
    (line,) = (line for line in failure.message.splitlines() if line.startswith("  observed  "))
    return line.removeprefix("  observed  ")


NO_CONV = {"holds_conv": "failed: conv differs from the contract"}
CANNOT_BE_BUILT = {
    "constructs": "failed: the constructor raised an exception",
    "rejects_data_dim": "failed: data_dim=0 raises another error",
    "rejects_bad_arguments": "failed: in_features=0 raises another error",
}
RAISES = {"runs_forward": "failed: forward raised an exception"}
NO_TENSOR = {
    "returns_tensor": "failed: the output is no tensor",
    "feeds_position_embedding": "failed: adding a position embedding raised an exception",
}
OTHER_TENSOR = NO_TENSOR | {"returns_tensor": "failed: the output's dtype or device is not the input's"}
BAD: tuple[tuple[Any, dict[str, str], str, str], ...] = (
    (Wrapped, NO_CONV, "holds_conv", "NoneType"),
    (WeightIsNoTensor, NO_CONV, "holds_conv", "object"),
    (
        ConvRaises,
        {"holds_conv": "failed: reading conv raised an exception"},
        "holds_conv",
        "RuntimeError: no convolution today",
    ),
    (ConstructorRaises, CANNOT_BE_BUILT, "constructs", "RuntimeError: no layer today"),
    (ConstructorExits, CANNOT_BE_BUILT, "constructs", "SystemExit: 3"),
    (
        OtherNames,
        CANNOT_BE_BUILT
        | {"rejects_bad_arguments": "failed: the error for in_features=0 does not name argument and value"},
        "constructs",
        "TypeError: OtherNames.__init__() got an unexpected keyword argument 'in_features'",
    ),
    (
        lambda *arguments, **named: 3,
        {
            "constructs": "failed: the constructor raised an exception",
            "rejects_data_dim": "failed: data_dim=0 is accepted",
            "rejects_bad_arguments": "failed: in_features=0 is accepted",
        },
        "constructs",
        "TypeError: the implementation must return a torch.nn.Module, got int",
    ),
    (ReturnsTuple, NO_TENSOR, "returns_tensor", "tuple"),
    (ReturnsNone, NO_TENSOR, "returns_tensor", "NoneType"),
    (ReturnsList, NO_TENSOR, "returns_tensor", "list"),
    (OtherDtype, OTHER_TENSOR, "returns_tensor", "torch.complex64 on cpu"),
    (OnMeta, OTHER_TENSOR, "returns_tensor", "torch.float64 on meta"),
    (ForwardExits, RAISES, "runs_forward", "SystemExit: good bye"),
    (RaisesWithoutWords, RAISES, "runs_forward", "NotImplementedError"),
    (RaisesForLargeStrides, RAISES, "runs_forward", "RuntimeError: windows must touch"),
    (
        ZeroesItsInput,
        {
            "runs_backward": "failed: no gradient reaches the input",
            "right_after_any_history": "failed: the input is changed (C14)",
        },
        "right_after_any_history",
        "other values",
    ),
    (
        CountsItsCalls,
        {
            "homogeneous": "failed: 1 of 1 output values are not homogeneous in the input",
            "right_after_any_history": "failed: 1 of 1 output values are wrong (C14)",
            "zero_input_gives_bias": "failed: 1 of 1 output values of a zero input are not the bias",
        },
        "zero_input_gives_bias",
        "4",
    ),
    (
        ChangesTheWorld,
        {
            "draws_no_random_numbers": "failed: the random generator of cpu has moved",
            "global_state_unchanged": "failed: the default dtype is changed",
        },
        "global_state_unchanged",
        "torch.float64",
    ),
)


@pytest.mark.parametrize(("implementation", "failed", "of", "what"), BAD, ids=[row[0].__name__ for row in BAD])
def test_fails_in_plain_words(implementation: Any, failed: dict[str, str], of: str, what: str) -> None:
    report = run(implementation)
    assert first_lines(report) == failed
    assert observed(report, of) == what


# Thin ones, whose elements lie in the same order in several layouts, so that a copy is easily forgotten.
THIN = (
    Case(Spec(1, 2, 1, 2, bias=True), Input(1, (5,)), Fill("exact", 5), backward=Backward(PARAMETERS_AND_INPUT)),
    Case(Spec(1, 2, 2, 1), Input(2, (2, 3), layout="channels_first"), Fill("exact", 5), backward=Backward(("input",))),
    Case(Spec(2, 1, 2, 1), Input(1, (1, 3), layout="transposed"), Fill("exact", 5), backward=Backward(("weight",))),
    Case(Spec(2, 1, 1, 1), Input(1, (1,), layout="transposed"), Fill("exact", 5), backward=Backward(("weight",))),
    Case(Spec(1, 1, 3, 2), Input(2, (2, 2, 4)), Fill("real", 5), backward=Backward(("input",), "channels_first")),
)


@pytest.mark.parametrize(
    "prop", [prop for prop in LAWS if prop.on != "compiled" and prop.runs_on("cpu")], ids=lambda prop: prop.name
)
def test_expected_values_are_out_of_reach_of_the_layer(prop: Law) -> None:
    for case in THIN:
        trial = Trial(case, ZeroesItsInput)
        kept = tensors(case)
        prop(trial)
        assert torch.equal(trial.values.x, kept.x), case
        assert torch.equal(trial.values.weight, kept.weight), case
        assert torch.equal(trial.values.cotangent, kept.cotangent), case


def test_what_stands_in_the_way_is_named() -> None:
    report = run(ReturnsTuple, dtypes=["float64"])
    reason = "the output is no tensor of the input's dtype and device (see returns_tensor)"
    assert set(report.tallies["values_exact"].inapplicable) == {reason}
    # What is alike is told once.
    (line,) = (line for line in report.problems if "values_exact" in line)
    assert re.fullmatch(rf"\w+, \w+[\w, ]* ran no check: {re.escape(reason)} \(\d+\)", line)
    reason = "the layer could not be built with its parameters (see constructs, holds_conv)"
    assert any(reason in line for line in run(ConstructorRaises, dtypes=["float64"]).problems)


@pytest.mark.parametrize("only", ["values_exact", "values_bounded", "feeds_position_embedding", "runs_backward"])
def test_selection_does_not_turn_a_refusal_green(only: str) -> None:
    report = run(RaisesForRemainders, only=[only], dtypes=["float64"])
    assert first_lines(report) == {"runs_forward": "failed: forward raised an exception"}
    (failure,) = report.failures
    assert any(size % failure.case.spec.patch_size for size in failure.case.input.sizes)


def test_what_owns_a_breakage_is_not_told_where_it_holds() -> None:
    report = run(Patchify, only=["homogeneous"], dtypes=["float64"])
    assert (report.passed, list(report.tallies)) == (True, ["homogeneous"])
    assert [prop.name for prop in report.plan.owners] == [prop.name for prop in LAWS if prop.owns == "everything"]
    gradients = [prop.name for prop in make_plan(Patchify, only=["weight_gradient_exact"]).owners]
    assert "runs_backward" in gradients
    assert make_plan(Patchify).owners == ()


def test_property_that_ran_on_few_cases_says_so() -> None:
    """Where the failure that comes before it is expected, nothing else would."""
    known = {"runs_forward": "sizes must divide"}
    report = run(RaisesForRemainders, only=["values_exact"], dtypes=["float64"], expected_failures=known)
    tally = report.tallies["values_exact"]
    assert report.passed
    assert tally.checks * 2 < tally.meant
    assert f"; values_exact ran on only {tally.checks} of {tally.meant} cases" in report.verdict_line


def test_constructor_is_not_blamed_for_what_the_layer_lacks() -> None:
    report = run(Wrapped, only=["holds_conv", "default_initialisation"])
    assert first_lines(report)["holds_conv"] == NO_CONV["holds_conv"]
    assert [failure.message for failure in report.failures if "constructor raised" in failure.message] == []


def test_backward_that_raises() -> None:
    report = run(BackwardRaises, only=["values_exact", "runs_backward"])
    assert first_lines(report) == {"runs_backward": "failed: backward raised an exception"}
    assert observed(report, "runs_backward") == "SystemExit: no gradients today"


def test_gradients_switched_off() -> None:
    failed = first_lines(run(SwitchesGradientsOff))
    assert failed == {
        "runs_backward": "failed: the output does not require a gradient, but weight does",
        "right_after_any_history": "failed: the output requires no gradient (C11)",
        "global_state_unchanged": "failed: gradient mode is changed",
    }


def test_random_output() -> None:
    failed = first_lines(run(RandomOutput))
    assert failed["draws_no_random_numbers"] == "failed: the random generator of cpu has moved"
    assert {"values_exact", "zero_input_gives_bias"} < failed.keys()
    # Those that stand for the form of the layer and its output have nothing against it.
    assert failed.keys().isdisjoint(("constructs", "holds_conv", "runs_forward", "returns_tensor", "grid_shape"))


def test_output_that_changes_only_sometimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailsOnce, "calls", 0)
    report = run(FailsOnce, only=["zero_input_gives_bias"])
    assert first_lines(report) == {
        "zero_input_gives_bias": "failed: intermittently: in the run, and not when the case was run again"
    }


def test_interruption_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted, only=["zero_input_gives_bias"])


@pytest.fixture
def _unusual_settings() -> Iterator[None]:
    """Settings of the caller that no run starts with by itself."""
    kept = {name: setting.read() for name, setting in SETTINGS.items()}
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    yield
    for name, value in kept.items():
        SETTINGS[name].write(value)


@pytest.mark.usefixtures("_unusual_settings")
@pytest.mark.parametrize(
    "implementation",
    [Patchify, ChangesTheWorld, SwitchesGradientsOff, RandomOutput, ForwardExits, Interrupted],
)
def test_state_of_the_caller_is_kept(implementation: type[Patchify]) -> None:
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    before = state()
    # Without the property that resets what it finds changed.
    names = [name for name in ONLY if name != "global_state_unchanged"]
    try:
        run(implementation, only=names, cases=5)
    except KeyboardInterrupt:
        assert implementation is Interrupted
    assert state() == before


def state() -> dict[str, object]:
    settings: dict[str, object] = {name: setting.read() for name, setting in SETTINGS.items()}
    generators = {
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index]
    }
    return settings | generators


def test_modes_of_the_caller_do_not_reach_the_trials() -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        report = verify(Patchify, seed=7, cases=20, only=["right_after_any_history", "homogeneous"], jobs=0)

    report.raise_if_failed()
    with torch.inference_mode():
        verify(Patchify, seed=7, cases=20, only=["right_after_any_history"], jobs=0).raise_if_failed()
