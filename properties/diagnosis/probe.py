"""Probes: small runs of the layer that is diagnosed, of which there is a bounded number."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from oracles import adjoint, rounding, unfold
from oracles.precision import PRECISIONS
from properties.cases.case import Case, Fill
from properties.diagnosis.evidence import OUTPUT, View
from properties.laws.law import Law
from properties.trials.compilation import fresh_call, later_cases
from properties.trials.ending import Raised, Unusable, blaming
from properties.trials.implementation import Implementation
from properties.trials.settings import undisturbed
from properties.trials.tensors import TORCH_DTYPES, Tensors
from properties.trials.trial import Trial

# How many probes there are, and as how many a compilation counts, and a pass for so many elements more.
MOST_PROBES, _COMPILATION, _LARGE = 400, 7, 2**16
# Seeds whose integers are large, so that two different sums are hardly ever the same number; then small real numbers.
FILLS = (Fill("exact", 1101), Fill("exact", 1102), Fill("real", 1103))
# Where a few roundings too many are no matter.
_FINE = 2.0**-24


class Spent(Exception):  # noqa: N818 - "the probes are spent"
    """No probe is left."""


@dataclass(frozen=True)
class Given:
    """What one pass is given, and which result of it is looked at: float64, on the CPU."""

    case: Case
    of: str
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    cotangent: Tensor

    @cached_property
    def right(self) -> Tensor:
        """The result by the oracles."""
        stride = self.case.spec.effective_stride
        match self.of:
            case "input":
                return adjoint.input_gradient(self.cotangent, self.weight, self.case.input.sizes, stride)
            case "weight":
                return adjoint.weight_gradient(self.cotangent, self.x, self.weight.shape[-1], stride)
            case "bias":
                return adjoint.bias_gradient(self.cotangent)
            case _:
                return unfold.forward(self.x, self.weight, self.bias, stride)

    @cached_property
    def products(self) -> Tensor:
        """The result without the bias."""
        return self.having(bias=None).right

    @cached_property
    def magnitude(self) -> Tensor:
        """The sum of the magnitudes of the terms of each value."""
        return self.having(**_parts(self, Tensor.abs)).right

    def having(self, **parts: Any) -> "Given":
        """The same with other parts."""
        return replace(self, **parts)


def _parts(holder: object, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The tensors that go into a pass, changed."""
    parts = {name: getattr(holder, name) for name in ("x", "weight", "bias", "cotangent")}
    return {name: None if part is None else change(part) for name, part in parts.items()}


@dataclass(frozen=True)
class Seen:
    """What went in and what came out: None where no gradient reaches it. ``bound`` is how far a right value may be."""

    given: Given
    found: Tensor | None
    bound: Tensor
    roundoff: float
    fill: Fill

    @cached_property
    def same_shape(self) -> bool:
        """Whether what came out has the right shape."""
        return self.found is not None and self.found.shape == self.given.right.shape

    @cached_property
    def wrong(self) -> Tensor:
        """Where values are wrong, in a result of the right shape."""
        assert self.found is not None
        return ~_near(self.found, self.given.right, self.bound)

    @cached_property
    def is_right(self) -> bool:
        """Whether what came out is right."""
        return self.same_shape and not bool(self.wrong.any())

    def explained_by(self, predicted: Tensor) -> bool:
        """Whether a prediction is what came out, and differs from what is right where that is wrong."""
        # Where all is lost, much would predict that.
        lost = not bool(predicted.isfinite().any()) and bool(self.given.right.isfinite().any())
        if self.found is None or predicted.shape != self.found.shape or lost:
            return False
        # Predictions and layers round where right results need not: by sums that cancel, by divisions.
        largest = self.given.magnitude.nan_to_num(0, 0, 0).max() if self.roundoff <= _FINE else 0
        bound = self.bound if self.bound.shape == predicted.shape else self.bound.max()
        room = bound.where(bound.isfinite(), 0.0) + 8 * self.roundoff * (predicted.abs() + largest)
        return bool(_near(self.found, predicted, room).all()) and (self.is_right or not self.is_rightly(predicted))

    def is_rightly(self, predicted: Tensor) -> bool:
        """Whether a prediction is as good as what is right."""
        right = self.given.right
        return predicted.shape == right.shape and bool(_near(predicted, right, self.bound).all())


def _near(one: Tensor, other: Tensor, room: Tensor) -> Tensor:
    """Where values are as near to others as that; whatever is not finite is alike."""
    return torch.where(other.isfinite(), (one - other).abs() <= room, ~one.isfinite())


