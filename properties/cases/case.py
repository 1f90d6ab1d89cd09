"""A case: everything that a trial needs, as plain data, JSON both ways.

Every object here is valid: constructing one checks it, and the error names the field, the value and what is allowed.
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

from oracles import windows
from oracles.precision import PRECISIONS
from properties.cases import history as histories
from properties.cases.error import CaseError

DTYPES = ("float64", "float32", "bfloat16", "float16")
LAYOUTS = (
    *("contiguous", "channels_first", "transposed", "rotated", "sliced", "stepped"),
    *("expanded", "overlapping", "odd_strides"),
)
# Layouts in which samples share memory, and so values.
SHARING = ("expanded", "overlapping")
WEIGHT_LAYOUTS = ("plain", "channels_last")
ORIGINS = ("leaf", "result")
FILLS = ("exact", "real", "wide", "address", "poison", "sparse", "extreme")
PARAMETERS_AND_INPUT = ("input", "weight", "bias")
COMPILED = ("automatic", "static")
COTANGENTS = (
    *("ones", "random", "zero", "expanded", "channels_first"),
    *("summed", "pooled", "sliced", "transposed"),
)
# What records say in format 3 and not before.
_LAYOUTS_SINCE_3 = ("rotated", "overlapping")
_FILLS_SINCE_3 = ("sparse", "extreme")
_COTANGENTS_SINCE_3 = ("summed", "pooled", "sliced", "transposed")
MODES = ("train", "eval", "no_grad", "inference")
AUTOCAST = ("off", "bfloat16", "float16")

# The cost bound: no tensor of a trial is larger, and no product of the oracle does more multiplications.
MAX_ELEMENTS = 2**24
MAX_PRODUCTS = 2**30
MAX_SEED = 2**64 - 1


@dataclass(frozen=True)
class Spec:
    """The constructor arguments of a layer."""

    in_features: int = 1
    out_features: int = 1
    data_dim: int = 1
    patch_size: int = 1
    stride: int | None = None
    bias: bool = False

    def __post_init__(self) -> None:
        _integer("spec.in_features", self.in_features, 1, MAX_ELEMENTS)
        _integer("spec.out_features", self.out_features, 1, MAX_ELEMENTS)
        _integer("spec.data_dim", self.data_dim, 1, 3)
        _integer("spec.patch_size", self.patch_size, 1, MAX_ELEMENTS)
        if self.stride is not None:
            _integer("spec.stride", self.stride, 1, MAX_ELEMENTS)
        if not isinstance(self.bias, bool):
            raise CaseError(f"spec.bias must be true or false, got {self.bias!r}")

    @property
    def effective_stride(self) -> int:
        """``S``: the stride, by default the patch size."""
        return self.patch_size if self.stride is None else self.stride

    @property
    def taps(self) -> tuple[int, ...]:
        """The kernel's spatial shape, ``P`` along each axis."""
        return (self.patch_size,) * self.data_dim

    @property
    def terms(self) -> int:
        """Products in one output value, ``K = C_in * P**d``."""
        return self.in_features * math.prod(self.taps)


@dataclass(frozen=True)
class Input:
    """What the layer is given: ``[batch, *sizes, C_in]``, a leaf or the result of another operation, a view of one."""

    batch: int = 1
    sizes: tuple[int, ...] = (1,)
    dtype: str = "float64"
    layout: str = "contiguous"
    origin: str = "leaf"

    def __post_init__(self) -> None:
        _integer("input.batch", self.batch, 1, MAX_ELEMENTS)
        if not isinstance(self.sizes, tuple) or not self.sizes:
            raise CaseError(f"input.sizes must be a list of sizes, one for each spatial axis, got {self.sizes!r}")
        for axis, size in enumerate(self.sizes):
            _integer(f"input.sizes[{axis}]", size, 1, MAX_ELEMENTS)
        _choice("input.dtype", self.dtype, DTYPES)
        _choice("input.layout", self.layout, LAYOUTS)
        _choice("input.origin", self.origin, ORIGINS)


