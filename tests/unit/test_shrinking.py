"""Shrinking: the smallest case that still fails, whatever makes it fail."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oracles.windows import covered
from properties.cases.case import Backward, Case, Fill, Input, Spec
from properties.cases.drawing import cases
from properties.cases.landmarks import landmarks
from properties.cases.shrinking import MOST_TRIALS, complexity, shrink

SMALLEST = Case(Spec(), Input(), Fill("exact", 0), backward=Backward((), "ones"))

Predicate = Callable[[Case], bool]


def has_remainder(case: Case) -> bool:
    return any((size - case.spec.patch_size) % case.spec.effective_stride for size in case.input.sizes)


def has_uncovered(case: Case) -> bool:
    return not covered(case.input.sizes, case.spec.patch_size, case.spec.effective_stride).all()


# What fails, and the smallest case that does.
FAILS: dict[str, tuple[Predicate, Case]] = {
    "always": (lambda case: True, SMALLEST),
    "stride > patch_size": (
        lambda case: case.spec.effective_stride > case.spec.patch_size,
        replace(SMALLEST, spec=Spec(stride=2)),
    ),
    "stride < patch_size": (
        lambda case: case.spec.effective_stride < case.spec.patch_size,
        replace(SMALLEST, spec=Spec(patch_size=2, stride=1), input=Input(1, (2,))),
    ),
    "a stride is named": (lambda case: case.spec.stride is not None, replace(SMALLEST, spec=Spec(stride=1))),
    "several channels and samples": (
        lambda case: case.spec.in_features > 1 and case.input.batch > 1,
        replace(SMALLEST, spec=Spec(2), input=Input(2)),
    ),
    "more channels out than in": (
        lambda case: case.spec.out_features > case.spec.in_features,
        replace(SMALLEST, spec=Spec(1, 2)),
    ),
    "unequal sizes": (
        lambda case: case.spec.data_dim == 2 and case.input.sizes[0] < case.input.sizes[1],
        replace(SMALLEST, spec=Spec(data_dim=2, stride=2), input=Input(1, (1, 2))),
    ),
    "a volume": (
        lambda case: case.spec.data_dim == 3,
        replace(SMALLEST, spec=Spec(data_dim=3), input=Input(1, (1, 1, 1))),
    ),
    "float16": (lambda case: case.input.dtype == "float16", replace(SMALLEST, input=Input(dtype="float16"))),
    "not contiguous": (
        lambda case: case.input.layout not in ("contiguous", "odd_strides"),
        replace(SMALLEST, input=Input(layout="channels_first")),
    ),
    "a remainder": (has_remainder, replace(SMALLEST, spec=Spec(stride=2), input=Input(1, (2,)))),
    "a remainder at the default stride": (
        lambda case: has_remainder(case) and case.spec.stride is None,
        replace(SMALLEST, spec=Spec(patch_size=2), input=Input(1, (3,))),
    ),
    "a second window": (lambda case: max(case.grid) > 1, replace(SMALLEST, input=Input(1, (2,)))),
    "the input gradient past the last window": (
        lambda case: "input" in case.backward.requires_grad and has_uncovered(case),
        replace(SMALLEST, spec=Spec(stride=2), input=Input(1, (2,)), backward=Backward(("input",), "ones")),
    ),
    "a bias and its gradient": (
        lambda case: "bias" in case.backward.requires_grad,
        replace(SMALLEST, spec=Spec(bias=True), backward=Backward(("bias",), "ones")),
    ),
    "real numbers": (lambda case: not case.fill.integral, replace(SMALLEST, fill=Fill("real", 0))),
    "an odd data seed": (lambda case: case.fill.seed % 2 == 1, replace(SMALLEST, fill=Fill("exact", 1))),
    "channels_last weight": (
        lambda case: case.weight_layout == "channels_last",
        replace(SMALLEST, spec=Spec(data_dim=2), input=Input(1, (1, 1)), weight_layout="channels_last"),
    ),
    # No single step leads from seven to three: of patch and stride, either alone passes.
    "patch_size and stride alike and odd": (
        lambda case: case.spec.patch_size == case.spec.stride and case.spec.patch_size in (3, 7),
        replace(SMALLEST, spec=Spec(patch_size=3, stride=3), input=Input(1, (3,))),
    ),
}

LARGE = Case(
    Spec(7, 8, 3, 4, stride=3, bias=True),
    Input(4, (9, 11, 10), "float16", "sliced"),
    Fill("real", 4321),
    "channels_last",
    Backward(("input", "weight", "bias"), "expanded"),
)
STARTS = {
    **dict.fromkeys(FAILS, LARGE),
    "stride > patch_size": replace(LARGE, spec=replace(LARGE.spec, stride=6)),
    "unequal sizes": Case(
        Spec(3, 5, 2, 4, stride=3),
        Input(2, (7, 14), "bfloat16"),
        Fill("wide", 9),
        "channels_last",
        Backward(("input",)),
    ),
    "a remainder at the default stride": replace(LARGE, spec=replace(LARGE.spec, stride=None)),
    "patch_size and stride alike and odd": replace(
        LARGE, spec=replace(LARGE.spec, patch_size=7, stride=7), input=Input(4, (14, 11, 10))
    ),
}


@pytest.mark.parametrize("name", FAILS)
def test_finds_the_smallest(name: str) -> None:
    fails, smallest = FAILS[name]
    start = STARTS[name]
    assert fails(start)
    assert shrink(start, fails) == smallest


@given(cases(), st.sampled_from(sorted(FAILS)))
@settings(max_examples=60)
def test_finds_none_larger_from_drawn_cases(case: Case, name: str) -> None:
    fails, smallest = FAILS[name]
    assume(fails(case))
    found = shrink(case, fails)
    assert fails(found)
    assert complexity(found) <= complexity(smallest)


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_never_returns_a_passing_case(case: Case, salt: int) -> None:
    # Fails wherever a hash says so: there is no way down that can be relied on.
    trials: list[Case] = []

    def fails(candidate: Case) -> bool:
        trials.append(candidate)
        return candidate == case or (complexity(candidate)[1] * 2654435761 + salt) % 7 < 3

    found = shrink(case, fails)
    assert fails(found)
    assert complexity(found) <= complexity(case)
    assert len(trials) <= MOST_TRIALS + 1
    assert len(set(trials[:-1])) == len(trials) - 1


def test_stops_just_past_a_tile() -> None:
    def fails(case: Case) -> bool:
        return case.spec.out_features > 64 and case.spec.out_features % 64 != 0

    start = landmarks()["image, 1,031 output channels, exact 1000, float64"]
    assert shrink(start, fails) == replace(SMALLEST, spec=Spec(out_features=65))


@pytest.mark.parametrize("case", list(landmarks(("float32",)).values())[::3], ids=lambda case: case.describe()[:30])
def test_landmarks_shrink(case: Case) -> None:
    trials: list[Case] = []

    def fails(candidate: Case) -> bool:
        trials.append(candidate)
        return True

    assert shrink(case, fails) == SMALLEST
    assert len(trials) < 100


def test_trials_are_bounded_in_number_and_simpler() -> None:
    trials: list[Case] = []

    def fails(candidate: Case) -> bool:
        trials.append(candidate)
        return False

    assert shrink(LARGE, fails) == LARGE
    assert 300 < len(trials) <= MOST_TRIALS
    assert all(complexity(candidate) < complexity(LARGE) for candidate in trials)


def test_the_smallest_case_is_left_alone() -> None:
    assert shrink(SMALLEST, lambda case: pytest.fail("nothing is smaller")) == SMALLEST


def test_address_cases_stay_address_cases() -> None:
    start = Case(Spec(3, 48, 2, 4, stride=3), Input(2, (9, 11)), Fill("address", 5))
    found = shrink(start, lambda case: case.fill.name == "address")
    assert found == replace(SMALLEST, fill=Fill("address", 0))


@pytest.mark.parametrize(
    ("simple", "less_simple"),
    [
        (Case(), Case(Spec(data_dim=2), Input(1, (1, 1)))),
        (Case(Spec(), Input(1, (9,))), Case(Spec(data_dim=2), Input(1, (1, 1)))),
        (Case(), Case(Spec(), Input(2))),
        (Case(), Case(Spec(2))),
        (Case(), Case(Spec(stride=1))),
        (Case(Spec(stride=1)), Case(Spec(stride=2))),
        (Case(), Case(Spec(bias=True))),
        (Case(), Case(Spec(), Input(dtype="float32"))),
        (Case(), Case(Spec(), Input(layout="sliced"))),
        (Case(), Case(fill=Fill("real"))),
        (Case(), Case(backward=Backward(("input",)))),
        (Case(), Case(fill=Fill("exact", 1))),
    ],
)
def test_complexity(simple: Case, less_simple: Case) -> None:
    assert complexity(simple) < complexity(less_simple)
