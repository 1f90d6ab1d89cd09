"""Histories: plain data both ways, what they catch, how they shrink, and what the laws before them have become."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from patchify import LinearPatchify, Patchify
from properties.cases.case import Case, Fill, Input, Spec
from properties.cases.drawing_histories import draw_histories
from properties.cases.error import CaseError
from properties.cases.history import Backward, Convert, Copy, Forward, Freeze, History, Step, Update, from_json, to_json
from properties.cases.shrinking import shrink
from properties.laws.histories import right_after_any_history, right_after_copying
from properties.laws.retired import RETIRED
from properties.trials.verdict import Failed, Passed
from tests.mutants.state import OutputBufferReused, ThirdCallWrong, WeightCopiedAtFirstForward

EVERY_STEP = (Forward(), Backward(), Update(), Freeze(), Copy(), Convert())
SMALL = Case(Spec(2, 3, 2, 2, bias=True), Input(2, (5, 4)), Fill("exact", 1000))


def drawn(count: int = 40) -> list[Case]:
    return [*draw_histories("tests", count), *draw_histories("tests", count, copies=True)]


def test_drawn_histories_are_plain_data() -> None:
    for case in drawn():
        assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case
    steps = [step for case in drawn() for step in case.history]
    assert {type(step) for step in steps} == {type(step) for step in EVERY_STEP}
    assert not any(isinstance(step, Copy | Convert) for case in draw_histories("tests", 40) for step in case.history)


def test_a_case_without_a_history_is_as_before() -> None:
    assert "history" not in SMALL.to_json()
    assert Case.from_json(SMALL.to_json()) == SMALL


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "history must be a list of at most 100 steps, got {}"),
        ([{"do": "nothing"}], "history[0] must be an object with do one of forward, backward, update, freeze, copy"),
        ([{"do": "copy", "way": "photo"}], "history[0].way must be one of deepcopy, pickle, save, got 'photo'"),
        ([{"do": "copy"}], "history[0] must have the fields do, way, got do"),
        ([{**to_json((Forward(),))[0], "times": 10**9}], "history[0].times must be an integer from 0 to 10000"),
        ([{**to_json((Freeze(),))[0], "frozen": 1}], "history[0].frozen must be true or false, got 1"),
    ],
)
def test_what_is_no_history_is_refused(data: Any, message: str) -> None:
    with pytest.raises(CaseError) as raised:
        from_json(data)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("layer", [Patchify, LinearPatchify])
def test_our_layers_are_right_after_any_history(layer: Any) -> None:
    for case in drawn():
        # One law judges all steps; which one a run asks is a matter of the level.
        assert isinstance(right_after_copying.judge_case(case, layer), Passed)


def test_every_part_of_a_history_is_a_history() -> None:
    for case in drawn(12):
        for number in range(len(case.history)):
            part = replace(case, history=case.history[:number] + case.history[number + 1 :])
            assert not isinstance(right_after_copying.judge_case(part, Patchify), Failed)


class Nudged(Patchify):
    """Right, but that what it gave is changed by the next call, by the last bit of one element."""

    given: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.given is not None:
            with torch.no_grad():
                self.given.view(-1)[0] += 1
        tokens = super().forward(x)
        self.given = tokens.detach()
        return tokens


@pytest.mark.parametrize(
    ("layer", "history", "what"),
    [
        (Nudged, (Forward(), Forward()), "an earlier output is changed (C14)"),
        (WeightCopiedAtFirstForward, (Forward(), Update(), Forward()), "24 of 24 output values are wrong (C13)"),
        (ThirdCallWrong, (Forward(times=3),), "24 of 24 output values are wrong (C14)"),
        (
            OutputBufferReused,
            (Forward(mode="no_grad"), Forward(data=1, mode="no_grad")),
            "an earlier output is changed (C14)",
        ),
    ],
)
def test_the_clause_of_the_step_is_named(layer: Any, history: History, what: str) -> None:
    verdict = right_after_any_history.judge_case(replace(SMALL, history=history), layer)
    assert isinstance(verdict, Failed)
    assert verdict.what == what
    assert str(verdict.where).startswith(f"step {len(history)}: {history[-1]}")


def test_histories_shrink_to_the_steps_that_matter() -> None:
    long = (
        Forward(data=2),
        Forward(training=False),
        Update("weight", "data", element=True),
        Freeze(),
        Forward(sizes=1),
    )
    case = replace(SMALL, history=long)

    def fails(candidate: Case) -> bool:
        return isinstance(right_after_any_history.judge_case(candidate, WeightCopiedAtFirstForward), Failed)

    assert fails(case)
    assert [type(step) for step in shrink(case, fails).history] == [Forward, Update, Forward]


@pytest.mark.parametrize("name", RETIRED)
def test_laws_that_are_histories_now_hold(name: str) -> None:
    law, history = RETIRED[name]
    assert isinstance(law.judge_case(replace(SMALL, history=history), Patchify), Passed)


def test_steps_read_like_a_program() -> None:
    steps: tuple[Step, ...] = (
        Forward(1, 2, "sliced", "result", True, False, "no_grad", 3),
        Backward(1, "accumulated", True),
        Update("weight", "data", element=True),
        Freeze("bias", frozen=False),
        Copy("pickle"),
        Convert(),
    )
    assert list(map(str, steps)) == [
        "forward(data 1, sizes 2, sliced, the result of an operation, in eval mode, under no_grad, "
        "requiring a gradient), 3 times",
        "backward of the call 1 before the last, gradients accumulated, twice over one graph",
        "one element of conv.weight changed through .data",
        "unfreeze conv.bias",
        "go on with a copy, made by pickle",
        "convert to another dtype, negate all parameters there, and convert back",
    ]
