"""Cases as plain data: the round trip through JSON, and every refusal with the message that names the field."""

import copy
import json
import re
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings

from properties.cases.case import MAX_ELEMENTS, Backward, Case, Fill, Input, Spec
from properties.cases.drawing import cases
from properties.cases.error import CaseError

CASE = Case(
    Spec(3, 5, 2, 4, stride=2, bias=True),
    Input(2, (9, 8), "float32", "sliced"),
    Fill("real", 42),
    "channels_last",
    Backward(("input", "bias"), "expanded"),
)
JSON: dict[str, Any] = {
    "spec": {"in_features": 3, "out_features": 5, "data_dim": 2, "patch_size": 4, "stride": 2, "bias": True},
    "input": {"batch": 2, "sizes": [9, 8], "dtype": "float32", "layout": "sliced"},
    "fill": {"name": "real", "seed": 42},
    "weight_layout": "channels_last",
    "backward": {"requires_grad": ["input", "bias"], "cotangent": "expanded"},
    "compiled": "automatic",
    "tf32": False,
}

PARTS = ("spec", "input", "fill", "backward")


@given(cases())
@settings(max_examples=200)
def test_round_trip(case: Case) -> None:
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_json_is_pinned() -> None:
    assert CASE.to_json() == JSON
    assert Case.from_json(JSON) == CASE


def test_reading_leaves_the_data_alone() -> None:
    data = copy.deepcopy(JSON)
    Case.from_json(data)
    assert data == JSON


def test_default_case_is_valid_and_smallest() -> None:
    assert Case.from_json(Case().to_json()) == Case()
    assert (Case().input_shape, Case().weight_shape, Case().output_shape) == ((1, 1, 1), (1, 1, 1), (1, 1, 1))


def test_shapes() -> None:
    assert CASE.input_shape == (2, 9, 8, 3)
    assert CASE.weight_shape == (5, 3, 4, 4)
    assert CASE.grid == (3, 3)
    assert CASE.output_shape == (2, 3, 3, 5)
    assert (CASE.spec.terms, CASE.spec.effective_stride, Spec(patch_size=3).effective_stride) == (48, 2, 3)


def test_everything_is_frozen() -> None:
    for holder in (CASE, CASE.spec, CASE.input, CASE.fill, CASE.backward):
        assert is_dataclass(holder)
        for field in fields(holder):
            with pytest.raises(FrozenInstanceError):
                setattr(holder, field.name, None)
    assert hash(CASE) == hash(Case.from_json(JSON))


def test_described() -> None:
    assert CASE.describe() == (
        "2D, 3 -> 5 channels, patch_size 4, stride 2, bias; "
        "batch 2, sizes 9 x 8, float32, sliced input, channels_last weight; "
        "gradients of input and bias for a cotangent expanded; fill real, data seed 42"
    )
    assert Case().describe() == (
        "1D, 1 -> 1 channels, patch_size 1, default stride, no bias; "
        "batch 1, sizes 1, float64, contiguous input, plain weight; no gradients; fill exact, data seed 0"
    )


def changed(path: str, value: object) -> dict[str, Any]:
    """The JSON of the case with one member changed, or added."""
    data = copy.deepcopy(JSON)
    *folders, name = path.split(".")
    holder = data
    for folder in folders:
        holder = holder[folder]
    holder[name] = value
    return data