@dataclass(frozen=True)
class Fill:
    """How tensors get their values from a data seed."""

    name: str = "exact"
    seed: int = 0

    def __post_init__(self) -> None:
        _choice("fill.name", self.name, FILLS)
        _integer("fill.seed", self.seed, 0, MAX_SEED)

    @property
    def integral(self) -> bool:
        """Whether all values are integers, so that results compare bitwise."""
        return self.name in ("exact", "address", "poison")

    @property
    def sparse(self) -> bool:
        """Whether most terms of every sum are zero, so that results are rounded once or twice however long it is."""
        return self.name in ("sparse", "extreme")


@dataclass(frozen=True)
class Backward:
    """Which tensors require a gradient, and what the cotangent of the output is.

    ``ones`` and ``random`` ones are dense; ``expanded`` repeats one token, ``pooled`` one token of each sample, as a
    mean over the grid does, and ``summed`` a single 1, as ``tokens.sum()`` does; ``sliced`` is cut from behind a class
    token; ``channels_first`` and ``transposed`` are stored in another order.
    """

    requires_grad: tuple[str, ...] = ()
    cotangent: str = "random"

    def __post_init__(self) -> None:
        wanted = self.requires_grad if isinstance(self.requires_grad, tuple) else None
        if wanted is None or wanted != tuple(name for name in PARAMETERS_AND_INPUT if name in wanted):
            raise CaseError(
                f"backward.requires_grad must list some of {', '.join(PARAMETERS_AND_INPUT)}, in that order, "
                f"got {self.requires_grad!r}"
            )
        _choice("backward.cotangent", self.cotangent, COTANGENTS)


