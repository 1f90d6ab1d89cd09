"""Draws histories with Hypothesis: small cases whose layer is called, differentiated, updated, frozen and copied."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from properties.cases.case import DTYPES, Case, Fill
from properties.cases.drawing import cases
from properties.cases.history import Backward, Convert, Copy, Forward, Freeze, Step, Update
from properties.cases.sampling import first_cases, pick

_T = TypeVar("_T")


@st.composite
def histories(draw: st.DrawFn, dtypes: Sequence[str] = DTYPES, *, copies: bool = False) -> Case:
    """A small case with a history, which begins and ends with a forward pass.

    Args:
        draw: given by Hypothesis.
        dtypes: names of the dtypes to draw from.
        copies: whether layers are copied and converted; then at least once.
    """
    case = draw(cases(dtypes, small=True))
    plain = replace(case.input, batch=min(case.input.batch, 3), layout="contiguous", origin="leaf")
    kinds = ("forward",) * 5 + ("backward",) * 5 + ("update",) * 3 + ("freeze",) * 2
    chosen = [pick(draw, f"kind {number}", kinds) for number in range(pick(draw, "steps", range(3, 11)))]
    if copies:
        chosen.insert(pick(draw, "copied after", range(3)), pick(draw, "copied", ("copy", "copy", "convert")))
    # Most calls of a history are alike, as in a training loop or behind a server: what is kept from one of them for the
    # next meets one that is like it.
    usual = pick(draw, "usual call", _ROBUST if copies else _USUAL)
    steps = [_STEPS[kind](draw, str(number), usual) for number, kind in enumerate(("forward", *chosen, "forward"))]
    return replace(
        case,
        input=plain,
        fill=Fill("exact", case.fill.seed),
        history=tuple(steps),
        mode="train",
        autocast="off",
    )


_TRAINING = Forward(input_gradient=True)
_SERVING = Forward(training=False, mode="no_grad")
# In mixed precision.
_MIXED = Forward(input_gradient=True, mode="autocast")
# A server whose requests are all written into one buffer.
_REFILLING = Forward(training=False, mode="no_grad", origin="refilled")
_INFERRING = Forward(training=False, mode="inference")

_USUAL = (_TRAINING, _TRAINING, _SERVING, _REFILLING, _INFERRING, None)
_ROBUST = (*_USUAL, _MIXED, _MIXED)


def _forward(draw: st.DrawFn, number: str, usual: Forward | None) -> Forward:
    def one(what: str, options: Sequence[_T]) -> _T:
        return pick(draw, f"{what} {number}", options)

    if usual is not None and one("as usual", (True, True, False)):
        return replace(usual, data=one("data", (0, 0, 1, 2)))
    return Forward(
        data=one("data", (0, 0, 1, 2)),
        sizes=one("sizes", (0, 0, 0, 1, 2, 3)),
        layout=one("layout", ("contiguous", "contiguous", "channels_first", "transposed", "sliced", "stepped")),
        origin=one("origin", ("leaf", "leaf", "result", "refilled")),
        input_gradient=one("input gradient", (True, True, False)),
        training=one("training", (True, True, False)),
        mode=one("mode", ("grad", "grad", "grad", "no_grad", "inference")),
        times=one("times", (*[1] * 48, 17, 17, 1000)),
    )


def _backward(draw: st.DrawFn, number: str, _: Forward | None) -> Backward:
    return Backward(
        call=pick(draw, f"call {number}", (0, 0, 0, 1, 1, 2)),
        into=pick(draw, f"into {number}", ("returned", "returned", "accumulated")),
        twice=pick(draw, f"twice {number}", (False, False, False, True)),
    )


def _update(draw: st.DrawFn, number: str, _: Forward | None) -> Update:
    return Update(
        parameters=pick(draw, f"parameters {number}", ("all", "weight", "bias")),
        way=pick(draw, f"way {number}", ("in place", "data", "optimizer", "loaded", "assigned", "replaced", "zeroed")),
        element=pick(draw, f"element {number}", (False, False, True)),
    )


def _freeze(draw: st.DrawFn, number: str, _: Forward | None) -> Freeze:
    return Freeze(
        parameters=pick(draw, f"parameters {number}", ("all", "weight", "bias")),
        frozen=pick(draw, f"frozen {number}", (True, True, False)),
    )


def _copy(draw: st.DrawFn, number: str, _: Forward | None) -> Copy:
    return Copy(pick(draw, f"way {number}", ("deepcopy", "pickle", "save")))


_STEPS: dict[str, Callable[[st.DrawFn, str, Forward | None], Step]] = {
    "forward": _forward,
    "backward": _backward,
    "update": _update,
    "freeze": _freeze,
    "copy": _copy,
    "convert": lambda draw, number, usual: Convert(),
}


def draw_histories(seed: str, count: int, dtypes: Sequence[str] = DTYPES, *, copies: bool = False) -> list[Case]:
    """The first ``count`` cases with a history of the sequence that belongs to a seed."""
    return first_cases(histories(dtypes, copies=copies), seed, count)