HIGH = MAX_ELEMENTS
SPEC_FIELDS = "in_features, out_features, data_dim, patch_size, stride, bias"
GRADIENTS = "backward.requires_grad must list some of input, weight, bias, in that order, got"
LAYOUT_NAMES = "contiguous, channels_first, transposed, rotated, sliced, stepped, expanded, overlapping, odd_strides"
CHANGED: tuple[tuple[str, object, str], ...] = (
    # integers
    ("spec.in_features", True, "spec.in_features must be an integer, got True"),
    ("spec.in_features", 3.0, "spec.in_features must be an integer, got 3.0"),
    ("spec.in_features", float("nan"), "spec.in_features must be an integer, got nan"),
    ("spec.in_features", "3", "spec.in_features must be an integer, got '3'"),
    ("spec.in_features", None, "spec.in_features must be an integer, got None"),
    ("spec.in_features", 0, f"spec.in_features must be from 1 to {HIGH}, got 0"),
    ("spec.in_features", HIGH + 1, f"spec.in_features must be from 1 to {HIGH}, got {HIGH + 1}"),
    ("spec.out_features", False, "spec.out_features must be an integer, got False"),
    ("spec.out_features", -1, f"spec.out_features must be from 1 to {HIGH}, got -1"),
    ("spec.data_dim", 2.0, "spec.data_dim must be an integer, got 2.0"),
    ("spec.data_dim", 4, "spec.data_dim must be from 1 to 3, got 4"),
    ("spec.data_dim", 0, "spec.data_dim must be from 1 to 3, got 0"),
    ("spec.patch_size", "4", "spec.patch_size must be an integer, got '4'"),
    ("spec.patch_size", 0, f"spec.patch_size must be from 1 to {HIGH}, got 0"),
    ("spec.stride", True, "spec.stride must be an integer, got True"),
    ("spec.stride", 0, f"spec.stride must be from 1 to {HIGH}, got 0"),
    ("input.batch", 1.0, "input.batch must be an integer, got 1.0"),
    ("input.batch", 0, f"input.batch must be from 1 to {HIGH}, got 0"),
    ("fill.seed", True, "fill.seed must be an integer, got True"),
    ("fill.seed", -1, "fill.seed must be from 0 to 18446744073709551615, got -1"),
    ("fill.seed", 2**64, "fill.seed must be from 0 to 18446744073709551615, got 18446744073709551616"),
    # booleans
    ("spec.bias", 1, "spec.bias must be true or false, got 1"),
    ("spec.bias", None, "spec.bias must be true or false, got None"),
    ("tf32", 1, "tf32 must be true or false, got 1"),
    # names
    ("input.dtype", "float8", "input.dtype must be one of float64, float32, bfloat16, float16, got 'float8'"),
    ("input.dtype", ["float64"], "input.dtype must be one of float64, float32, bfloat16, float16, got ['float64']"),
    ("input.layout", "round", f"input.layout must be one of {LAYOUT_NAMES}, got 'round'"),
    ("fill.name", 1, "fill.name must be one of exact, real, wide, address, poison, sparse, extreme, got 1"),
    ("weight_layout", None, "weight_layout must be one of plain, channels_last, got None"),
    ("compiled", "dynamic", "compiled must be one of automatic, static, got 'dynamic'"),
    (
        "backward.cotangent",
        "",
        "backward.cotangent must be one of ones, random, zero, expanded, channels_first, summed, pooled, sliced, "
        "transposed, got ''",
    ),
    # lists
    ("input.sizes", "98", "input.sizes must be a list, got '98'"),
    ("input.sizes", 9, "input.sizes must be a list, got 9"),
    ("input.sizes", [], "input.sizes must be a list of sizes, one for each spatial axis, got ()"),
    ("input.sizes", [9], "input.sizes must have data_dim = 2 entries, got [9]"),
    ("input.sizes", [9, 8, 8], "input.sizes must have data_dim = 2 entries, got [9, 8, 8]"),
    ("input.sizes", [9, True], "input.sizes[1] must be an integer, got True"),
    ("input.sizes", [9, 8.0], "input.sizes[1] must be an integer, got 8.0"),
    ("input.sizes", [[9], 8], "input.sizes[0] must be an integer, got [9]"),
    ("input.sizes", [0, 8], f"input.sizes[0] must be from 1 to {HIGH}, got 0"),
    ("input.sizes", [9, 3], "input.sizes[1] is 3, fewer than spec.patch_size 4"),
    ("backward.requires_grad", "input", "backward.requires_grad must be a list, got 'input'"),
    ("backward.requires_grad", None, "backward.requires_grad must be a list, got None"),
    ("backward.requires_grad", ["bias", "input"], f"{GRADIENTS} ('bias', 'input')"),
    ("backward.requires_grad", ["input", "input"], f"{GRADIENTS} ('input', 'input')"),
    ("backward.requires_grad", ["x"], f"{GRADIENTS} ('x',)"),
    ("backward.requires_grad", [["input"]], f"{GRADIENTS} (['input'],)"),
    # fields
    ("spec", [], f"spec must be an object with the fields {SPEC_FIELDS}, got list"),
    ("fill", None, "fill must be an object with the fields name, seed, got NoneType"),
    ("fill.size", 3, "fill has an unknown field 'size'; its fields are name, seed"),
    ("spec.Bias", True, f"spec has an unknown field 'Bias'; its fields are {SPEC_FIELDS}"),
    (
        "format",
        1,
        "case has an unknown field 'format'; "
        "its fields are spec, input, fill, weight_layout, backward, compiled, tf32, history, mode, autocast",
    ),
)


def refused(data: object, message: str) -> None:
    with pytest.raises(CaseError, match=f"^{re.escape(message)}$"):
        Case.from_json(data)


@pytest.mark.parametrize(("path", "value", "message"), CHANGED)
def test_refuses_changed_member(path: str, value: object, message: str) -> None:
    refused(changed(path, value), message)


@pytest.mark.parametrize("path", [*JSON, *(f"{part}.{name}" for part in PARTS for name in JSON[part])])
def test_refuses_missing_member(path: str) -> None:
    data = copy.deepcopy(JSON)
    folder, _, name = path.rpartition(".")
    del (data[folder] if folder else data)[name]
    refused(data, f"{folder or 'case'} lacks the field {name!r}")