@dataclass
class Subject:
    """An implementation that fails a law, and how many probes may still be made of it."""

    law: Law
    implementation: Implementation
    device: str = "cpu"
    left: int = MOST_PROBES
    compiled: dict[tuple[Case, bool], tuple[Any, Any]] = field(default_factory=dict)

    def spend(self, count: int = 1) -> None:
        """Count one probe, or what costs as much as several.

        Raises:
            Spent: where none is left.
        """
        self.left -= count
        if self.left < 0:
            raise Spent

    def trial(self, case: Case, given: Given | None = None) -> Trial:
        """A trial of a case, without TF32, of its own values or of others."""
        trial = Trial(replace(case, tf32=False), self.implementation, self.device)
        if given is not None:
            trial.values = Tensors(**_parts(given, lambda part: part.to(trial.dtype)))
        return trial

    def look(self, view: View, case: Case, fill: Fill = FILLS[0]) -> Seen:
        """What comes out of a case that is filled in some way."""
        values = self.trial(replace(case, fill=fill)).values
        return self.run(view, Given(case, view.of, **_parts(values, Tensor.double)), fill)

    def run(self, view: View, given: Given, fill: Fill = FILLS[0]) -> Seen:
        """Run a new layer once, forward or backward.

        Raises:
            Spent: where no probe is left.
            Raised: where it raises, or gives no tensor.
            Unusable: where a fault of torch would end the process.
        """
        trial = self.trial(replace(given.case, fill=fill), given)
        low = TORCH_DTYPES.get(given.case.autocast) if view.autocast else None
        made = (replace(trial.case, fill=Fill()), view.later) in self.compiled
        self.spend(1 + trial.case.elements // _LARGE + (_COMPILATION if view.compiled and not made else 0))
        with undisturbed(self.device), blaming("a probe"), _quietly(view):
            layer, called = self._called(view, trial)
            x = numbered(trial.make_input())
            # Another seed each time: two runs of a layer that draws random numbers must differ.
            trial.set_seed(self.left)
            with nullcontext() if low is None else torch.autocast(trial.device.type, dtype=low):
                tokens = trial.call(called, x)
            if not isinstance(tokens, Tensor) or not (low or tokens.dtype == trial.dtype):
                raise TypeError("the output is no tensor of the input's dtype")
            found: Tensor | None = tokens
            if given.of != OUTPUT:
                cotangent = numbered(trial.make_cotangent()).to(tokens.dtype)
                gradients = trial.differentiate(layer, x, tokens, cotangent) if tokens.requires_grad else {}
                found = gradients.get(given.of)
            found = None if found is None else found.detach().to("cpu", torch.float64, copy=True)
        right = trial.expected_tokens if given.of == OUTPUT else trial.expected_gradient(given.of)
        bound, precision = right.bound, rounding.precision_of(low or trial.dtype)
        if low is not None:
            lower = PRECISIONS[given.case.autocast]
            bound = rounding.bound(right.magnitude, right.terms, low, accumulation=low, operands=lower)
        return Seen(given, found, bound.cpu(), precision.unit_roundoff, fill)

    def _called(self, view: View, trial: Trial) -> tuple[Any, Callable[[Tensor], object]]:
        """A layer, and what is called in its place; the same compiled one for all values of a case."""
        if not view.compiled:
            layer = trial.make_layer()
            return layer, layer
        key = replace(trial.case, fill=Fill()), view.later
        if key not in self.compiled:
            torch._dynamo.reset()
            layer = trial.make_layer()
            called = torch.compile(fresh_call(layer), fullgraph=True, backend="aot_eager")
            # Sizes are dynamic from the second one on.
            for case in later_cases(trial)[:1] if view.later else ():
                called(self.trial(case).make_input().detach())
            self.compiled[key] = layer, called
        trial.set_parameters(self.compiled[key][0])
        return self.compiled[key]

    def observe(self, view: View, case: Case) -> tuple[Seen, ...]:
        """What comes out for large integers, for the values of the case and for small real numbers, the wrong first."""
        there = view.of == OUTPUT or view.of in case.backward.requires_grad
        fills = dict.fromkeys((FILLS[0], case.fill, *FILLS[1:])) if there else ()
        return tuple(sorted((self.look(view, case, fill) for fill in fills), key=lambda seen: seen.is_right))


def numbered(tensor: Tensor) -> Tensor:
    """A tensor; memory between and around its elements holds numbers now, so that it can be told what is read there."""
    memory = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
    if 0 not in tensor.stride():
        unused = torch.ones_like(memory, dtype=torch.bool)
        unused.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(False)
        memory[unused] = torch.arange(memory.numel(), dtype=tensor.dtype, device=tensor.device)[unused] % 97 + 0.5
    return tensor


@contextmanager
def _quietly(view: View) -> Iterator[None]:
    """What goes wrong in a compiler is raised as well as logged, over many screens."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL if view.compiled else disabled)
    try:
        yield
    finally:
        logging.disable(disabled)


@dataclass
class Measured:
    """What was seen of one result on one case, and the means to look again."""

    subject: Subject
    view: View
    case: Case
    seen: tuple[Seen, ...] = ()

    @property
    def given(self) -> Given:
        """What the first pass was given."""
        return self.seen[0].given

    @property
    def found(self) -> Tensor:
        """What came out of it."""
        found = self.seen[0].found
        return torch.empty(0) if found is None else found

    @property
    def same_shape(self) -> bool:
        """Whether what came out has the right shape."""
        return all(seen.same_shape for seen in self.seen)

    def look(self, **parts: Any) -> Tensor:
        """What comes out where something else is given."""
        found = self.subject.run(self.view, self.given.having(**parts)).found
        return torch.empty(0) if found is None else found

    def longer(self, axis: int) -> Iterator[tuple[tuple[int, int, int], Seen]]:
        """What comes out where an axis is longer, by its size, by patch size and stride; then by another stride."""
        spec, size = self.case.spec, self.case.input.sizes[axis]
        yield (size, spec.patch_size, spec.effective_stride), self.seen[0]
        for stride in () if self.view.compiled else (spec.effective_stride, spec.effective_stride + 1):
            for more in range(min(2 * stride, 7)):
                sizes = (*self.case.input.sizes[:axis], size + more, *self.case.input.sizes[axis + 1 :])
                case = replace(self.case, input=replace(self.case.input, sizes=sizes))
                case = case if stride == spec.effective_stride else replace(case, spec=replace(spec, stride=stride))
                with suppress(Raised, Unusable):
                    yield (size + more, spec.patch_size, stride), self.subject.look(self.view, case)
