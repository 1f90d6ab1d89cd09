"""What a layer rounds, and to how many bits: operands are passed through one by one, and come out as they are used."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from oracles.precision import PRECISIONS
from properties.cases.case import Case
from properties.diagnosis.probe import Given, Look, Seen, given_of
from properties.diagnosis.words import listed
from properties.trials.tensors import TORCH_DTYPES

_SEEDS = range(1200, 1206)
# Formats by their significant bits.
_FORMATS = {8: "as in bfloat16", 11: "as in float16 or TF32", 24: "as in float32"}
# Values that must show the same before it counts as a rule.
_ENOUGH = 6
# Subnormal numbers have fewer bits.
_NEARLY_ALL = 0.9


def cause_of_rounding(case: Case, look: Look) -> str | None:
    """Which of weight, input, bias and output is rounded, and how; None where none is more than the dtype asks for.

    Raises:
        Raised: where the layer does.
    """
    bits = PRECISIONS[case.input.dtype].significant_bits
    rounded = {}
    for name, (given, used) in _passed_through(case, look).items():
        words = _rounding(given, used, bits, output=name == "output")
        if words:
            rounded[name] = words
    if "output" in rounded and (kept := _kept(rounded["output"])) and _operands_are_whole(case, look, kept):
        return f"operands are whole, but their sum is {rounded['output']}"
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


def _passed_through(case: Case, look: Look) -> dict[str, tuple[Tensor, Tensor]]:
    """Values that were given, and the same ones as they come out."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {"weight": [], "input": [], "bias": [], "output": []}
    for seed in _SEEDS:
        real = given_of(case, seed, "real")
        nothing = None if real.bias is None else torch.zeros_like(real.bias)
        pixel = torch.zeros_like(real.x)
        _first(pixel, case)[..., 0] = 1
        weights = _first(look(replace(real, x=pixel, bias=nothing)), case)
        found["weight"].append((real.weight[:, 0].flatten(1)[:, 0].expand_as(weights), weights))
        tap = torch.zeros_like(real.weight)
        _first(tap[:, 0], case)[:] = 1
        exact = replace(real, weight=tap, bias=nothing)
        found["input"].append((exact.right, look(exact)))
        if real.bias is not None:
            biases = look(replace(real, x=torch.zeros_like(real.x)))
            found["bias"].append((real.bias.expand_as(biases), biases))
        whole = replace(real, bias=nothing)
        found["output"].append((whole.right, look(whole)))
    return {
        name: (torch.cat([a.flatten() for a, _ in pairs]), torch.cat([b.flatten() for _, b in pairs]))
        for name, pairs in found.items()
        if pairs
    }


def _first(tensor: Tensor, case: Case) -> Tensor:
    """What stands first along every spatial axis, which come after one other, as a view."""
    for _ in range(case.spec.data_dim):
        tensor = tensor.select(1, 0)
    return tensor


def _rounding(given: Tensor, used: Tensor, bits: int, *, output: bool) -> str | None:
    """How numbers are rounded, where they are."""
    given, used = given[used != 0], used[used != 0]
    if len(set(used.tolist())) < _ENOUGH or not bool(used.isfinite().all()):
        return None
    # A result may have rounded anywhere to the dtype; to be one with a rule it must be near what the rule gives.
    for kept in range(2, bits):
        if bool((to_bits(used, kept) == used).all()):
            # Each operand is rounded once; an output is a sum, which only has to be a number of the format.
            if output or bool((to_bits(given, kept) == used).double().mean() > _NEARLY_ALL):
                return f"rounded to {significant(kept)}"
            break
    for power in range(0 if output else 20):
        unit = 2.0**-power
        if power < bits - 1 and bool((used == (given / unit).round() * unit).all()):
            return f"rounded to multiples of 1/{2**power}"
    return None


def significant(bits: int) -> str:
    """``8 significant bits, as in bfloat16``."""
    return f"{bits} significant bits{', ' + _FORMATS[bits] if bits in _FORMATS else ''}"


def _kept(words: str) -> int:
    return int(words.split()[2])


def _operands_are_whole(case: Case, look: Look, kept: int) -> bool:
    """Whether two operands that need more bits come through where they all but cancel out."""
    if case.spec.terms < 2:
        return False
    given = given_of(case, _SEEDS[0])
    nothing = None if given.bias is None else torch.zeros_like(given.bias)
    weight = torch.zeros_like(given.weight).flatten(1)
    weight[:, 0], weight[:, 1] = 2.0**kept + 1, -(2.0**kept)
    one = Given(torch.ones_like(given.x), weight.reshape(given.weight.shape), nothing, given.stride)
    return Seen(one, look(one)).is_right


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
                if power < 3:
                    return None  # So few bits that it is something else that is wrong.
                return f"the sum of the products is kept in {significant(power)}"
            return None
    return None


def _range(case: Case, look: Look) -> str | None:
    """The largest and the smallest numbers that come through."""
    given = given_of(case, _SEEDS[0])
    nothing = None if given.bias is None else torch.zeros_like(given.bias)
    tap = torch.zeros_like(given.weight)
    _first(tap[:, 0], case)[:] = 1
    info = torch.finfo(TORCH_DTYPES[case.input.dtype])
    largest, smallest = math.floor(math.log2(info.max)), math.ceil(math.log2(info.tiny))
    lost = []
    for power in (16, 20, 64, 128, 512):
        if power <= largest:
            found = look(Given(torch.full_like(given.x, 2.0**power), tap, nothing, given.stride))
            if not bool(found.isfinite().all()):
                lost.append(f"numbers from 2**{power} on become infinite")
                break
    for power in (-26, -64, -130, -200):
        if power >= smallest:
            found = look(Given(torch.full_like(given.x, 2.0**power), tap, nothing, given.stride))
            if bool((found == 0).all()):
                lost.append(f"numbers below 2**{power} become zero")
                break
    return listed(lost) + (", as in float16" if "2**16" in lost[0] else "") if lost else None
