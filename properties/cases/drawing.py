"""Draws cases with Hypothesis, constructively: grid and remainder are drawn and the size follows, nothing is filtered.

Two habits of Hypothesis are kept out, both by drawing everything through ``_pick``. It mixes constants that it finds in
the source of local modules into larger ranges of integers: then the same seed would draw other cases on another
machine. And it copies one draw over another of the same kind: then six of seven cases would be near-copies of one.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from oracles.precision import PRECISIONS
from properties.cases.case import (
    COTANGENTS,
    DTYPES,
    LAYOUTS,
    PARAMETERS_AND_INPUT,
    Backward,
    Case,
    Fill,
    Input,
    Spec,
)
from properties.cases.history import Backward as BackwardStep
from properties.cases.history import Convert, Copy, Forward, Freeze, Step, Update

# By data_dim: windows along an axis, and patch sizes, each at most. Costs grow with their powers.
MOST_WINDOWS = {1: 7, 2: 4, 3: 3}
PATCH_SIZES = {
    1: (1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 11, 16),
    2: (1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8),
    3: (1, 2, 2, 2, 3, 3, 4),
}
CHANNELS = (1, 1, 2, 2, 3, 3, 4, 5, 7, 8)
# Two axes are where most bugs are, since there axes can be mixed up at little cost.
_DATA_DIMS = (1, 1, 2, 2, 2, 3, 3)
# More samples than a CUDA grid has blocks along its second and third axis, in a tensor that stays thin.
HUGE_BATCH = 65_537


_T = TypeVar("_T")


def _pick(draw: st.DrawFn, what: str, options: Sequence[_T]) -> _T:
    """One of the options; ``what`` tells this draw from every other draw of the case."""
    return draw(st.sampled_from([(what, option) for option in options]))[1]


@st.composite
def specs(draw: st.DrawFn, data_dims: Sequence[int] = _DATA_DIMS) -> Spec:
    """Constructor arguments, biased toward numbers that are equal, adjacent, one or prime."""
    data_dim = _pick(draw, "data_dim", data_dims)
    patch_size = _pick(draw, "patch_size", PATCH_SIZES[data_dim])
    strides = [None, None, patch_size, patch_size + 1, patch_size + 2, patch_size + 3, 2 * patch_size]
    if patch_size > 1:
        strides += [1, 2, patch_size - 1, (patch_size + 1) // 2, max(1, patch_size // 2), patch_size - patch_size // 3]
    # Equal numbers hide bugs that mix up what they count; unequal ones hide bugs that need a coincidence.
    in_features = _pick(draw, "in_features", (*CHANNELS, min(patch_size, 8), data_dim + 1))
    out_features = _pick(draw, "out_features", (*CHANNELS, in_features, in_features + 1, min(patch_size, 8)))
    return Spec(
        in_features,
        out_features,
        data_dim,
        patch_size,
        stride=_pick(draw, "stride", strides),
        bias=_pick(draw, "bias", (True, False)),
    )


@st.composite
def sizes(draw: st.DrawFn, spec: Spec) -> tuple[int, ...]:
    """Spatial sizes: for each axis windows ``g`` and remainder ``r < S``, then ``s = (g - 1)*S + P + r``."""
    step = spec.step
    remainders = sorted({0, 1 % step, step // 2, step - 1})
    alike = _pick(draw, "axes alike in", ("windows", "windows and remainder", "nothing", "nothing"))
    exact_fit = _pick(draw, "exact fit", (False, False, False, True))
    drawn: list[tuple[int, int]] = []
    for axis in range(spec.data_dim):
        windows = _pick(draw, f"windows {axis}", range(1, MOST_WINDOWS[spec.data_dim] + 1))
        remainder = 0 if exact_fit else _pick(draw, f"remainder {axis}", remainders)
        if drawn and alike != "nothing":
            windows = drawn[0][0]
            remainder = drawn[0][1] if alike == "windows and remainder" else remainder
        drawn.append((windows, remainder))
    return tuple((windows - 1) * step + spec.patch_size + remainder for windows, remainder in drawn)


@st.composite
def inputs(draw: st.DrawFn, spec: Spec, dtypes: Sequence[str]) -> Input:
    """What a layer of the given spec is given."""
    extent = draw(sizes(spec))
    layout = _pick(draw, "layout", LAYOUTS)
    batches = {
        "expanded": (2, 3, 5),  # one sample, repeated
        "odd_strides": (1,),  # only an axis of size 1 can have any stride
    }.get(layout, (1, 1, 2, 2, 3, 4, 5, min(extent[0], 8), spec.in_features))
    return Input(_pick(draw, "batch", batches), extent, _pick(draw, "dtype", dtypes), layout)


@st.composite
def cases(draw: st.DrawFn, dtypes: Sequence[str] = DTYPES, data_dims: Sequence[int] = _DATA_DIMS) -> Case:
    """Whole cases, of bounded cost.

    Args:
        draw: given by Hypothesis.
        dtypes: names of the dtypes to draw from.
        data_dims: numbers of spatial axes to draw from.
    """
    spec = draw(specs(data_dims))
    given_input = draw(inputs(spec, dtypes))
    if _pick(draw, "huge batch", (*[False] * 59, True)):
        spec = replace(spec, in_features=1, out_features=2, patch_size=min(spec.patch_size, 2), stride=None)
        given_input = replace(given_input, batch=HUGE_BATCH, sizes=spec.taps)
    differentiable = PARAMETERS_AND_INPUT if spec.bias else PARAMETERS_AND_INPUT[:2]
    subsets = [subset for size in range(len(differentiable) + 1) for subset in combinations(differentiable, size)] + [
        differentiable
    ] * 4
    backward = Backward(
        _pick(draw, "requires_grad", subsets), _pick(draw, "cotangent", ("random", "random", *COTANGENTS))
    )
    fill_name = _pick(draw, "fill", ("exact", "exact", "exact", "exact", "real", "real", "wide", "address", "poison"))
    if fill_name == "address":
        if (
            spec.terms <= 64
            and math.prod(given_input.sizes) * given_input.batch * spec.in_features
            <= PRECISIONS[given_input.dtype].exact_limit
        ):
            spec = replace(spec, out_features=spec.terms)
        else:
            fill_name = "exact"
    return Case(
        spec,
        given_input,
        Fill(fill_name, 100 * _pick(draw, "hundreds of the seed", range(100)) + _pick(draw, "seed", range(100))),
        _pick(draw, "weight layout", ("plain", "channels_last")) if spec.data_dim > 1 else "plain",
        backward,
    )


@st.composite
def histories(draw: st.DrawFn, dtypes: Sequence[str] = DTYPES, *, copies: bool = False) -> Case:
    """A small case with a history, which begins and ends with a forward pass.

    Args:
        draw: given by Hypothesis.
        dtypes: names of the dtypes to draw from.
        copies: whether layers are copied and converted; then at least once.
    """
    case = draw(cases(dtypes))
    plain = replace(case.input, batch=min(case.input.batch, 3), layout="contiguous")
    kinds = ("forward",) * 5 + ("backward",) * 5 + ("update",) * 3 + ("freeze",) * 2
    chosen = [_pick(draw, f"kind {number}", kinds) for number in range(_pick(draw, "steps", range(3, 11)))]
    if copies:
        chosen.insert(_pick(draw, "copied after", range(3)), _pick(draw, "copied", ("copy", "copy", "convert")))
    # Most calls of a history are alike, as in a training loop or behind a server: what is kept from one of them for the
    # next meets one that is like it.
    usual = _pick(draw, "usual call", (_TRAINING, _TRAINING, _SERVING, _INFERRING, None))
    steps = [_STEPS[kind](draw, str(number), usual) for number, kind in enumerate(("forward", *chosen, "forward"))]
    return replace(case, input=plain, fill=Fill("exact", case.fill.seed), history=tuple(steps))


_TRAINING = Forward(input_gradient=True)
_SERVING = Forward(training=False, mode="no_grad")
_INFERRING = Forward(training=False, mode="inference")


def _forward(draw: st.DrawFn, number: str, usual: Forward | None) -> Forward:
    def pick(what: str, options: Sequence[_T]) -> _T:
        return _pick(draw, f"{what} {number}", options)

    if usual is not None and pick("as usual", (True, True, False)):
        return replace(usual, data=pick("data", (0, 0, 1, 2)))
    return Forward(
        data=pick("data", (0, 0, 1, 2)),
        sizes=pick("sizes", (0, 0, 0, 1, 2, 3)),
        layout=pick("layout", ("contiguous", "contiguous", "channels_first", "transposed", "sliced", "stepped")),
        origin=pick("origin", ("leaf", "leaf", "result", "refilled")),
        input_gradient=pick("input gradient", (True, True, False)),
        training=pick("training", (True, True, False)),
        mode=pick("mode", ("grad", "grad", "grad", "no_grad", "inference")),
        times=pick("times", (*[1] * 24, 17, 1000)),
    )


def _backward(draw: st.DrawFn, number: str, _: Forward | None) -> BackwardStep:
    return BackwardStep(
        call=_pick(draw, f"call {number}", (0, 0, 0, 1, 1, 2)),
        into=_pick(draw, f"into {number}", ("returned", "returned", "accumulated")),
        twice=_pick(draw, f"twice {number}", (False, False, False, True)),
    )


def _update(draw: st.DrawFn, number: str, _: Forward | None) -> Update:
    return Update(
        parameters=_pick(draw, f"parameters {number}", ("all", "weight", "bias")),
        way=_pick(draw, f"way {number}", ("in place", "data", "optimizer", "loaded", "assigned", "replaced")),
        element=_pick(draw, f"element {number}", (False, False, True)),
    )


def _freeze(draw: st.DrawFn, number: str, _: Forward | None) -> Freeze:
    return Freeze(
        parameters=_pick(draw, f"parameters {number}", ("all", "weight", "bias")),
        frozen=_pick(draw, f"frozen {number}", (True, True, False)),
    )


def _copy(draw: st.DrawFn, number: str, _: Forward | None) -> Copy:
    return Copy(_pick(draw, f"way {number}", ("deepcopy", "pickle", "save")))


_STEPS: dict[str, Callable[[st.DrawFn, str, Forward | None], Step]] = {
    "forward": _forward,
    "backward": _backward,
    "update": _update,
    "freeze": _freeze,
    "copy": _copy,
    "convert": lambda draw, number, usual: Convert(),
}


def draw_cases(
    seed: str, count: int, dtypes: Sequence[str] = DTYPES, data_dims: Sequence[int] = _DATA_DIMS
) -> list[Case]:
    """The first ``count`` cases of the sequence that belongs to a seed.

    The sequence depends on the seed, on the dtypes and on the version of Hypothesis; not on the machine, the process,
    environment variables or anything drawn before.
    """
    return _drawn(cases(dtypes, data_dims), seed, count)


def draw_histories(seed: str, count: int, dtypes: Sequence[str] = DTYPES, *, copies: bool = False) -> list[Case]:
    """The first ``count`` cases with a history of the sequence that belongs to a seed."""
    return _drawn(histories(dtypes, copies=copies), seed, count)


def _drawn(strategy: st.SearchStrategy[Case], seed: str, count: int) -> list[Case]:
    drawn: list[Case] = []
    if count == 0:
        return drawn

    @hypothesis_seed(seed)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        derandomize=False,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        backend="hypothesis",
    )
    @given(strategy)
    def collect(case: Case) -> None:
        # Two cases that are alike otherwise still get different data.
        digest = hashlib.sha256(f"{seed}/{len(drawn)}".encode()).digest()
        drawn.append(replace(case, fill=Fill(case.fill.name, int.from_bytes(digest[:4], "little"))))

    collect()
    return drawn
