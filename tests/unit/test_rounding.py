"""The bound on rounding errors: zero where nothing is rounded, never too small, small enough to notice lost bits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oracles.precision import PRECISIONS, TF32
from oracles.rounding import bound, precision_of

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def of(*magnitudes: float) -> Tensor:
    return torch.tensor(magnitudes, dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_precision_is_that_of_torch(dtype: torch.dtype) -> None:
    precision, info = precision_of(dtype), torch.finfo(dtype)
    assert precision.unit_roundoff == info.eps / 2
    assert precision.exact_limit == 2 / info.eps
    assert precision.smallest_subnormal == info.tiny * info.eps
    # 2**p is representable, its successor is the first integer that is not.
    limit = int(precision.exact_limit)
    assert int(torch.tensor(limit, dtype=dtype)) == limit
    assert int(torch.tensor(limit - 1, dtype=dtype)) == limit - 1
    assert int(torch.tensor(limit + 1, dtype=torch.int64).to(dtype)) != limit + 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_up_to_the_exact_limit_for_integers(dtype: torch.dtype) -> None:
    limit = precision_of(dtype).exact_limit
    magnitudes = of(0.0, 1.0, limit - 1, limit, limit + 2)
    found = bound(magnitudes, 3, dtype, dtype, integral=True)
    assert (found == 0).tolist() == [True, True, True, True, False]
    assert found.dtype == torch.float64
    assert bool((bound(magnitudes, 3, dtype, dtype) > 0).all())


def test_exact_limit_is_the_smaller_of_storage_and_accumulation() -> None:
    magnitudes = of(2.0**8, 2.0**8 + 1)
    found = bound(magnitudes, 3, torch.bfloat16, torch.float32, integral=True)
    assert (found == 0).tolist() == [True, False]
    found = bound(magnitudes, 3, torch.float32, torch.bfloat16, integral=True)
    assert (found == 0).tolist() == [True, False]


def test_by_hand() -> None:
    # n*u times the magnitude, twice as much in float64 for the oracle's own rounding, and underflow.
    found = bound(of(2.0), 5, torch.float32, torch.float32)
    assert found.tolist() == [2 * (5 * 2.0**-24 + 10 * 2.0**-53) + 6 * 2.0**-149]
    # Storing the sum rounds once more.
    relative = 5 * 2.0**-24
    relative += 2.0**-8 * (1 + relative)
    found = bound(of(2.0), 5, torch.bfloat16, torch.float32)
    assert found.tolist() == [2 * (relative + 10 * 2.0**-53) + 6 * 2.0**-133]


@pytest.mark.parametrize("dtype", DTYPES)
def test_grows_with_magnitude_and_terms(dtype: torch.dtype) -> None:
    small, large = bound(of(1.0, 2.0), 3, dtype, dtype).tolist()
    assert 0 < small < large
    assert float(bound(of(1.0), 4, dtype, dtype)) > small
    tiny = precision_of(dtype).smallest_subnormal
    assert float(bound(of(0.0), 3, dtype, dtype)) == 4 * tiny


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("integral", [True, False])
def test_overflow_is_infinite(dtype: torch.dtype, integral: bool) -> None:
    """Where the magnitude, rounded up, may be beyond the largest number."""
    largest = torch.finfo(dtype).max
    found = bound(of(largest * (1 - 2**-5), largest), 2, dtype, dtype, integral=integral)
    assert found.isinf().tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shape_is_that_of_the_magnitude(dtype: torch.dtype) -> None:
    assert bound(torch.ones(2, 3, 4, dtype=torch.float64), 2, dtype, dtype).shape == (2, 3, 4)


def test_operands_widen_it() -> None:
    plain = float(bound(of(1.0), 4, torch.float32, torch.float32))
    rounded = float(bound(of(1.0), 4, torch.float32, torch.float32, operands=PRECISIONS["bfloat16"]))
    # Two factors, each off by u = 2**-8 at most: (1 + u)**2 - 1.
    assert rounded - plain == pytest.approx(2 * 2.0**-8 + 2.0**-16, rel=1e-5)


def test_rounded_operands_and_rounded_sums_multiply() -> None:
    # 128 terms in bfloat16, u = 2**-8: the sum is off by up to a half, and each of the two factors by up to u.
    u = 2.0**-8
    found = float(bound(of(1.0), 128, torch.bfloat16, torch.bfloat16, operands=PRECISIONS["bfloat16"]))
    assert found == pytest.approx((1 + 0.5) * (1 + u) ** 2 - 1, rel=1e-6)


def test_tf32_cuts_operands_to_eleven_bits() -> None:
    # What is cut off 1 + 2**-10 + 2**-11 to leave 11 significant bits is nearly 2**-10 of it.
    assert TF32.unit_roundoff == 2.0**-10
    assert float(bound(of(1.0), 1, torch.float32, torch.float32, operands=TF32)) > 2 * 2.0**-10


def drawn(seed: int, terms: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two vectors in (-1, 1), representable in the dtype."""
    generator = torch.Generator().manual_seed(seed)
    left, right = 2 * torch.rand(2, terms, dtype=torch.float64, generator=generator) - 1
    return left.to(dtype), right.to(dtype)


