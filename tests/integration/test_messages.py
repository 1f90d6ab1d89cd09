"""A failure in words, the whole of it: the message is part of the product."""

import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from patchify import Patchify
from properties import verify
from properties.cases.case import Case, Fill, Input, Spec
from properties.laws.law import Law
from properties.runs.failure import examine, failure_from, run_command
from properties.runs.plan import make_plan
from properties.runs.result import Found
from properties.trials.comparison import ALL, EXACT, ROUNDED, Expectation
from properties.trials.ending import Raised
from properties.trials.trial import Trial
from properties.trials.verdict import Failed, Inapplicable, Passed, Place, Verdict


class BiasTwice(Patchify):
    """Adds the bias once more."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = super().forward(x)
        return tokens if self.conv.bias is None else tokens + self.conv.bias


class HalfPrecise(Patchify):
    """Rounds its output to the precision of bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).bfloat16().to(x.dtype)


class NoStride(Patchify):
    """Refuses what has a stride of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride != self.patch_size:
            raise RuntimeError(f"no kernel for stride {self.stride}\nsee the manual")
        return super().forward(x)


CASE = Case(Spec(2, 3, 2, 2, stride=3, bias=True), Input(2, (5, 6), "float32"), Fill("real", 4))
IN_WORDS = (
    "2D, 2 -> 3 channels, patch_size 2, stride 3, bias; batch 2, sizes 5 x 6, float32, contiguous input, plain weight; "
    "no gradients; fill real, data seed 4"
)
AS_JSON = (
    '{"spec": {"in_features": 2, "out_features": 3, "data_dim": 2, "patch_size": 2, "stride": 3, "bias": true}, '
    '"input": {"batch": 2, "sizes": [5, 6], "dtype": "float32", "layout": "contiguous"}, '
    '"fill": {"name": "real", "seed": 4}, "weight_layout": "plain", '
    '"backward": {"requires_grad": [], "cotangent": "random"}, "compiled": "automatic", "tf32": false}'
)


def message(implementation: Any, name: str, **changes: Any) -> str:
    """What is said of the case above."""
    plan = make_plan(implementation, seed=7, only=[name], **changes)
    record = examine(plan, plan.properties[0], Found(CASE.to_json(), "random0"), shrink=False)
    return failure_from(plan, record).message


def test_wrong_value_in_a_run() -> None:
    (failure,) = verify(BiasTwice, cases=20, seed=7, only=["zero_input_gives_bias"], jobs=0).failures
    assert (
        failure.message
        == """\
zero_input_gives_bias failed: 1 of 1 output values of a zero input are not the bias
  cause     the bias is added twice (measured with 3 -> 7 channels, patch_size 3, stride 3, batch 3, sizes 14)
  where     sample 0, token (0), channel 0
  observed  4
  expected  2
  bound     0: integers compare bitwise
  law       C7: Where the input is zero every token is the bias, bit for bit.
  case      1D, 1 -> 1 channels, patch_size 1, default stride, bias; batch 1, sizes 1, float64, contiguous input, \
plain weight; no gradients; fill exact, data seed 1
  as JSON   {"spec": {"in_features": 1, "out_features": 1, "data_dim": 1, "patch_size": 1, "stride": null, \
"bias": true}, "input": {"batch": 1, "sizes": [1], "dtype": "float64", "layout": "contiguous"}, \
"fill": {"name": "exact", "seed": 1}, "weight_layout": "plain", \
"backward": {"requires_grad": [], "cotangent": "ones"}, "compiled": "automatic", "tf32": false}
  replay    patchify-verify run --implementation tests.integration.test_messages:BiasTwice --seed 7 --cases 20 \
--only zero_input_gives_bias"""
    )


def test_value_beyond_its_bound() -> None:
    assert (
        message(HalfPrecise, "values_bounded", dtypes=["float32"])
        == f"""\