@pytest.mark.parametrize(("data", "kind"), [(None, "NoneType"), ([JSON], "list"), ("{}", "str"), (3, "int")])
def test_refuses_what_is_no_object(data: object, kind: str) -> None:
    fields = "spec, input, fill, weight_layout, backward, compiled, tf32, history, mode, autocast"
    refused(data, f"case must be an object with the fields {fields}, got {kind}")


def test_refuses_gradient_of_no_bias() -> None:
    refused(changed("spec.bias", False), "backward.requires_grad names bias, but spec.bias is false")


def test_refuses_tf32_where_it_means_nothing_or_would_round() -> None:
    message = "tf32 needs dtype float32 and a fill whose integers have 11 bits, got {} and the fill {}"
    with pytest.raises(CaseError, match=message.format("float64", "exact")):
        Case(tf32=True)
    with pytest.raises(CaseError, match=message.format("float32", "address")):
        Case(Spec(), Input(dtype="float32"), Fill("address"), tf32=True)
    assert Case(Spec(), Input(dtype="float32"), tf32=True).describe().count("TF32") == 1


def test_refuses_weight_layout_of_a_sequence() -> None:
    data = changed("spec.data_dim", 1)
    data["input"]["sizes"] = [9]
    message = "weight_layout channels_last needs data_dim 2 or 3: torch has no such format for a sequence"
    refused(data, message)


@pytest.mark.parametrize(
    ("spec", "given", "message"),
    [
        (Spec(2), Input(2**12, (2**12,)), f"the input would hold {2**25} elements, more than {2**24}"),
        (Spec(2**12, 2**13), Input(), f"the weight would hold {2**25} elements, more than {2**24}"),
        (Spec(1, 2**13), Input(1, (2**12,)), f"the patches or tokens would hold {2**25} elements, more than {2**24}"),
        (
            Spec(1, 1, 1, 2**13, stride=1),
            Input(1, (2**14,)),
            f"the patches or tokens would hold {2**13 * (2**13 + 1)} elements, more than {2**24}",
        ),
        (
            Spec(2**10, 2**11),
            Input(1, (2**10,)),
            f"one forward pass would take {2**31} multiplications, more than {2**30}",
        ),
    ],
    ids=["input", "weight", "tokens", "patches", "products"],
)
def test_refuses_cost(spec: Spec, given: Input, message: str) -> None:
    with pytest.raises(CaseError, match=f"^{re.escape(message)}$"):
        Case(spec, given)


@pytest.mark.parametrize(
    ("spec", "given"),
    [
        (Spec(1), Input(2**12, (2**12,))),
        (Spec(2**12, 2**12), Input()),
        (Spec(2**10, 2**10), Input(1, (2**10,))),
        (Spec(1, 1, 1, 2**12, stride=1), Input(1, (2**13 - 1,))),
    ],
    ids=["input", "weight", "products", "patches"],
)
def test_accepts_the_largest(spec: Spec, given: Input) -> None:
    assert Case(spec, given).input_shape == (given.batch, *given.sizes, spec.in_features)


def test_refuses_hostile_sizes_without_walking_along_them() -> None:
    data = changed("input.sizes", [2**24, 2**24])
    refused(data, f"the input would hold {2 * 3 * 2**48} elements, more than {2**24}")


def test_address_needs_a_channel_for_every_tap() -> None:
    data = changed("fill.name", "address")
    refused(data, "fill address needs out_features = in_features * patch_size**data_dim = 48, got 5")
    data["spec"]["out_features"] = 48
    assert Case.from_json(data).fill.name == "address"


@pytest.mark.parametrize(("dtype", "limit"), [("bfloat16", 2**8), ("float16", 2**11)])
def test_address_needs_a_number_for_every_pixel(dtype: str, limit: int) -> None:
    most = Input(1, (limit,), dtype)
    assert Case(Spec(), most, Fill("address")).input.sizes == (limit,)
    message = f"fill address numbers {limit + 1} input elements, but {dtype} holds only the integers up to {limit}"
    with pytest.raises(CaseError, match=f"^{message}$"):
        Case(Spec(), replace(most, sizes=(limit + 1,)), Fill("address"))


@pytest.mark.parametrize("value", ["input", ["input"], None, 3], ids=repr)
def test_constructor_refuses_what_is_no_tuple(value: Any) -> None:
    message = f"{GRADIENTS} {value!r}"
    with pytest.raises(CaseError, match=f"^{re.escape(message)}$"):
        Backward(value)
    message = f"input.sizes must be a list of sizes, one for each spatial axis, got {value!r}"
    with pytest.raises(CaseError, match=f"^{re.escape(message)}$"):
        Input(1, value)


def test_error_is_a_value_error() -> None:
    assert issubclass(CaseError, ValueError)