def recursive_sum(left: Tensor, right: Tensor, start: int = 0) -> Tensor:
    """Multiply and add term by term, rounding to the dtype after every operation."""
    total = torch.zeros((), dtype=left.dtype)
    for product in (left * right).roll(start):
        total = total + product
    return total


def exact(left: Tensor, right: Tensor) -> tuple[float, float]:
    """The sum of products, and of their magnitudes, as exactly as float64 adds products of fewer bits."""
    products = (left.double() * right.double()).tolist()
    return math.fsum(products), math.fsum(map(abs, products))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 200),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.integers(0, 200),
)
@settings(max_examples=80)
def test_correct_sum_is_within_the_bound(seed: int, terms: int, dtype: torch.dtype, start: int) -> None:
    left, right = drawn(seed, terms, dtype)
    value, magnitude = exact(left, right)
    error = abs(float(recursive_sum(left, right, start)) - value)
    assert error <= float(bound(of(magnitude), terms, dtype, dtype))
    # Partial sums in float32, rounded once at the end.
    error = abs(float(recursive_sum(left.float(), right.float(), start).to(dtype)) - value)
    assert error <= float(bound(of(magnitude), terms, dtype, torch.float32))


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(max_examples=60)
def test_rounded_operand_of_few_terms_is_within_the_operand_bound(seed: int, terms: int) -> None:
    left, right = drawn(seed, terms, torch.float32)
    value, magnitude = exact(left, right)
    rounded = recursive_sum(left.bfloat16().float(), right.bfloat16().float())
    limit = bound(of(magnitude), terms, torch.float32, torch.float32, operands=PRECISIONS["bfloat16"])
    assert abs(float(rounded) - value) <= float(limit)


@pytest.mark.parametrize(
    ("dtype", "fewer"),
    [(torch.float64, torch.float32), (torch.float32, torch.bfloat16), (torch.float16, torch.bfloat16)],
)
def test_rounded_operand_exceeds_the_bound(dtype: torch.dtype, fewer: torch.dtype) -> None:
    exceeded = 0
    for seed in range(100):
        left, right = drawn(seed, 2, dtype)
        value, magnitude = exact(left, right)
        found = recursive_sum(left.to(fewer).to(dtype), right)
        exceeded += abs(float(found) - value) > float(bound(of(magnitude), 2, dtype, dtype))
    # With 16 or more bits lost nearly every sum shows it. float16 keeps only three bits more than bfloat16, and the
    # bound for two terms is two roundings wide: there about half of the sums show it.
    assert exceeded >= (98 if dtype != torch.float16 else 25)


def test_tf32_operand_exceeds_the_bound() -> None:
    exceeded = 0
    for seed in range(100):
        left, right = drawn(seed, 27, torch.float32)
        value, magnitude = exact(left, right)
        # TF32 keeps 11 significant bits.
        significand, exponent = torch.frexp(left)
        kept = torch.ldexp((significand * 2**11).round() / 2**11, exponent)
        found = recursive_sum(kept, right)
        exceeded += abs(float(found) - value) > float(bound(of(magnitude), 27, torch.float32, torch.float32))
    assert exceeded >= 90


@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
@settings(max_examples=60)
def test_integers_within_the_limit_are_exact(seed: int, terms: int, dtype: torch.dtype) -> None:
    most = max(1, math.isqrt(int(precision_of(dtype).exact_limit) // terms))
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randint(-most, most + 1, (2, terms), generator=generator).to(dtype)
    value, magnitude = exact(left, right)
    assert float(bound(of(magnitude), terms, dtype, dtype, integral=True)) == 0
    assert float(recursive_sum(left, right)) == value