values_bounded failed: 24 of 24 output values differ from unfold + matmul
  cause     the result is rounded to 8 significant bits (measured with 3 -> 7 channels, patch_size 3, stride 5, \
batch 3, sizes 22 x 26)
  where     sample 0, token (0, 1), channel 2
  observed  -1.9609375
  expected  -1.9578806368934671
  bound     1.06e-06
  law       C7, C9, C10: On real numbers, every output value is within the rounding bound of unfold + matmul + bias.
  case      {IN_WORDS}
  as JSON   {AS_JSON}
  replay    patchify-verify run --implementation tests.integration.test_messages:HalfPrecise --seed 7 --cases 300 \
--only values_bounded --dtypes float32
  picture   sample 0, token (0, 1), channel 2 in brackets; rows are axis 0; \
a number counts the windows on a pixel, . is none
  window, axis 1  0        1
   pixel, axis 1  0  1  2  3  4  5
          0    0  1  1  . [1][1] .
               1  1  1  . [1][1] .
               2  .  .  .  .  .  .
          1    3  1  1  .  1  1  .
               4  1  1  .  1  1  ."""
    )


def test_exception() -> None:
    assert (
        message(NoStride, "runs_forward", cases=9)
        == f"""\
runs_forward failed: forward raised an exception
  cause     it raises RuntimeError: no kernel for stride 3, only where the stride is larger than the patch
  observed  RuntimeError: no kernel for stride 3
  expected  no exception
  law       C4: The layer runs on every valid input, without an exception.
  case      {IN_WORDS}
  as JSON   {AS_JSON}
  replay    patchify-verify run --implementation tests.integration.test_messages:NoStride --seed 7 --cases 9 \
--only runs_forward"""
    )


def test_failure_that_does_not_come_again() -> None:
    assert (
        message(Patchify, "grid_shape")
        == f"""\
