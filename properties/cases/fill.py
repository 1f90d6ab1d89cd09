"""The values of a case's tensors, as NumPy arrays.

All are float64 and exactly representable in the case's dtype, so converting them rounds nothing, on any machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracles.precision import PRECISIONS, Precision
from oracles.windows import covered
from properties.cases import generator
from properties.cases.case import SHARING, Case

# Larger integers would still be exact in these dtypes, but float32 operands must survive TF32, which keeps 11 bits.
_LARGEST_INTEGER = {"float64": 2**20, "float32": 2**10, "bfloat16": 2**8, "float16": 2**10}
# The first seeds are for people: their integers have one digit. Shrinking prefers them.
_READABLE_SEEDS = 10
# Exponents of the wide fill; products of two values, summed over any number of terms, stay finite.
_WIDE_EXPONENTS = {"float64": (-60, 60), "float32": (-20, 20), "bfloat16": (-20, 20), "float16": (-8, 4)}
# Terms of a sparse sum that are not zero, at most, before windows overlap.
_SPARSE_TERMS = 2
# Exponents of the extreme fill, as parts of the largest one: of input, weight and cotangent in any order. The sum of
# any two is that of a result, which therefore neither overflows nor is subnormal.
_EXTREMES = [order for sign in (1, -1) for order in permutations((0.8 * sign, -0.4 * sign, 0.0))]
_LARGEST_EXPONENT = {"float64": 1023, "float32": 127, "bfloat16": 127, "float16": 15}


@dataclass(frozen=True)
class Amplitudes:
    """Ranges of the exact fill, such that no partial sum of any result exceeds what the dtype holds exactly.

    ``weights_in_a_row`` and ``cotangents`` say how many entries may differ from zero where ranges alone do not do it.
    """

    operand: int
    weights_in_a_row: int
    cotangent: int
    cotangents: int


def values(case: Case) -> dict[str, NDArray[np.float64]]:
    """The values of ``x``, ``weight``, ``cotangent`` and, where there is one, ``bias``, made from the data seed."""
    shapes = {"x": case.input_shape, "weight": case.weight_shape, "cotangent": case.output_shape}
    if case.spec.bias:
        shapes["bias"] = (case.spec.out_features,)
    drawn: dict[str, NDArray[Any]]
    if case.fill.integral:
        drawn = _integers(case, shapes)
    else:
        precision = PRECISIONS[case.input.dtype]
        draw = _REALS[case.fill.name]
        drawn = {name: draw(case, name, math.prod(shape), precision) for name, shape in shapes.items()}
    arrays = {name: drawn[name].astype(np.float64).reshape(shape) for name, shape in shapes.items()}
    if case.fill.name == "poison":
        kept = covered(case.input.sizes, case.spec.patch_size, case.spec.effective_stride)
        if case.input.layout == "overlapping":
            # What one sample leaves over along the first axis, another one covers.
            kept = np.broadcast_to(kept.any(axis=0), kept.shape)
        arrays["x"][:, ~kept] = math.nan
    arrays["cotangent"] = _cotangent(case, arrays["cotangent"])
    return arrays


def false_pass_probability(case: Case, *, gradient: bool) -> float | None:
    """How likely an exact check is to pass a layer that computes another polynomial of degree two at most.

    By the lemma of Schwartz and Zippel: a polynomial of degree 2 that is not zero vanishes on values drawn
    independently and uniformly from n numbers with probability at most ``2/n``.

    Args:
        case: what is checked.
        gradient: whether it is a gradient that is checked, which the cotangent goes into as well.

    Returns:
        None where values are not independent and uniform, so that the lemma says nothing.
    """
    if case.fill.name not in ("exact", "poison") or case.input.layout in SHARING:
        return None
    limits = amplitudes(case)
    if limits.weights_in_a_row < case.spec.terms:
        return None
    if not gradient:
        return 2 / (2 * limits.operand + 1)
    if case.backward.cotangent not in (
        "random",
        "channels_first",
        "sliced",
        "transposed",
    ) or limits.cotangents < most_terms(case):
        return None
    return 2 / (2 * min(limits.operand, limits.cotangent) + 1)


def most_terms(case: Case) -> int:
    """Terms in the longest of the sums that make the output and the three gradients."""
    spec = case.spec
    windows_on_a_pixel: int = math.ceil(spec.patch_size / spec.effective_stride) ** spec.data_dim
    return max(spec.terms + 1, spec.out_features * windows_on_a_pixel, case.input.batch * math.prod(case.grid))


def _integers(case: Case, shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.int64]]:
    seed, limits, arrays = case.fill.seed, amplitudes(case), {}
    for name, shape in shapes.items():
        most = limits.cotangent if name == "cotangent" else limits.operand
        arrays[name] = generator.integers(seed, name, math.prod(shape), -most, most)
    arrays["cotangent"] *= generator.chosen(seed, "cotangent", arrays["cotangent"].size, limits.cotangents)
    if limits.weights_in_a_row < case.spec.terms:
        rows = arrays["weight"].reshape(case.spec.out_features, -1)
        for row in range(len(rows)):
            rows[row] *= generator.chosen(seed, f"weight/{row}", case.spec.terms, limits.weights_in_a_row)
    if case.fill.name == "address":
        arrays["x"] = np.arange(1, arrays["x"].size + 1)
        arrays["weight"] = np.eye(case.spec.terms, dtype=np.int64).reshape(-1)
        if "bias" in arrays:
            arrays["bias"][:] = 0
    return arrays


def amplitudes(case: Case) -> Amplitudes:
    """The ranges of a case's integers."""
    limit = int(PRECISIONS[case.input.dtype].exact_limit)
    terms = case.spec.terms
    largest = 9 if case.fill.seed < _READABLE_SEEDS else _LARGEST_INTEGER[case.input.dtype]
    operand = max(1, min(largest, math.isqrt(limit // (terms + 1))))
    weights_in_a_row = min(terms, limit // operand**2 - 1)
    room, longest = limit // operand, most_terms(case)
    cotangent = max(1, min(operand, room // longest))
    return Amplitudes(operand, weights_in_a_row, cotangent, cotangents=room if room < longest else 2**63)


def wide_exponents(case: Case) -> tuple[int, int]:
    """The smallest and the largest exponent of the wide fill: every sum of products stays finite."""
    low, high = _WIDE_EXPONENTS[case.input.dtype]
    if case.input.dtype == "float16":
        high = min(high, (15 - math.ceil(math.log2(most_terms(case)))) // 2)
    return low, high


def _real(case: Case, name: str, count: int, precision: Precision) -> NDArray[Any]:
    """Uniform in (-1, 1), with as many bits as the dtype holds."""
    most = 2**precision.significant_bits - 1
    return generator.integers(case.fill.seed, name, count, -most, most) * precision.unit_roundoff


def _wide(case: Case, name: str, count: int, precision: Precision) -> NDArray[Any]:
    """Random sign, significand in [1/2, 1), and a power of two from a range that keeps every sum finite."""
    seed, bits = case.fill.seed, precision.significant_bits
    low, high = wide_exponents(case)
    significands = generator.integers(seed, f"{name}/significand", count, 2 ** (bits - 1), 2**bits - 1)
    signs = generator.integers(seed, f"{name}/sign", count, 0, 1) * 2 - 1
    exponents = generator.integers(seed, f"{name}/exponent", count, low, high)
    return np.ldexp((signs * significands).astype(np.float64), exponents - bits)


def _sparse(case: Case, name: str, count: int, precision: Precision) -> NDArray[Any]:
    """Real numbers most of which are zero, of either sign, so that a token and a gradient have one or two products.

    However long the sums are, they are then rounded once or twice, and operands of fewer bits show. Each output channel
    has two weights that are not zero, and a cotangent at two tokens; one in eight numbers of the input is zero.
    """
    seed, channels = case.fill.seed, case.spec.out_features
    there = np.zeros(count, dtype=bool)
    if name in ("weight", "cotangent"):
        of_channel = there.reshape(channels, -1) if name == "weight" else there.reshape(-1, channels).T
        among = of_channel.shape[1] - 1
        places = generator.integers(seed, f"{name}/places", _SPARSE_TERMS * channels, 0, among)
        of_channel[np.repeat(np.arange(channels), _SPARSE_TERMS), places] = True
    else:
        there = generator.integers(seed, f"{name}/zeros", count, 0, 7) > 0
    return np.asarray(_real(case, name, count, precision) * there)


def _extreme(case: Case, name: str, count: int, precision: Precision) -> NDArray[Any]:
    """The sparse fill with another power of two for each tensor, huge and tiny ones among them."""
    scales = _EXTREMES[int(generator.integers(case.fill.seed, "extremes", 1, 0, len(_EXTREMES) - 1)[0])]
    of = dict(zip(("x", "weight", "cotangent"), scales, strict=True))
    # The bias is as large as what it is added to.
    of["bias"] = of["x"] + of["weight"]
    values: NDArray[Any] = _sparse(case, name, count, precision)
    return np.asarray(np.ldexp(values, int(of[name] * _LARGEST_EXPONENT[case.input.dtype])))


_REALS: dict[str, Callable[[Case, str, int, Precision], NDArray[Any]]] = {
    "real": _real,
    "wide": _wide,
    "sparse": _sparse,
    "extreme": _extreme,
}


def _cotangent(case: Case, random: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cotangent's values; its layout is the trial's business, except that an expanded one repeats tokens."""
    match case.backward.cotangent:
        case "ones" | "summed":
            return np.ones_like(random)
        case "zero":
            return np.zeros_like(random)
        case "expanded":
            one_token = random.reshape(-1, random.shape[-1])[0]
            return np.broadcast_to(one_token, random.shape).copy()
        case "pooled":
            one_each = random.reshape(len(random), -1, random.shape[-1])[:, 0]
            return np.broadcast_to(one_each.reshape(len(random), *[1] * len(case.grid), -1), random.shape).copy()
        case _:
            return random
