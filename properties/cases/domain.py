"""A domain: what a layer says that it is for. Cases are drawn inside it, and what it excludes is not judged.

Plain data, JSON both ways. Every object here is valid: one that is empty or contradicts itself is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

from oracles.precision import PRECISIONS
from properties.cases.case import (
    DTYPES,
    MAX_ELEMENTS,
    SHARING,
    Backward,
    Case,
    Fill,
    Input,
    Spec,
    autocasts,
)
from properties.cases.error import CaseError
from properties.cases.history import Backward as BackwardStep
from properties.cases.history import Convert, Forward, History
from properties.cases.numbers import MOST_ELEMENTS, PRODUCTS_FOR_AN_ELEMENT

STRIDES = ("any", "at least the patch", "patch")
BIASES = ("either", "always", "never")
SIZES = ("any", "no remainder", "one patch")
DATA_DIMS = (1, 2, 3)
# What a layer may lack, each as the reason why a law that needs it does not judge the layer.
NEEDS = {
    "gradients": "it has no gradients",
    "second_derivatives": "its gradients cannot be differentiated again",
    "native": "it is no code of torch, which torch could trace, transform and copy",
    "interface": "an adapter stands in for its constructor and its parameters",
    "grid": "an adapter puts its tokens on a grid",
    "settable": "its parameters cannot be set",
}


class DomainError(ValueError):
    """A domain, or JSON that should be one, is empty, contradicts itself or does not fit."""


@dataclass(frozen=True)
class Domain:
    """What a layer is for.

    Attributes:
        data_dims: numbers of spatial axes.
        in_features: the only numbers of input channels; None means any. So do ``out_features`` and ``patch_sizes``.
        stride: ``any``, ``at least the patch``, ``patch``, or the only one.
        bias: ``either``, ``always`` or ``never``.
        sizes: ``any``, ``no remainder`` (windows cover an axis to its end), ``one patch``, or the only ones.
        dtypes: some of float64, float32, bfloat16, float16.
        gradients: whether it is differentiable; ``second_derivatives``, whether its gradients are.
        native: whether it is code of torch, which torch can compile, export, transform, copy and convert.
        interface: whether it has Patchify's own constructor, module and parameters; an adapter stands in for them.
        grid: whether its tokens come on a grid; an adapter puts a sequence of tokens on one.
        settable: whether its parameters can be set; where not, it is judged with those that it was built with.
        weight_bits: how many bits its weights are rounded to, in equal steps from the largest one's negative to the
            largest; None where they are not. So ``input_bits``, for its input.
    """

    data_dims: tuple[int, ...] = DATA_DIMS
    in_features: tuple[int, ...] | None = None
    out_features: tuple[int, ...] | None = None
    patch_sizes: tuple[int, ...] | None = None
    stride: str | int = "any"
    bias: str = "either"
    sizes: str | tuple[int, ...] = "any"
    dtypes: tuple[str, ...] = DTYPES
    gradients: bool = True
    second_derivatives: bool = True
    native: bool = True
    interface: bool = True
    grid: bool = True
    settable: bool = True
    weight_bits: int | None = None
    input_bits: int | None = None

    def __post_init__(self) -> None:
        _some("data_dims", self.data_dims, DATA_DIMS)
        _some("dtypes", self.dtypes, DTYPES)
        for name in ("in_features", "out_features", "patch_sizes"):
            if getattr(self, name) is not None:
                _numbers(name, getattr(self, name))
        if isinstance(self.stride, str) or not _is_number(self.stride):
            _one("stride", self.stride, STRIDES, "or one stride")
        _one("bias", self.bias, BIASES)
        for name in ("weight_bits", "input_bits"):
            bits = getattr(self, name)
            if bits is not None and not (_is_number(bits) and 2 <= bits <= 16):
                raise DomainError(f"{name} must be a number from 2 to 16, got {bits!r}")
        if isinstance(self.sizes, tuple):
            _numbers("sizes", self.sizes)
            if self.data_dims != (len(self.sizes),):
                raise DomainError(
                    f"sizes has {len(self.sizes)} axes, {list(self.sizes)}, but data_dims is {list(self.data_dims)}"
                )
        else:
            _one("sizes", self.sizes, SIZES, "or a tuple of sizes")
        for name in NEEDS:
            if not isinstance(getattr(self, name), bool):
                raise DomainError(f"{name} must be true or false, got {getattr(self, name)!r}")
        try:
            assert self.smallest
        except (CaseError, ValueError) as error:
            raise DomainError(f"the domain holds no case that can be judged: {error}") from error

    # What is inside.

    def takes_stride(self, stride: int, patch_size: int) -> bool:
        """Whether a stride is one of the domain."""
        if isinstance(self.stride, int):
            return stride == self.stride
        return self.stride == "any" or stride == patch_size or (self.stride != "patch" and stride > patch_size)

    def takes_sizes(self, sizes: Sequence[int], patch_size: int, stride: int) -> bool:
        """Whether spatial sizes are some of the domain."""
        if isinstance(self.sizes, tuple):
            return tuple(sizes) == self.sizes
        if self.sizes == "one patch":
            return all(size == patch_size for size in sizes)
        return self.sizes == "any" or all((size - patch_size) % stride == 0 for size in sizes)

    def takes_shape(self, patch_size: int, stride: int, sizes: Sequence[int]) -> bool:
        """Whether patch size, stride and spatial sizes are some of the domain."""
        return (
            len(sizes) in self.data_dims
            and _among(patch_size, self.patch_sizes)
            and self.takes_stride(stride, patch_size)
            and self.takes_sizes(sizes, patch_size, stride)
        )

    def takes_channels(self, in_features: int, out_features: int) -> bool:
        """Whether numbers of channels are some of the domain."""
        return _among(in_features, self.in_features) and _among(out_features, self.out_features)

    def takes_numbers(self, case: Case) -> bool:
        """Whether the numbers of a case are some of the domain."""
        spec = case.spec
        return self.takes_shape(spec.patch_size, spec.effective_stride, case.input.sizes) and self.takes_channels(
            spec.in_features, spec.out_features
        )

    def holds(self, case: Case) -> bool:
        """Whether a case is inside."""
        return self.takes_numbers(case) and self._fitted(case, case.spec, case.input) == case

    def nearest(self, case: Case) -> Case:
        """The case itself where it is inside, else one inside that has as much as possible in common with it."""
        if self.takes_numbers(case):
            return self._fitted(case, case.spec, case.input)
        return self._fitted(case, *self._renumbered(case))

    def _renumbered(self, case: Case) -> tuple[Spec, Input]:
        """Spec and input with numbers of the domain, as few of them as cost allows."""
        spec, last = case.spec, case.spec.data_dim - 1
        data_dim = _closest(spec.data_dim, self.data_dims)
        # A new axis is as the last one.
        along = [min(axis, last) for axis in range(data_dim)]
        windows = [case.grid[axis] for axis in along]
        remainders = [(case.input.sizes[axis] - spec.patch_size) % spec.effective_stride for axis in along]
        patch_size = _closest(spec.patch_size, self.patch_sizes)
        if isinstance(self.sizes, tuple):
            patch_size = _closest(min(patch_size, *self.sizes), self.patch_sizes, most=min(self.sizes))
        # A stride keeps its place below, at or above the patch.
        stride = spec.effective_stride + (patch_size - spec.patch_size) * (spec.effective_stride >= spec.patch_size)
        numbers = _Numbers(
            self,
            patch_size,
            self.nearest_stride(
                min(stride, patch_size) if spec.effective_stride < spec.patch_size else stride, patch_size
            ),
            windows,
            remainders,
            _closest(spec.in_features, self.in_features),
            _closest(spec.out_features, self.out_features),
            case.input.batch,
        )
        numbers.cut(self.most_elements)
        default = spec.stride is None and numbers.stride == numbers.patch_size
        renumbered = Spec(
            numbers.in_features,
            numbers.out_features,
            data_dim,
            numbers.patch_size,
            None if default else numbers.stride,
            spec.bias,
        )
        return renumbered, replace(case.input, batch=numbers.batch, sizes=numbers.sizes)

    def nearest_stride(self, stride: int, patch_size: int) -> int:
        """The closest stride of the domain."""
        if isinstance(self.stride, int):
            return self.stride
        return {"any": stride, "patch": patch_size}.get(self.stride, max(stride, patch_size))

    def _fitted(self, case: Case, spec: Spec, given: Input) -> Case:
        """The case with numbers of the domain, and with what else the domain has; what may stay stays as it is."""
        bias = {"always": True, "never": False}.get(self.bias, spec.bias)
        dtype = given.dtype if given.dtype in self.dtypes else self.dtypes[0]
        fill, layout, autocast = case.fill, given.layout, case.autocast
        if fill.name == "address" and not _numbered(spec, given, dtype):
            fill = replace(fill, name="exact")
        if given != case.input and not _can_be_laid_out(spec, given):
            layout = "contiguous"
        if (fill.name, dtype) != (case.fill.name, given.dtype) and not autocasts(autocast, fill.name, dtype):
            autocast = "off"
        wanted = tuple(name for name in case.backward.requires_grad if self.gradients and (bias or name != "bias"))
        return replace(
            case,
            spec=replace(spec, bias=bias),
            input=replace(given, dtype=dtype, layout=layout),
            fill=fill,
            weight_layout=case.weight_layout if spec.data_dim > 1 else "plain",
            backward=Backward(wanted, case.backward.cotangent),
            tf32=case.tf32 and dtype == "float32" and fill.name != "address",
            autocast=autocast,
            history=self._played(case.history),
        )

    def _played(self, history: History) -> History:
        """A history of steps that the domain has."""
        # Which converts to float64 or from it.
        converts = "float64" in self.dtypes and "float32" in self.dtypes
        steps = [step for step in history if converts or not isinstance(step, Convert)]
        if self.gradients:
            return tuple(steps)
        plain = [
            replace(step, input_gradient=False, mode="no_grad" if step.mode == "grad" else step.mode)
            if isinstance(step, Forward)
            else step
            for step in steps
        ]
        return tuple(step for step in plain if not isinstance(step, BackwardStep))

    @cached_property
    def smallest(self) -> Case:
        """The case that costs least."""
        fixed = self.sizes if isinstance(self.sizes, tuple) else None
        sizes = fixed or (1,) * min(self.data_dims)
        most = min(fixed) if fixed else MAX_ELEMENTS
        inside = [n for n in self.patch_sizes or (1,) if n <= most]
        if not inside:
            raise DomainError(f"no patch of {_listed(self.patch_sizes)} fits into the sizes {_listed(fixed)}")
        cases = []
        for patch_size in inside:
            stride = self.nearest_stride(patch_size, patch_size)
            cases.append(
                Case(
                    Spec(
                        min(self.in_features or (1,)),
                        min(self.out_features or (1,)),
                        len(sizes),
                        patch_size,
                        stride,
                        self.bias == "always",
                    ),
                    Input(1, fixed or (patch_size,) * len(sizes), self.dtypes[0]),
                    Fill("exact"),
                )
            )
        return min(cases, key=_cost)

    @cached_property
    def most_elements(self) -> int:
        """What a case may cost, as ``numbers.affordable`` counts it: what any may, or more where none is cheaper."""
        return max(MOST_ELEMENTS, _cost(self.smallest))

    # What is outside.

    @property
    def lacks(self) -> tuple[str, ...]:
        """What laws may need and the layer does not have."""
        return tuple(name for name in NEEDS if not getattr(self, name))

    # Two domains, and plain data.

    def within(self, other: "Domain") -> "Domain":
        """What is in both.

        Raises:
            DomainError: where nothing is.
        """
        both: dict[str, Any] = {name: getattr(self, name) and getattr(other, name) for name in NEEDS}
        whole_by_name = {"stride": "any", "bias": "either", "sizes": "any", "weight_bits": None, "input_bits": None}
        for name, whole in whole_by_name.items():
            found = {getattr(self, name), getattr(other, name)} - {whole}
            if len(found) == 2 and "patch" in found and "at least the patch" in found:
                found = {"patch"}
            if len(found) > 1:
                told = " and ".join(repr(getattr(of, name)) for of in (self, other))
                raise DomainError(f"nothing is in both domains: their {name} are {told}")
            both[name] = found.pop() if found else whole
        for name in ("data_dims", "in_features", "out_features", "patch_sizes", "dtypes"):
            one, two = getattr(self, name), getattr(other, name)
            both[name] = two if one is None else one if two is None else tuple(n for n in one if n in two)
            if both[name] == ():
                raise DomainError(f"nothing is in both domains: their {name} are {_listed(one)} and {_listed(two)}")
        return Domain.from_json(both)

    def to_json(self) -> dict[str, Any]:
        """As plain data that ``json`` can write: what differs from the whole."""
        usual = Domain()
        changed = {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The domain that plain data describes; what it leaves out is as in the whole.

        Raises:
            DomainError: where a field is unknown or does not fit.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(data, dict):
            raise DomainError(f"a domain must be an object with some of the fields {', '.join(names)}, got {data!r}")
        for name in data:
            if name not in names:
                raise DomainError(f"a domain has no field {name!r}; its fields are {', '.join(names)}")
        members: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in data.items()}
        return cls(**members)


@dataclass
class _Numbers:
    """The numbers of a case that is being moved into a domain."""

    domain: Domain
    patch_size: int
    stride: int
    windows: list[int]
    remainders: list[int]
    in_features: int
    out_features: int
    batch: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Spatial sizes of the domain, ``s = (g - 1)*S + P + r``."""
        if isinstance(self.domain.sizes, tuple):
            return self.domain.sizes
        if self.domain.sizes == "one patch":
            return (self.patch_size,) * len(self.windows)
        remainders = self.remainders if self.domain.sizes == "any" else [0] * len(self.windows)
        return tuple(
            (windows - 1) * self.stride + self.patch_size + min(remainder, self.stride - 1)
            for windows, remainder in zip(self.windows, remainders, strict=True)
        )

    @property
    def cost(self) -> int:
        windows = [(size - self.patch_size) // self.stride + 1 for size in self.sizes]
        return cost(self.batch, windows, self.sizes, self.patch_size, self.in_features, self.out_features)

    def cut(self, most: int) -> None:
        """Halve one number after another, as long as a case of them costs more and something can be halved."""
        while self.cost > most:
            before = (
                self.batch,
                tuple(self.windows),
                self.in_features,
                self.out_features,
                self.patch_size,
                self.stride,
            )
            self.batch = max(1, self.batch // 2)
            if self.cost > most:
                self.windows = [max(1, windows // 2) for windows in self.windows]
            if self.cost > most and self.domain.in_features is None:
                self.in_features = max(1, self.in_features // 2)
            if self.cost > most and self.domain.out_features is None:
                self.out_features = max(1, self.out_features // 2)
            if self.cost > most:
                # A smaller patch, and a stride that goes with it; the remainder ends with the stride.
                if self.domain.patch_sizes is None:
                    self.patch_size = max(1, self.patch_size // 2)
                self.stride = self.domain.nearest_stride(max(1, self.stride // 2), self.patch_size)
            after = (self.batch, tuple(self.windows), self.in_features, self.out_features, self.patch_size, self.stride)
            if after == before:
                smallest = self.domain.smallest
                self.patch_size, self.stride = smallest.spec.patch_size, smallest.spec.effective_stride
                self.in_features, self.out_features = smallest.spec.in_features, smallest.spec.out_features
                return


def cost(
    batch: int, windows: Sequence[int], sizes: Sequence[int], patch_size: int, in_features: int, out_features: int
) -> int:
    """Elements of the largest tensor of a case, or of as many as its products take as long as."""
    tokens, pixels, terms = math.prod(windows), math.prod(sizes), in_features * patch_size ** len(sizes)
    products = batch * tokens * terms * out_features
    most: int = max(
        batch * pixels * in_features,
        batch * tokens * terms,
        batch * tokens * out_features,
        terms * out_features,
        -(-products // PRODUCTS_FOR_AN_ELEMENT),
    )
    return most


def _cost(case: Case) -> int:
    spec = case.spec
    return cost(case.input.batch, case.grid, case.input.sizes, spec.patch_size, spec.in_features, spec.out_features)


def _numbered(spec: Spec, given: Input, dtype: str) -> bool:
    """Whether the fill ``address`` can number the weights and the pixels."""
    elements = given.batch * math.prod(given.sizes) * spec.in_features
    return spec.out_features == spec.terms and elements <= PRECISIONS[dtype].exact_limit


def _can_be_laid_out(spec: Spec, given: Input) -> bool:
    """Whether an input has what its layout needs: samples to repeat, or an axis of size 1."""
    if given.layout == "odd_strides":
        return 1 in (given.batch, spec.in_features, *given.sizes)
    return given.layout not in SHARING or given.batch > 1


def _closest(number: int, allowed: tuple[int, ...] | None, most: int = MAX_ELEMENTS) -> int:
    """The closest of the allowed numbers, the smaller of two."""
    if allowed is None:
        return number
    closest: int = min((n for n in allowed if n <= most), key=lambda n: (abs(n - number), n))
    return closest


def _among(number: int, allowed: tuple[int, ...] | None) -> bool:
    return allowed is None or number in allowed


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ELEMENTS


def _numbers(name: str, values: object) -> None:
    if not isinstance(values, tuple) or not values or not all(map(_is_number, values)):
        raise DomainError(f"{name} must be a tuple of numbers from 1 to {MAX_ELEMENTS}, at least one, got {values!r}")


def _some(name: str, values: object, allowed: Sequence[object]) -> None:
    right = isinstance(values, tuple) and values == tuple(one for one in allowed if one in values) and values
    if not right:
        raise DomainError(f"{name} must be a tuple of some of {_listed(allowed)}, in that order, got {values!r}")


def _one(name: str, value: object, allowed: Sequence[str], otherwise: str = "") -> None:
    if value not in allowed:
        told = ", ".join(map(repr, allowed)) + (f", {otherwise}" if otherwise else "")
        raise DomainError(f"{name} must be one of {told}, got {value!r}")


def _listed(values: Any, between: str = ", ") -> str:
    return between.join(map(str, values))


WHOLE = Domain()