@dataclass(frozen=True)
class Case:
    """A spec, an input description, a fill with its data seed, and a backward pass.

    ``compiled`` says how ``torch.compile`` is to treat sizes, where a property compiles the layer: ``automatic`` makes
    them dynamic from the second size on, ``static`` compiles every size for itself. ``tf32`` allows CUDA's tensor cores
    to read float32 operands with 11 significant bits; elsewhere it changes nothing. ``history`` is what is done with
    the layer, where that is more than one forward and one backward pass. ``mode`` is how it is called: in ``train`` or
    ``eval`` mode, or in eval mode without gradients, under ``no_grad`` or ``inference_mode``. ``autocast`` is the dtype
    of autocast for those properties that run the layer under it; for all others it is off.
    """

    spec: Spec = field(default_factory=Spec)
    input: Input = field(default_factory=Input)
    fill: Fill = field(default_factory=Fill)
    weight_layout: str = "plain"
    backward: Backward = field(default_factory=Backward)
    compiled: str = "automatic"
    tf32: bool = False
    history: histories.History = ()
    mode: str = "train"
    autocast: str = "off"

    def __post_init__(self) -> None:
        spec, sizes = self.spec, self.input.sizes
        _choice("weight_layout", self.weight_layout, WEIGHT_LAYOUTS)
        _choice("compiled", self.compiled, COMPILED)
        _choice("mode", self.mode, MODES)
        _choice("autocast", self.autocast, AUTOCAST)
        if self.without_gradients and self.backward.requires_grad:
            raise CaseError(f"mode {self.mode} has no gradients, but backward.requires_grad names some")
        if not isinstance(self.tf32, bool):
            raise CaseError(f"tf32 must be true or false, got {self.tf32!r}")
        if self.tf32 and (self.input.dtype != "float32" or self.fill.name == "address"):
            raise CaseError(
                f"tf32 needs dtype float32 and a fill whose integers have 11 bits, got {self.input.dtype} and the fill "
                f"{self.fill.name}"
            )
        if self.weight_layout == "channels_last" and spec.data_dim == 1:
            raise CaseError(
                "weight_layout channels_last needs data_dim 2 or 3: torch has no such format for a sequence"
            )
        if len(sizes) != spec.data_dim:
            raise CaseError(f"input.sizes must have data_dim = {spec.data_dim} entries, got {list(sizes)}")
        for axis, size in enumerate(sizes):
            if size < spec.patch_size:
                raise CaseError(f"input.sizes[{axis}] is {size}, fewer than spec.patch_size {spec.patch_size}")
        if "bias" in self.backward.requires_grad and not spec.bias:
            raise CaseError("backward.requires_grad names bias, but spec.bias is false")
        self._check_cost()
        if self.fill.name == "address":
            self._check_address()

    def _check_cost(self) -> None:
        spec, pixels = self.spec, self.input.batch * math.prod(self.input.sizes)
        if max(self.input.sizes) > MAX_ELEMENTS or pixels * spec.in_features > MAX_ELEMENTS:
            raise CaseError(f"the input would hold {pixels * spec.in_features} elements, more than {MAX_ELEMENTS}")
        if spec.out_features * spec.terms > MAX_ELEMENTS:
            raise CaseError(
                f"the weight would hold {spec.out_features * spec.terms} elements, more than {MAX_ELEMENTS}"
            )
        # An upper limit by the contract's formula: enumerating the windows of a hostile case would itself be costly.
        tokens = self.input.batch * math.prod(
            (s - spec.patch_size) // spec.effective_stride + 1 for s in self.input.sizes
        )
        largest = tokens * max(spec.terms, spec.out_features)
        if largest > MAX_ELEMENTS:
            raise CaseError(f"the patches or tokens would hold {largest} elements, more than {MAX_ELEMENTS}")
        products = tokens * spec.terms * spec.out_features
        if products > MAX_PRODUCTS:
            raise CaseError(f"one forward pass would take {products} multiplications, more than {MAX_PRODUCTS}")

    def _check_address(self) -> None:
        if self.spec.out_features != self.spec.terms:
            raise CaseError(
                f"fill address needs out_features = in_features * patch_size**data_dim = {self.spec.terms}, "
                f"got {self.spec.out_features}"
            )
        limit = PRECISIONS[self.input.dtype].exact_limit
        if math.prod(self.input_shape) > limit:
            raise CaseError(
                f"fill address numbers {math.prod(self.input_shape)} input elements, but {self.input.dtype} "
                f"holds only the integers up to {limit:.0f}"
            )

    @property
    def format(self) -> int:
        """The oldest format of records that can hold the case: 2 knows histories, 3 the contexts of a call."""
        usual = (self.input.origin, self.mode, self.autocast) == ("leaf", "train", "off")
        usual = usual and all(getattr(step, "mode", "grad") != "autocast" for step in self.history)
        usual = usual and all(getattr(step, "way", "in place") != "zeroed" for step in self.history)
        usual = usual and self.fill.name not in _FILLS_SINCE_3 and self.input.layout not in _LAYOUTS_SINCE_3
        if not usual or self.backward.cotangent in _COTANGENTS_SINCE_3:
            return 3
        return 2 if self.history else 1

    @property
    def without_gradients(self) -> bool:
        """Whether the layer is called where torch records none."""
        return self.mode in ("no_grad", "inference")

    def wanting(self, *names: str) -> "Case":
        """The case with gradients of the named tensors, called where torch records them."""
        wanted = tuple(name for name in PARAMETERS_AND_INPUT if name in names)
        mode = "eval" if self.without_gradients and wanted else self.mode
        return replace(self, backward=replace(self.backward, requires_grad=wanted), mode=mode)

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Tokens along each spatial axis, counted."""
        return windows.grid(self.input.sizes, self.spec.patch_size, self.spec.effective_stride)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """``[B, *s, C_in]``."""
        return (self.input.batch, *self.input.sizes, self.spec.in_features)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """``[B, *g, C_out]``."""
        return (self.input.batch, *self.grid, self.spec.out_features)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """``[C_out, C_in, P, ...]``."""
        return (self.spec.out_features, self.spec.in_features, *self.spec.taps)

    @cached_property
    def elements(self) -> int:
        """Elements of the largest tensor: the input, its windows, the output or the weight."""
        windows = self.input.batch * math.prod(self.grid)
        shapes = self.input_shape, self.output_shape, self.weight_shape, (windows, self.spec.terms)
        return max(map(math.prod, shapes))

    def describe(self) -> str:
        """The case in words, on one line."""
        spec, given = self.spec, self.input
        stride = "default stride" if spec.stride is None else f"stride {spec.stride}"
        gradients = " and ".join(self.backward.requires_grad)
        return "; ".join(
            (
                f"{spec.data_dim}D, {spec.in_features} -> {spec.out_features} channels, patch_size {spec.patch_size}, "
                f"{stride}, {'bias' if spec.bias else 'no bias'}",
                f"batch {given.batch}, sizes {' x '.join(map(str, given.sizes))}, "
                f"{'TF32' if self.tf32 else given.dtype}, {given.layout} input, "
                f"{self.weight_layout} weight",
                f"gradients of {gradients} for a cotangent {self.backward.cotangent}" if gradients else "no gradients",
                f"fill {self.fill.name}, data seed {self.fill.seed}",
                *([f"a history of {len(self.history)} steps"] if self.history else []),
                *(["the input is the result of an operation"] if given.origin != "leaf" else []),
                *([f"mode {self.mode}"] if self.mode != "train" else []),
                *([f"autocast to {self.autocast}"] if self.autocast != "off" else []),
            )
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data that ``json`` can write."""
        data: dict[str, Any] = asdict(self)
        data["input"]["sizes"] = list(self.input.sizes)
        data["backward"]["requires_grad"] = list(self.backward.requires_grad)
        # What records of earlier versions do not have is left out where it is as it was for them.
        for holder, name, usual in (
            (data, "mode", "train"),
            (data, "autocast", "off"),
            (data["input"], "origin", "leaf"),
        ):
            if holder[name] == usual:
                del holder[name]
        data.pop("history")
        if self.history:
            data["history"] = histories.to_json(self.history)
        return data

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The case that plain data describes.

        Raises:
            CaseError: where a field is unknown, missing, of the wrong type, or beyond the cost bound.
        """
        members = _members("case", _with({"history": [], "mode": "train", "autocast": "off"}, data), cls)
        given = _members("input", _with({"origin": "leaf"}, members["input"]), Input)
        return cls(
            spec=Spec(**_members("spec", members["spec"], Spec)),
            input=Input(**_tuples("input", given, "sizes")),
            fill=Fill(**_members("fill", members["fill"], Fill)),
            weight_layout=members["weight_layout"],
            backward=Backward(
                **_tuples("backward", _members("backward", members["backward"], Backward), "requires_grad")
            ),
            compiled=members["compiled"],
            tf32=members["tf32"],
            history=histories.from_json(members["history"]),
            mode=members["mode"],
            autocast=members["autocast"],
        )


def autocasts(low: str, fill: str, dtype: str) -> bool:
    """Whether values of a fill in a dtype can be judged under autocast to a lower one, which may hold fewer of them."""
    if low == "float16":
        return fill in ("exact", "poison") and dtype != "float64"
    return low == "off" or fill != "extreme"


def _with(usual: dict[str, Any], data: object) -> object:
    """An object with fields that earlier versions did not write."""
    return usual | data if isinstance(data, dict) else data


def _members(path: str, data: object, kind: type[Any]) -> dict[str, Any]:
    expected = [f.name for f in fields(kind)]
    if not isinstance(data, dict):
        raise CaseError(f"{path} must be an object with the fields {', '.join(expected)}, got {type(data).__name__}")
    for name in data:
        if name not in expected:
            raise CaseError(f"{path} has an unknown field {name!r}; its fields are {', '.join(expected)}")
    for name in expected:
        if name not in data:
            raise CaseError(f"{path} lacks the field {name!r}")
    return data


def _tuples(path: str, members: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(members[name], list):
        raise CaseError(f"{path}.{name} must be a list, got {members[name]!r}")
    return {**members, name: tuple(members[name])}


def _integer(path: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise CaseError(f"{path} must be an integer, got {value!r}")
    if not low <= value <= high:
        raise CaseError(f"{path} must be from {low} to {high}, got {value}")


def _choice(path: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise CaseError(f"{path} must be one of {', '.join(allowed)}, got {value!r}")
