"""Where NaN and infinity get to, and what pixels do that no window covers."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from oracles.windows import covered
from properties.cases.case import Case
from properties.diagnosis.probe import SEEDS, Given, Look, given_of, observe
from properties.diagnosis.windows import other_windows
from properties.diagnosis.words import listed, place
from properties.trials.tensors import TORCH_DTYPES

# Uncovered pixels that are changed one by one.
_MOST_PIXELS = 12


def cause_of_nonfinite(case: Case, look: Look) -> str | None:
    """What becomes of a NaN or an infinity in a covered pixel, None where that is as it should be.

    Raises:
        Raised: where the layer does.
    """
    given = given_of(case, SEEDS[0])
    # One half, so that the largest finite number does not overflow.
    given = replace(given, weight=torch.where(given.weight < 0, -0.5, 0.5).double())
    pixel = np.argwhere(covered(case.input.sizes, case.spec.patch_size, case.spec.step))[-1].tolist()
    largest = torch.finfo(TORCH_DTYPES[case.input.dtype]).max
    scrubbed = {}
    for name, value in (("NaN", math.nan), ("infinity", math.inf)):
        one = _with_pixel(given, pixel, value)
        found, expected = look(one), ~one.right.isfinite()
        if bool((~found.isfinite() & ~expected).any()):
            return f"{name} in one pixel reaches tokens whose windows do not cover it"
        if bool((found.isfinite() & expected).any()):
            if torch.allclose(found[expected], _with_pixel(given, pixel, 0).right[expected]):
                scrubbed[name] = f"{name} in the input is taken for zero"
            elif bool((found[expected].abs() == largest / 2).all()):
                scrubbed[name] = f"{name} in the input is taken for the largest finite number"
            elif bool((found[expected & found.isfinite()].abs() == largest).all()):
                scrubbed[name] = "infinite output values become the largest finite number"
            else:
                scrubbed[name] = f"{name} in the input is taken for a finite number"
    return listed(list(dict.fromkeys(scrubbed.values()))) if scrubbed else None


def nan_spreads(case: Case, look: Look) -> str | None:
    """Whether a NaN in one sample reaches all of its tokens, or those of other samples."""
    given = given_of(case, SEEDS[0])
    pixel = np.argwhere(covered(case.input.sizes, case.spec.patch_size, case.spec.step))[-1].tolist()
    x = given.x.clone()
    x[(0, *pixel)] = math.nan
    one = replace(given, x=x)
    found, right = look(one), one.right
    beyond = found.isnan() & right.isfinite()
    if not bool(beyond.any()):
        return None
    tokens = found.isnan().any(-1).flatten(1)
    if bool(tokens.all()) and tokens.shape[0] > 1:
        return "NaN in one sample reaches every token of all samples"
    if bool(tokens[0].all()) and not bool(tokens[1:].any()):
        return "NaN in one pixel reaches every token of its sample"
    return "NaN in one pixel reaches tokens whose windows do not cover it"


def cause_of_uncovered(case: Case, look: Look) -> str | None:
    """What pixels that no window covers do to the output.

    Raises:
        Raised: where the layer does.
    """
    # Windows in other places read other pixels: then that is the cause.
    words = other_windows(case, look, observe(case, look))
    if words:
        return words
    given = given_of(case, SEEDS[0])
    places = np.argwhere(~covered(case.input.sizes, case.spec.patch_size, case.spec.step)).tolist()
    base = look(given)
    if base.shape != given.right.shape:
        return None
    # Those at the end of an axis first: they are the remainder.
    for pixel in (places[-_MOST_PIXELS:] + places[:_MOST_PIXELS])[: 2 * _MOST_PIXELS]:
        change = look(_with_pixel(given, pixel, 1000.0, add=True)) - base
        if bool((change != 0).any()):
            return _influence(case, given, pixel, change / 1000)
    nan = [look(_with_pixel(given, pixel, math.nan)) for pixel in places[-1:]]
    if nan and bool(nan[0].isnan().any()):
        tokens = nan[0].isnan().any(-1).flatten(1)
        where = "every token of its sample" if bool(tokens.all()) else "some tokens"
        return f"pixels that no window covers are multiplied by zero instead of left out: NaN in one reaches {where}"
    return None


def _influence(case: Case, given: Given, pixel: list[int], change: Tensor) -> str:
    """By which tap a pixel that no window covers reaches which token."""
    at = change.abs().sum(-1).nonzero()[0].tolist()
    token = tuple(at[1:])
    who = f"pixel {place(pixel)}, which no window covers, reaches token {place(token)}"
    taps = given.weight.sum(1).flatten(1)
    for index in range(taps.shape[1]):
        if torch.allclose(change[tuple(at)], taps[:, index]):
            tap = tuple(int(i) for i in torch.unravel_index(torch.tensor(index), given.weight.shape[2:]))
            own = tuple(i * case.spec.step + k for i, k in zip(token, tap, strict=True))
            return f"{who} with the weight of tap {place(tap)}, as if it were added to pixel {place(own)}"
    return who


def _with_pixel(given: Given, pixel: list[int], value: float, *, add: bool = False) -> Given:
    """One pixel of every sample set to a value, in its last channel, or raised by it in every channel."""
    x = given.x.clone()
    at = x
    for index in pixel:
        at = at.select(1, index)
    if add:
        at += value
    else:
        at[:, -1] = value
    return replace(given, x=x)