grid_shape failed: intermittently: in the run, and not when the case was run again
  cause     intermittent: the layer is not a function of its arguments alone
  law       C5, C4, C9, C10: The output is ``[B, *g, C_out]``, with as many tokens along each axis as windows fit on it.
  case      {IN_WORDS}
  as JSON   {AS_JSON}
  replay    patchify-verify run --implementation patchify.layer:Patchify --seed 7 --cases 300 --only grid_shape
  picture   rows are axis 0; a number counts the windows on a pixel, . is none
  window, axis 1  0        1
   pixel, axis 1  0  1  2  3  4  5
          0    0  1  1  .  1  1  .
               1  1  1  .  1  1  .
               2  .  .  .  .  .  .
          1    3  1  1  .  1  1  .
               4  1  1  .  1  1  ."""
    )


def test_json_of_a_message_is_the_case() -> None:
    (line,) = (line for line in message(NoStride, "runs_forward").splitlines() if line.startswith("  as JSON   "))
    assert Case.from_json(json.loads(line.removeprefix("  as JSON   "))) == CASE


def replay(implementation: Any, **changes: Any) -> str:
    plan = make_plan(implementation, seed=7, cases=20, only=["grid_shape"], **changes)
    return run_command(plan, plan.properties[0])


def test_replay_by_the_command() -> None:
    assert replay("patchify:Patchify", dtypes=["float32", "float16"]) == (
        "patchify-verify run --implementation patchify:Patchify --seed 7 --cases 20 --only grid_shape "
        "--dtypes float32,float16"
    )
    elsewhere = replace(make_plan("patchify:Patchify", seed=7, cases=20, only=["grid_shape"]), device="cuda:1")
    assert run_command(elsewhere, elsewhere.properties[0]) == (
        "patchify-verify run --implementation patchify:Patchify --seed 7 --cases 20 --only grid_shape --device cuda:1"
    )


def test_replay_of_what_no_command_can_import() -> None:
    class Local(Patchify):
        pass

    assert replay(Local) == "verify(..., seed=7, cases=20, only=['grid_shape'])"
    assert replay(lambda **named: Patchify(**named)) == "verify(..., seed=7, cases=20, only=['grid_shape'])"
    # A partial application has a name in functools, which is not where it can be imported from.
    assert replay(partial(Patchify, bias=True)).startswith("verify(")
    # The cases that are drawn depend on the dtypes.
    assert "float32" in replay(Local, dtypes=["float32"])


def test_replay_of_what_a_script_defines() -> None:
    main = type("Main", (Patchify,), {"__module__": "__main__"})
    assert replay(main).startswith("verify(")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("first line\nsecond"), "ValueError: first line"),
        (ValueError("\n  \n indented"), "ValueError: indented"),
        (ValueError(), "ValueError"),
        (ValueError("a: "), "ValueError: a"),
        (KeyError("name"), "KeyError: 'name'"),
        (SystemExit(2), "SystemExit: 2"),
    ],
)
def test_exceptions_are_told_in_one_line(error: BaseException, expected: str) -> None:
    assert Raised("forward", error).observed == expected
    assert str(Raised("forward", error)) == f"forward raised {expected}"


def test_places() -> None:
    assert str(Place("output", (1, 2, 3, 4))) == "sample 1, token (2, 3), channel 4"
    assert str(Place("input", (1, 2, 4))) == "sample 1, pixel (2), channel 4"
    assert str(Place("weight", (1, 2, 3, 4, 5))) == "output channel 1, input channel 2, tap (3, 4, 5)"
    assert str(Place("bias", (7,))) == "channel 7"


def expectation(bound: list[float]) -> Expectation:
    return Expectation(torch.arange(1.0, 5.0).double().reshape(1, 4, 1), torch.tensor(bound).double().reshape(1, 4, 1))


def found(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, 4, 1)


def compared(what: str, values: Tensor, expected: Expectation, which: str) -> Verdict:
    """What a law says that compares these."""

    def judge(trial: Trial) -> None:
        trial.close(what, values, expected, which=which)

    return Law("compares", ("C7",), "Compares.", judge)(Trial(Case(), Patchify))


def test_worst_value_is_told() -> None:
    bounds = expectation([0, 1, 1, 0])
    failed = compared("values are wrong", found(1, 3.5, 6, 4), bounds, ALL)
    assert failed == Failed("2 of 4 values are wrong", Place("output", (0, 2, 0)), "6", "3", "1")
    # An error where none is allowed is worse than any multiple of a bound. NaN is as bad, and the first is told.
    failed = compared("values are wrong", found(1, 9, 6, 4.5), bounds, ALL)
    assert failed == Failed(
        "3 of 4 values are wrong", Place("output", (0, 3, 0)), "4.5", "4", "0: integers compare bitwise"
    )
    failed = compared("values are wrong", found(1, math.nan, 6, 4.5), bounds, ALL)
    assert failed == Failed("3 of 4 values are wrong", Place("output", (0, 1, 0)), "nan", "2", "1")


def test_sharpness_is_the_largest_error_over_its_bound() -> None:
    bounds = expectation([0, 1, 2, 0])
    assert compared("values", found(1, 2.25, 4, 4), bounds, ALL) == Passed(error_over_bound=0.5)
    assert compared("values", found(1, 2, 3, 4), expectation([0, 0, 0, 0]), ALL) == Passed(error_over_bound=None)


def test_each_comparison_judges_its_own_values() -> None:
    bounds = expectation([0, 1, math.inf, 0])
    wrong_where_exact, wrong_where_bounded = found(2, 2, 3, 4), found(1, 9, 3, 4)
    assert isinstance(compared("values", wrong_where_exact, bounds, EXACT), Failed)
    assert compared("values", wrong_where_exact, bounds, ROUNDED) == Passed(error_over_bound=0.0)
    assert compared("values", wrong_where_bounded, bounds, EXACT) == Passed()
    assert isinstance(compared("values", wrong_where_bounded, bounds, ROUNDED), Failed)
    # What may overflow is not judged.
    assert compared("values", found(1, 2, math.nan, 4), bounds, ALL) == Passed(error_over_bound=0.0)
    exact, real, wild = expectation([0] * 4), expectation([1] * 4), expectation([math.inf] * 4)
    right = found(1, 2, 3, 4)
    assert compared("values", right, real, EXACT) == Inapplicable("no value of this case is exact")
    assert compared("values", right, exact, ROUNDED) == Inapplicable("all values of this case are exact")
    assert compared("values", right, wild, ALL) == Inapplicable("every value of this case may overflow")
