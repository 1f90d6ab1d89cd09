"""What a layer rounds, and to how many bits: operands are passed through one by one, and come out as they are used."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from oracles.rounding import PRECISIONS
from properties.case import DTYPES, Case
from properties.explanation.probe import Given, Look, Seen, given_of
from properties.explanation.words import listed
from properties.trial import Raised

_SEEDS = range(1200, 1206)
# Formats by their significant bits.
_FORMATS = {8: "as in bfloat16", 11: "as in float16 or TF32", 24: "as in float32"}
# Values that must show the same before it counts as a rule.
_ENOUGH = 6


def cause_of_rounding(case: Case, look: Look) -> str | None:
    """Which of weight, input, bias and output is rounded, and how; None where none is more than the dtype asks for.

    Raises:
        Raised: where the layer does.
    """
    bits = PRECISIONS[case.torch_dtype].significant_bits
    rounded = {}
    for name, (given, used) in _passed_through(case, look).items():
        words = _rounding(given, used, bits)
        if words:
            rounded[name] = words
    if "output" in rounded:
        spread = {name for name, words in rounded.items() if words == rounded["output"]}
        whole = "everything is computed" if spread >= {"output", "weight", "input"} else "the output is rounded"
        return f"{whole}{' with' if whole[0] == 'e' else ' to'} {rounded['output'].removeprefix('rounded to ')}"
    if rounded:
        names = list(rounded)
        first = rounded[names[0]]
        alike = [name for name in names if rounded[name] == first]
        return f"the {' and the '.join(alike)} {'are' if len(alike) > 1 else 'is'} {first}"
    return _sums(case, look, bits) or _range(case, look)


def _passed_through(
    case: Case, look: Look
) -> Iterator[tuple[str, tuple[Tensor, Tensor]]] | dict[str, tuple[Tensor, Tensor]]:
    """Values that were given, and the same ones as they come out."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {"weight": [], "input": [], "bias": [], "output": []}
    for seed in _SEEDS:
        real = given_of(case, seed, "real")
        nothing = None if real.bias is None else torch.zeros_like(real.bias)
        pixel = torch.zeros_like(real.x)
        pixel[(slice(None), *[0] * case.spec.data_dim, 0)] = 1
        first = (slice(None), *[0] * case.spec.data_dim)
        weights = look(replace(real, x=pixel, bias=nothing))[first]
        found["weight"].append((real.weight[:, 0].flatten(1)[:, 0].expand_as(weights), weights))
        tap = torch.zeros_like(real.weight)
        tap[(slice(None), 0, *[0] * case.spec.data_dim)] = 1
        exact = replace(real, weight=tap, bias=nothing)
        found["input"].append((exact.right, look(exact)))
        if real.bias is not None:
            biases = look(replace(real, x=torch.zeros_like(real.x)))
            found["bias"].append((real.bias.expand_as(biases), biases))
        output = look(real)
        found["output"].append((real.right, output))
    return {
        name: (torch.cat([a.flatten() for a, _ in pairs]), torch.cat([b.flatten() for _, b in pairs]))
        for name, pairs in found.items()
        if pairs
    }


def _rounding(given: Tensor, used: Tensor, bits: int) -> str | None:
    """How numbers are rounded, where they are."""
    given, used = given[used != 0], used[used != 0]
    if len(set(used.tolist())) < _ENOUGH or not bool(used.isfinite().all()):
        return None
    # A result may have rounded anywhere to the dtype; to be one with a rule it must be near what the rule gives.
    for kept in range(2, bits):
        if bool((to_bits(used, kept) == used).all()):
            return f"rounded to {kept} significant bits{', ' + _FORMATS[kept] if kept in _FORMATS else ''}"
    for power in range(20):
        unit = 2.0**-power
        if bool((used / unit == (used / unit).round()).all()):
            near = bool(((given - used).abs() <= unit * 0.51).all())
            return f"rounded to multiples of 1/{2**power}" if near and power < bits - 1 else None
    return None


def to_bits(values: Tensor, bits: int) -> Tensor:
    """Numbers rounded to so many significant bits, as if exponents had no limits."""
    fraction, exponent = torch.frexp(values)
    return torch.ldexp((fraction * 2**bits).round(), exponent - bits)


def _sums(case: Case, look: Look, bits: int) -> str | None:
    """Operands come through whole, their sums do not: powers of two and ones show from which distance on."""
    if case.spec.terms < 2:
        return None
    given = given_of(case, _SEEDS[0])
    nothing = None if given.bias is None else torch.zeros_like(given.bias)
    for power in range(1, bits):
        weight = torch.zeros_like(given.weight).flatten(1)
        weight[:, 0], weight[:, -1] = 2.0**power, 1
        one = Given(torch.ones_like(given.x), weight.reshape(given.weight.shape), nothing, given.stride)
        if not Seen(one, look(one)).is_right:
            if power < bits - 1:
                kept = f"{power} significant bits{', ' + _FORMATS[power] if power in _FORMATS else ''}"
                return f"the sum of the products is kept in {kept}"
            return None
    return None


def _range(case: Case, look: Look) -> str | None:
    """The largest and the smallest numbers that come through."""
    given = given_of(case, _SEEDS[0])
    nothing = None if given.bias is None else torch.zeros_like(given.bias)
    tap = torch.zeros_like(given.weight)
    tap[(slice(None), 0, *[0] * case.spec.data_dim)] = 1
    info = torch.finfo(DTYPES[case.input.dtype])
    largest, smallest = math.floor(math.log2(info.max)), math.ceil(math.log2(info.tiny))
    lost = []
    for power in (16, 20, 64, 128, 512):
        if power <= largest:
            found = look(Given(torch.full_like(given.x, 2.0**power), tap, nothing, given.stride))
            if not bool(found.isfinite().all()):
                lost.append(f"numbers from 2**{power} on become infinite" + (", as in float16" if power == 16 else ""))
                break
    for power in (-26, -64, -130, -200):
        if power >= smallest:
            found = look(Given(torch.full_like(given.x, 2.0**power), tap, nothing, given.stride))
            if bool((found == 0).all()):
                lost.append(f"numbers below 2**{power} become zero")
                break
    return listed(lost) if lost else None


_ = Raised
