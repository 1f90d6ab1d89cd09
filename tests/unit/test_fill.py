"""The fills: what values the tensors of a case get, and that no dtype rounds them."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from oracles import adjoint, loops, unfold
from oracles.precision import PRECISIONS
from properties.cases.case import Backward, Case, Fill, Input, Spec
from properties.cases.drawing import cases
from properties.cases.fill import false_pass_probability, most_terms, values
from properties.trials.tensors import TORCH_DTYPES, tensors
from properties.trials.trial import Trial


def filled(name: str, cotangents: tuple[str, ...] = ("random",)) -> st.SearchStrategy[Case]:
    """Drawn cases with another fill, and one of the given cotangents."""
    return st.builds(
        lambda case, seed, cotangent: replace(
            case, fill=Fill(name, seed), backward=replace(case.backward, cotangent=cotangent)
        ),
        cases(),
        st.integers(0, 2**32),
        st.sampled_from(cotangents),
    )


def magnitudes(case: Case) -> dict[str, float]:
    """The largest sum of magnitudes that any value of each result is."""
    given_values = Trial(case, lambda: None).values
    x, weight, cotangent = (
        tensor.double().abs() for tensor in (given_values.x, given_values.weight, given_values.cotangent)
    )
    bias = None if given_values.bias is None else given_values.bias.double().abs()
    spec = case.spec
    found = {
        "tokens": unfold.forward(x, weight, bias, spec.effective_stride),
        "input": adjoint.input_gradient(cotangent, weight, case.input.sizes, spec.effective_stride),
        "weight": adjoint.weight_gradient(cotangent, x, spec.patch_size, spec.effective_stride),
        "bias": adjoint.bias_gradient(cotangent),
    }
    return {name: float(tensor.max()) for name, tensor in found.items()}


@given(filled("exact", ("random", "channels_first", "zero")))
@settings(max_examples=100)
def test_exact_sums_stay_within_the_limit(case: Case) -> None:
    limit = PRECISIONS[case.input.dtype].exact_limit
    assert {name: m for name, m in magnitudes(case).items() if m > limit} == {}


@given(filled("exact", ("ones", "expanded")))
@settings(max_examples=50)
def test_exact_tokens_stay_within_the_limit_for_every_cotangent(case: Case) -> None:
    assert magnitudes(case)["tokens"] <= PRECISIONS[case.input.dtype].exact_limit


@pytest.mark.parametrize(
    ("spec", "given_input"),
    [
        (Spec(512, 2, 1, 3, bias=True), Input(2, (9,), "bfloat16")),
        (Spec(1, 300, 1, 3, stride=1, bias=True), Input(2, (9,), "bfloat16")),
        (Spec(1, 2, 2, 2, bias=True), Input(65_537, (2, 2), "bfloat16")),
        (Spec(1, 2, 2, 2, bias=True), Input(65_537, (2, 2), "float16")),
        (Spec(768, 768, 2, 2, stride=1, bias=True), Input(1, (16, 16), "float16")),
        (Spec(64, 2, 3, 8, bias=True), Input(1, (8, 8, 8), "float32")),
    ],
    ids=["terms", "out_features", "batch", "batch, float16", "everything", "volume"],
)
@pytest.mark.parametrize("seed", [0, 1000])
def test_exact_sums_of_many_terms_stay_within_the_limit(spec: Spec, given_input: Input, seed: int) -> None:
    case = Case(spec, given_input, Fill("exact", seed), backward=Backward(("input", "weight", "bias"), "random"))
    limit = PRECISIONS[case.input.dtype].exact_limit
    found = magnitudes(case)
    assert {name: m for name, m in found.items() if m > limit} == {}
    # Nor is anything checked on zeros alone.
    assert min(found.values()) > 0


@given(cases(), st.sampled_from(["exact", "real", "wide", "poison"]), st.integers(0, 2**32))
@settings(max_examples=200)
def test_no_value_is_rounded(case: Case, name: str, seed: int) -> None:
    case = replace(case, fill=Fill(name, seed), backward=replace(case.backward, cotangent="random"))
    converted = tensors(case)
    for tensor_name, array in values(case).items():
        tensor: Tensor = getattr(converted, tensor_name)
        assert array.dtype == np.float64
        assert tensor.dtype == TORCH_DTYPES[case.input.dtype]
        assert np.array_equal(tensor.double().numpy(), array, equal_nan=True)
        assert not np.isinf(array).any()


@given(filled("exact"))
@settings(max_examples=50)
def test_exact_values_are_integers(case: Case) -> None:
    found = tensors(case)
    for tensor in (found.x, found.weight, found.cotangent, *([] if found.bias is None else [found.bias])):
        assert torch.equal(tensor, tensor.round())


@given(filled("poison"))
@settings(max_examples=80)
def test_poison_is_in_exactly_the_uncovered_pixels(case: Case) -> None:
    covered = np.zeros(case.input.sizes, dtype=bool)
    for _, window in loops.windows(case.input.sizes, case.spec.patch_size, case.spec.effective_stride):
        covered[window] = True
    if case.input.layout == "overlapping":
        covered[:] = covered.any(axis=0)
    found = tensors(case)
    expected = torch.from_numpy(~covered)[None, ..., None].expand(case.input_shape)
    assert torch.equal(found.x.isnan(), expected)
    assert not found.weight.isnan().any()
    # Everywhere else the values are those of the exact fill.
    exact = tensors(replace(case, fill=replace(case.fill, name="exact")))
    assert torch.equal(found.x[~expected], exact.x[~expected])
    assert torch.equal(found.weight, exact.weight)


@given(cases(dtypes=("float64", "float32")).filter(lambda case: case.spec.terms <= 64))
@settings(max_examples=60)
def test_address_numbers_pixels_and_unfolds(case: Case) -> None:
    spec = case.spec
    case = replace(case, spec=replace(spec, out_features=spec.terms), fill=Fill("address", 3))
    found = tensors(case)
    assert torch.equal(found.x.reshape(-1), torch.arange(1, found.x.numel() + 1, dtype=TORCH_DTYPES[case.input.dtype]))
    assert torch.equal(found.weight.flatten(1), torch.eye(spec.terms, dtype=TORCH_DTYPES[case.input.dtype]))
    assert (found.bias is None) == (not spec.bias)
    if found.bias is not None:
        assert not found.bias.any()
    tokens = unfold.forward(found.x, found.weight, found.bias, spec.effective_stride)
    assert torch.equal(tokens, unfold.patches(found.x, spec.patch_size, spec.effective_stride))


@given(filled("wide", ("random", "expanded", "zero", "channels_first")))
@settings(max_examples=80)
def test_wide_sums_stay_finite(case: Case) -> None:
    most = torch.finfo(TORCH_DTYPES[case.input.dtype]).max
    assert {name: m for name, m in magnitudes(case).items() if not m <= most} == {}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_wide_values_are_of_many_magnitudes(dtype: str) -> None:
    x = tensors(Case(Spec(), Input(1, (1000,), dtype), Fill("wide", 5))).x.double()
    assert x.abs().min() > 0
    assert math.log2(float(x.abs().max() / x.abs().min())) > 10
    assert 300 < int((x < 0).sum()) < 700


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_real_values_use_every_bit(dtype: str) -> None:
    case = Case(Spec(), Input(1, (1000,), dtype), Fill("real", 5))
    x = tensors(case).x.double() / PRECISIONS[case.input.dtype].unit_roundoff
    assert x.abs().max() < PRECISIONS[case.input.dtype].exact_limit
    assert torch.equal(x, x.round())
    assert 400 < int((x % 2 == 1).sum()) < 600  # the last bit
    assert 300 < int((x < 0).sum()) < 700


def test_cotangents() -> None:
    plain = Case(Spec(2, 3, 2, 2), Input(2, (4, 6)), Fill("exact", 50), backward=Backward(("input",), "random"))
    random = tensors(plain).cotangent
    assert tuple(random.shape) == (2, 2, 3, 3)
    expected = {
        "random": random,
        "channels_first": random,
        "ones": torch.ones_like(random),
        "zero": torch.zeros_like(random),
        "expanded": random[0, 0, 0].expand(2, 2, 3, 3),
    }
    for name, tensor in expected.items():
        assert torch.equal(tensors(replace(plain, backward=Backward(("input",), name))).cotangent, tensor)


@given(cases())
@settings(max_examples=40)
def test_values_depend_on_nothing_but_the_case(case: Case) -> None:
    torch.manual_seed(0)
    first = tensors(case)
    torch.manual_seed(1)
    second = tensors(case)
    for one, other in itertools.zip_longest(vars(first).values(), vars(second).values()):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one.nan_to_num(), other.nan_to_num())
    assert first.x.is_contiguous()


def exact(spec: Spec, given_input: Input, seed: int = 1000, cotangent: str = "random", fill: str = "exact") -> Case:
    return Case(spec, given_input, Fill(fill, seed), backward=Backward(("input", "weight"), cotangent))


def test_most_terms() -> None:
    assert most_terms(exact(Spec(3, 2, 2, 4), Input(1, (4, 4)))) == 49  # one output value, with its bias
    assert most_terms(exact(Spec(1, 10, 2, 3, stride=2), Input(1, (3, 3)))) == 40  # one pixel under four windows
    assert most_terms(exact(Spec(1, 1, 2, 1), Input(5, (6, 7)))) == 210  # one weight at every token


@pytest.mark.parametrize(
    ("case", "forward", "backward"),
    [
        (exact(Spec(2, 3, 1, 4), Input(2, (9,))), 2 / (2 * 2**20 + 1), 2 / (2 * 2**20 + 1)),
        (exact(Spec(2, 3, 1, 4), Input(2, (9,)), seed=9), 2 / 19, 2 / 19),  # one digit
        (exact(Spec(2, 3, 1, 4), Input(2, (9,)), fill="poison"), 2 / (2 * 2**20 + 1), 2 / (2 * 2**20 + 1)),
        (exact(Spec(1, 1), Input(1, (1,), "float32")), 2 / 2049, 2 / 2049),
        (exact(Spec(63, 1), Input(1, (1,), "float32")), 2 / 1025, 2 / 1025),  # sqrt(2**24 / 64) = 512
        (exact(Spec(1, 1), Input(64, (1,), "float32")), 2 / 2049, 2 / 513),  # 2**24 / 2**10 / 64 = 256
        (exact(Spec(8, 1), Input(1, (1,), "bfloat16")), 2 / 11, 2 / 11),  # sqrt(2**8 / 9) > 5
        (exact(Spec(300, 1), Input(1, (1,), "bfloat16")), None, None),  # not every weight of a row is drawn
        (exact(Spec(1, 1), Input(300, (1,), "bfloat16")), 2 / 23, None),  # not every cotangent is drawn
        (exact(Spec(1, 1), Input(1, (1,)), cotangent="ones"), 2 / (2 * 2**20 + 1), None),
        (exact(Spec(1, 1), Input(1, (1,)), cotangent="zero"), 2 / (2 * 2**20 + 1), None),
        (exact(Spec(1, 1), Input(1, (1,)), cotangent="expanded"), 2 / (2 * 2**20 + 1), None),
        (exact(Spec(1, 1), Input(1, (1,)), cotangent="channels_first"), 2 / (2 * 2**20 + 1), 2 / (2 * 2**20 + 1)),
        (exact(Spec(1, 1), Input(2, (1,), layout="expanded")), None, None),
        (exact(Spec(1, 1), Input(2, (1,), layout="overlapping")), None, None),
        (exact(Spec(1, 1), Input(1, (1,)), fill="address"), None, None),
        (exact(Spec(1, 1), Input(1, (1,)), fill="real"), None, None),
        (exact(Spec(1, 1), Input(1, (1,)), fill="wide"), None, None),
    ],
)
def test_false_pass_probability(case: Case, forward: float | None, backward: float | None) -> None:
    assert false_pass_probability(case, gradient=False) == forward
    assert false_pass_probability(case, gradient=True) == backward


def test_false_pass_probability_is_nearly_reached() -> None:
    # A stray product of one input and one weight vanishes where either of two of eleven numbers is zero.
    template = exact(Spec(8, 1), Input(1, (1,), "bfloat16"))
    missed = 0
    for seed in range(100, 1100):
        found = tensors(replace(template, fill=Fill("exact", seed)))
        missed += float(found.x[0, 0, 0] * found.weight[0, 0, 0]) == 0
    assert 1 - (10 / 11) ** 2 - 0.04 < missed / 1000 < 2 / 11 + 0.03


def test_poison_of_overlapping_samples_is_covered_by_none() -> None:
    case = Case(Spec(1, 1, 2, 2), Input(3, (3, 5), layout="overlapping"), Fill("poison", 1))
    found = np.isnan(values(case)["x"][..., 0])
    assert found[:, :, 4].all()
    assert not found[:, :, :4].any()
