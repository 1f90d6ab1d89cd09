"""Layers as they are used in the field, and layers with one large number: they always run, whatever is drawn."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TypeVar

from oracles.precision import PRECISIONS
from properties.cases import generator
from properties.cases.case import (
    AUTOCAST,
    COMPILED,
    COTANGENTS,
    DTYPES,
    LAYOUTS,
    ORIGINS,
    PARAMETERS_AND_INPUT,
    SHARING,
    WEIGHT_LAYOUTS,
    Backward,
    Case,
    Fill,
    Input,
    Spec,
    autocasts,
)
from properties.cases.domain import Domain
from properties.cases.factors import levels

_T = TypeVar("_T")
# What the context of a call is, and contexts that are looked at for each case.
_CONTEXT = ("layout", "origin", "weight layout", "gradients", "cotangent", "mode", "autocast")
_CANDIDATES = 12

_IN_THE_FIELD: dict[str, tuple[Spec, Input]] = {
    "sequence 64 -> 128, patch 4": (Spec(64, 128, 1, 4, bias=True), Input(2, (256,))),
    "ViT-B/16": (Spec(3, 768, 2, 16, bias=True), Input(1, (224, 224))),
    "ViT-L/14": (Spec(3, 1024, 2, 14, bias=True), Input(1, (224, 224))),
    "Swin, patch 4": (Spec(3, 96, 2, 4, bias=True), Input(2, (224, 224))),
    "spectrogram 16/10": (Spec(1, 768, 2, 16, stride=10, bias=True), Input(1, (128, 512))),
    "raw audio 10/5": (Spec(1, 64, 1, 10, stride=5, bias=True), Input(1, (16_000,))),
    "video, patch 4": (Spec(3, 192, 3, 4, bias=False), Input(1, (16, 112, 112))),
    # More samples than a CUDA grid has blocks along its second and third axis, and than 16 bits number: one more each.
    "65,536 short sequences": (Spec(1, 2, 1, 2, bias=True), Input(65_536, (2,))),
    "65,537 thin images": (Spec(1, 2, 2, 2, bias=True), Input(65_537, (2, 3))),
    "MRI volume, patch 8": (Spec(1, 256, 3, 8, bias=True), Input(1, (64, 64, 64))),
    # Inputs that are one window, with many channels: kernels treat them unlike others (torch 2.13 gets some wrong).
    "image of one window, patch 8": (Spec(16, 24, 2, 8, bias=True), Input(2, (8, 8))),
    "volume of one window, patch 4": (Spec(16, 24, 3, 4, bias=True), Input(2, (4, 4, 4))),
}
# Kernels cut their work into tiles, mostly of 16 to 1,024 elements, and handle the last one apart. 1,031 is a prime:
# past all of these, and no multiple of any. What starts at odd pixels past 2,048 has an index that float16 cannot hold.
_PAST_TILES: dict[str, tuple[Spec, Input]] = {
    "sequence, 1,031 input channels": (Spec(1031, 3, 1, 2, stride=3, bias=True), Input(2, (9,))),
    "image, 1,031 input channels": (Spec(1031, 2, 2, 3, stride=2, bias=True), Input(1, (6, 4))),
    "volume, 1,031 input channels": (Spec(1031, 2, 3, 1, bias=True), Input(2, (2, 3, 2))),
    "sequence, 1,031 output channels": (Spec(2, 1031, 1, 3, stride=2, bias=True), Input(3, (10,))),
    "image, 1,031 output channels": (Spec(1, 1031, 2, 2, bias=True), Input(2, (5, 7))),
    "volume, 1,031 output channels": (Spec(1, 1031, 3, 2, stride=3, bias=True), Input(1, (3, 5, 6))),
    "sequence, 1,031 windows": (Spec(1, 3, 1, 2, stride=3, bias=True), Input(3, (3094,))),
    "image, 1,031 windows high": (Spec(2, 1, 2, 3, bias=True), Input(1, (3095, 3))),
    "image, 1,031 windows wide": (Spec(1, 2, 2, 4, stride=3, bias=True), Input(1, (4, 3095))),
    "volume, 1,031 windows deep": (Spec(1, 2, 3, 1, stride=3, bias=True), Input(1, (3091, 2, 1))),
    "volume, 1,031 windows high": (Spec(2, 2, 3, 2, stride=3, bias=True), Input(1, (2, 3092, 2))),
    "volume, 1,031 windows wide": (Spec(1, 2, 3, 1, stride=3, bias=True), Input(1, (1, 2, 3093))),
    "sequence, patch 1,031": (Spec(1, 2, 1, 1031, stride=1033, bias=True), Input(2, (3100,))),
    "image, patch 33": (Spec(2, 3, 2, 33, stride=16, bias=True), Input(1, (50, 67))),
    "volume, patch 17": (Spec(1, 2, 3, 17, bias=True), Input(1, (17, 18, 35))),
    # Along every axis of the matrix product of windows and weight.
    "sequence, 450 windows, 67 -> 131": (Spec(67, 131, 1, 3, stride=2, bias=True), Input(3, (301,))),
    "image, 432 windows, 19 -> 131": (Spec(19, 131, 2, 3, stride=2, bias=True), Input(2, (25, 37))),
    "volume, 240 windows, 5 -> 131": (Spec(5, 131, 3, 3, stride=2, bias=True), Input(2, (9, 11, 13))),
    # More windows than a CUDA grid has blocks along its second and third axis.
    "sequence, 65,537 windows": (Spec(1, 2, 1, 2, stride=1, bias=True), Input(1, (65_538,))),
    "image, 66,049 windows": (Spec(1, 1, 2, 2, stride=1, bias=True), Input(1, (258, 258))),
    "volume, 68,921 windows": (Spec(1, 1, 3, 1, bias=True), Input(1, (41, 41, 41))),
    # Windows thousands of pixels apart, a prime again. One pixel more would be one more window of the sequence. Of
    # images, oneDNN's input gradient takes minutes from some stride below 2**12 on, which no layer is to blame for.
    "sequence, stride 4,099": (Spec(2, 3, 1, 3, stride=4099, bias=True), Input(1, (12_299,))),
    "image, stride 2,053": (Spec(2, 3, 2, 2, stride=2053, bias=True), Input(1, (2057, 3))),
    "volume, stride 4,099": (Spec(1, 2, 3, 1, stride=4099, bias=True), Input(1, (2, 4101, 1))),
}
# As they are trained: on data, which need no gradient, in the layout of images, with what comes after a class token or
# out of a mean.
_COMPILED: tuple[tuple[Spec, Input, Backward], ...] = (
    (
        Spec(3, 96, 2, 16, bias=True),
        Input(2, (32, 48), layout="channels_first"),
        Backward(("weight", "bias"), "sliced"),
    ),
    (
        Spec(1, 48, 3, 8, bias=True),
        Input(1, (16, 8, 8), layout="channels_first"),
        Backward(("weight", "bias"), "summed"),
    ),
)
# With the batch that comes to 2**31 elements, in one sample or in thousands.
_HUGE: dict[str, tuple[Spec, Input]] = {
    "sequences": (Spec(64, 8, 1, 4, bias=True), Input(2, (256,))),
    "images": (Spec(3, 24, 2, 16, bias=True), Input(1, (224, 224))),
    "volumes": (Spec(1, 8, 3, 4, bias=True), Input(3, (16, 16, 16))),
}
# What has no more pixels than this is cheap enough to be run on integers in every dtype.
_FEW_PIXELS = 16_000


def landmarks(dtypes: Sequence[str] = DTYPES) -> dict[str, Case]:
    """Every landmark by name: twice on integers, in the most precise dtype, and on dense and sparse reals in another.

    Twice, so that a wrong layer passes with a probability that is stated and small, however many terms its sums have.
    Small ones run on integers in every other dtype, too. The first case of each is as plain as can be; the others are
    called as people call layers, each in another way.
    """
    named: dict[str, Case] = {}
    precise = next(name for name in DTYPES if name in dtypes)
    contexts = _Contexts()
    for turn, (name, (spec, given)) in enumerate((_IN_THE_FIELD | _PAST_TILES).items()):
        wanted = PARAMETERS_AND_INPUT if spec.bias else PARAMETERS_AND_INPUT[:2]
        fills = [(Fill("exact", 1000), precise), (Fill("exact", 1001), precise)]
        fills += [
            (Fill(fill, 1000), dtypes[(turn + more) % len(dtypes)]) for more, fill in enumerate(("real", "sparse"))
        ]
        if given.batch * math.prod(given.sizes) <= _FEW_PIXELS:
            fills += [(Fill("exact", 1000), dtype) for dtype in dtypes if dtype != precise]
        for number, (fill, dtype) in enumerate(fills):
            case = Case(spec, replace(given, dtype=dtype), fill, backward=Backward(wanted, "random"))
            named[f"{name}, {fill.name} {fill.seed}, {dtype}"] = contexts.around(name, case) if number else case
    return named


def inside(named: Mapping[str, Case], domain: Domain) -> dict[str, Case]:
    """The landmarks whose numbers are some of a domain, with its bias and gradients; of cases that are alike, one."""
    found: dict[Case, str] = {}
    for name, case in named.items():
        if domain.takes_numbers(case):
            found.setdefault(domain.nearest(case), name)
    return {name: case for case, name in found.items()}


class _Contexts:
    """Ways to call a layer, so that each meets each other one, and each landmark as many of them as it has cases."""

    def __init__(self) -> None:
        self.met: set[tuple[str, str]] = set()

    def around(self, name: str, case: Case) -> Case:
        """The case in the context, of a few, in which most meets for the first time."""

        candidates = [_in_context(case, f"{name}/{case.fill.seed}/{case.input.dtype}/{n}") for n in range(_CANDIDATES)]
        pairs = [_pairs(name, candidate) for candidate in candidates]
        best = max(range(_CANDIDATES), key=lambda number: len(pairs[number] - self.met))
        self.met |= pairs[best]
        return candidates[best]


def _pairs(name: str, case: Case) -> set[tuple[str, str]]:
    reached = levels(case, autocast=True)
    named = [f"{axis} {reached[axis]}" for axis in _CONTEXT]
    return {*combinations(named, 2), *((name, level) for level in named)}


def _in_context(case: Case, which: str) -> Case:
    """The case in one of all contexts."""

    drawn: Iterator[int] = iter(generator.words(0, f"context/{which}", len(_CONTEXT)).tolist())

    def pick(options: Sequence[_T]) -> _T:
        return options[next(drawn) % len(options)]

    spec, given = case.spec, case.input
    mode = pick(("train", "train", "eval", "no_grad", "inference"))
    # What real users feed: images, channels first and permuted; a first layer's input needs no gradient.
    impossible = {*SHARING} | ({"odd_strides"} if 1 not in (given.batch, spec.in_features, *given.sizes) else set())
    layouts = ("channels_first", *(layout for layout in LAYOUTS if layout not in impossible))
    parameters = ("weight", "bias") if spec.bias else ("weight",)
    wanted = pick((parameters, parameters, ("input", *parameters), ("input",), ("weight",)))
    return replace(
        case,
        input=replace(given, layout=pick(layouts), origin=pick(ORIGINS)),
        weight_layout=pick(WEIGHT_LAYOUTS) if spec.data_dim > 1 else "plain",
        backward=Backward((), pick(tuple(kind for kind in COTANGENTS if kind != "zero"))),
        mode=mode,
        autocast=pick([low for low in AUTOCAST if autocasts(low, case.fill.name, given.dtype)]),
    ).wanting(*(wanted if mode in ("train", "eval") else ()))


def compiled_landmarks(dtypes: Sequence[str] = DTYPES) -> list[Case]:
    """Patches, channels and contexts of models as they are compiled, of few windows: those do not matter there."""
    dtype = next(name for name in ("float32", *DTYPES) if name in dtypes)
    return [
        Case(spec, replace(given, dtype=dtype), Fill("exact", 1000), "plain", backward, how, autocast="bfloat16")
        for how, (spec, given, backward) in zip(COMPILED, _COMPILED, strict=True)
    ]


def in_tf32(named: Mapping[str, Case]) -> dict[str, Case]:
    """The landmarks in float32 once more, with TF32 allowed."""
    return {f"{name}, TF32": replace(case, tf32=True) for name, case in named.items() if case.input.dtype == "float32"}


def huge(dtypes: Sequence[str] = DTYPES) -> dict[str, Case]:
    """Cases whose batch is repeated until there are more elements than 32 bits count, in the dtype that takes least."""
    small = min(dtypes, key=lambda name: PRECISIONS[name].significant_bits)
    wanted = ("input",)
    return {
        f"huge {name}, {small}": Case(spec, replace(given, dtype=small), Fill("exact", 1000), backward=Backward(wanted))
        for name, (spec, given) in _HUGE.items()
    }
